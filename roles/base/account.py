"""The account that builds and downloads: made by us, or not used. Services do not run as it."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api import operation

from rigwright.records.paths import CONFIG_DIRECTORY, INSTALL_DIRECTORY, STATE_DIRECTORY
from rigwright.resources import script
from rigwright.roles.base.channel import Script
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import BUILDER, Commands, current_rig
from rigwright.roles.base.probe import Probe

# An account says in its comment that it is ours; those of 0.1.0 are known by a file.
COMMENT = "Rigwright builds and downloads"
_DIRECTORIES = (CONFIG_DIRECTORY, INSTALL_DIRECTORY, f"{STATE_DIRECTORY}/build", f"{STATE_DIRECTORY}/ccache")
_QUESTION = f"""
getent passwd {BUILDER} | sed 's/^/passwd=/'
getent group {BUILDER} | sed 's/^/group=/'
id -Gn {BUILDER} 2>/dev/null | sed 's/^/groups=/'
[ ! -e {STATE_DIRECTORY}/account.created ] || echo created=yes
"""


@operation()
def account(probe: Probe) -> Commands:
    """Have the account and its directories.

    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    if _answers(rig).get("passwd") and all(path in rig.files for path in _DIRECTORIES):
        return
    where = {"STATE": STATE_DIRECTORY, "CONFIG": CONFIG_DIRECTORY, "INSTALLED": INSTALL_DIRECTORY}
    yield Script(script("base", "account.sh", BUILDER=BUILDER, COMMENT=COMMENT, **where))


def account_probe() -> Probe:
    """What is asked about it."""
    return Probe(files=_DIRECTORIES, scripts=(("account", _QUESTION.strip()),))


def account_errors(rig: Rig) -> Iterator[str]:
    """Why its name cannot be used on this rig: somebody else's account has it, and may be allowed anything."""
    found = _answers(rig)
    passwd = found.get("passwd", "").split(":")
    if len(passwd) == 7 and found.get("created") is None and passwd[4] != COMMENT:
        what = f"uid {passwd[2]}, groups {found.get('groups', '?')}, shell {passwd[6]}"
        yield (
            f"the account {BUILDER} ({what}) was not made by rigwright, which builds and downloads as {BUILDER}; "
            f"rename it with usermod --login and groupmod --new-name, or remove it with userdel"
        )
    elif "passwd" not in found and "group" in found:
        yield f"there is a group {BUILDER}, and no account of that name; rename or remove it with groupmod or groupdel"


def _answers(rig: Rig) -> dict[str, str]:
    lines = (line.partition("=") for line in rig.sections.get("account", []))
    return {key: value for key, _, value in lines}
