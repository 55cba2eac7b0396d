"""With --diff: what files of ours gain and lose."""

from __future__ import annotations

from rigwright.records import paths
from rigwright.roles.base.pyinfra_private import colour_diff, current_host, current_state


def show_diff(instance: str, old: str, new: str) -> None:
    """With --diff: what the unit file gains and loses. Keys are in a file of their own and never part of it."""
    if not current_state().config.DIFF:
        return
    current_host().log(f"Will change {paths.unit_path(instance)}")
    for line in colour_diff(old.splitlines(), new.splitlines()):
        current_host().log(f"  {line}")
