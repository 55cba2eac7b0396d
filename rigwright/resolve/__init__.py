"""From an inventory's wishes and a rig's hardware to the plan that runs."""

from rigwright.resolve.resolve import Resolved, resolve

__all__ = ["Resolved", "resolve"]
