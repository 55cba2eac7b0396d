"""The directory of the model files on a rig: whether root may write there, and services read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from rigwright.resolve.unit import is_hidden
from rigwright.resources import role_text
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.probe import Probe
from rigwright.shown import printable
from rigwright.spec.weights import WeightsSettings, unseen

_SECTION = "ways"
_MODE = re.compile(r"[0-7]{1,5}").fullmatch
_GROUP_OR_OTHERS_WRITE, _OTHERS_ENTER = 0o022, 0o001


def directory_probe(directories: tuple[str, ...]) -> Probe:
    """Who may write and enter each directory and those that lead to it, and which disks should be mounted there."""
    if not directories:
        return Probe()
    lines = "\n".join(directories)
    return Probe(scripts=((_SECTION, f"{role_text('weights', 'directory.sh')}\nways <<'@'\n{lines}\n@"),))


def directory_errors(rig: Rig, settings: WeightsSettings) -> Iterator[str]:
    """Why no model file can go where it should, a line each."""
    rows = [printable(line).split("|", 3) for line in rig.sections.get(_SECTION, [])]
    for state, where in dict.fromkeys((row[1], row[2]) for row in rows if row[0] == "mount" and len(row) == 3):
        yield (
            f"{where} is not mounted ({state}), and model files of {settings.directory} would land beneath it; "
            f"mount it, see systemctl status {where}"
        )
    links = {row[2]: row[1] for row in rows if row[0] == "real" and len(row) == 3}
    for directory, real in links.items():
        if directory != real and (is_hidden(real) or unseen(real)):
            yield f"{directory} is a link to {real}, which services do not see; set rig.weights.directory to another"
    ways = {row[3]: (int(row[1], 8), row[2]) for row in rows if len(row) == 4 and row[0] == "way" and _MODE(row[1])}
    for path, (mode, owner) in sorted(ways.items()):
        if owner != "root" or mode & _GROUP_OR_OTHERS_WRITE:
            who = owner if owner != "root" else "its group" if not mode & 0o002 else "every account"
            yield (
                f"{path}: {who} may write there, and could lead root astray; chown root: and chmod go-w it, or set "
                f"rig.weights.directory to a directory of root's, like /srv/models"
            )
            return
    for path, (mode, _) in sorted(ways.items()):
        # What a unit binds is reached without its parents.
        if not mode & _OTHERS_ENTER and not any(is_hidden(real) and path in _parents(real) for real in links.values()):
            yield f"{path}: only root may enter (mode {mode:o}), and services run as nobody's account; chmod o+x {path}"


def _parents(path: str) -> list[str]:
    return [str(one) for one in PurePosixPath(path).parents]
