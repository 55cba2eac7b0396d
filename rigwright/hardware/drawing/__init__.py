"""A rig as a picture: see rigwright.hardware.drawing.rig."""

from rigwright.hardware.drawing.rig import draw

__all__ = ["draw"]
