"""How many commands a rig is asked over SSH: its sshd writes a mark for each, whoever asks, sftp included."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rigwright.lab import Lab

_CONFIG = "/etc/ssh/sshd_config.d/00-bench.conf"
_WRAPPER = "/usr/local/sbin/bench-count"
_MARKS = "/run/bench-count"

# The mark costs a rig a millisecond or two per command, on both sides alike.
_INSTALL = f"""set -eu
: >{_MARKS}
cat >{_WRAPPER} <<'END'
#!/bin/sh
[ -n "${{SSH_ORIGINAL_COMMAND:-}}" ] || exec "$SHELL" -l
printf x >>{_MARKS}
exec "$SHELL" -c "$SSH_ORIGINAL_COMMAND"
END
chmod 755 {_WRAPPER}
echo 'ForceCommand {_WRAPPER}' >{_CONFIG}
systemctl reload ssh
"""


class SshCounter:
    """Counts while it is entered; connections that were open before are not counted."""

    def __init__(self, lab: Lab, rig: str) -> None:
        self._lab, self._rig = lab, rig

    def __enter__(self) -> Self:
        self._sh(_INSTALL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sh(f"rm -f {_CONFIG} && systemctl reload ssh")

    def take(self) -> int:
        """The commands since the last call."""
        return int(self._sh(f"stat -c %s {_MARKS} && : >{_MARKS}"))

    def _sh(self, script: str) -> str:
        return self._lab.exec(self._rig, ["sh", "-c", script]).stdout
