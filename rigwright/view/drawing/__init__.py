"""A rig as a picture: see rigwright.view.drawing.rig."""

from rigwright.view.drawing.rig import draw

__all__ = ["draw"]
