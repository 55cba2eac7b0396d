"""A stand-in for a rig: our real scripts in a folder, on a systemd and an engine of a few lines; power can be lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rigwright.records.reading import read_records
from rigwright.records.reading import script as records_script
from rigwright.records.values import RigRecords
from rigwright.resources import assignments, role_text
from rigwright.roles.base.facts import _split

from .machine import _variables

_PLACES = (
    *("/etc/rigwright", "/etc/systemd/system", "/opt/rigwright", "/var/lib/rigwright"),
    *("/proc/", "/run/rigwright", "/run/systemd/system"),
)
_PATHS = ("RELEASE", "PLAN_FILE", "KEY")

# What each unit is started from is what was loaded, as with the real one. A unit with /none.gguf in it ends at once.
_SYSTEMCTL = r"""#!/bin/sh
sys=@ROOT@/sys units=@ROOT@/rig/etc/systemd/system
begin() { # UNIT
  case $1 in *.timer) cp "$units/$1" "$sys/started/$1"; echo 1 >"$sys/pid/$1"; return ;; esac
  halt "$1"
  [ -e "$sys/loaded/$1" ] || { echo "Unit $1 not found." >&2; return 5; }
  count=$(($(cat "$sys/count") + 1)); echo $count >"$sys/count"
  cp "$sys/loaded/$1" "$sys/started/$1"; echo $count >"$sys/invocation/$1"
  if grep -q /none.gguf "$sys/loaded/$1"; then return; fi
  name=${1#rigwright-}; at=@ROOT@/rig/proc/$count; mkdir -p "$at"
  ln -s "$(readlink "@ROOT@/rig/opt/rigwright/services/${name%.service}/current")/bin/llama-server" "$at/exe"
  grep ^Environment=RIGWRIGHT_ "$sys/loaded/$1" | cut -d= -f2- | tr '\n' '\0' >"$at/environ"
  echo $count >"$sys/pid/$1"
}
halt() {
  case $1 in *.timer) rm -f "$sys/pid/$1"; return ;; esac
  [ ! -e "@ROOT@/rig/run/systemd/system/$1.d/zz-rigwright-hold.conf" ] || {
    echo stopped under hold >>"$sys/run"; sh "@ROOT@/rig/run/systemd/system/$1.d/zz-rigwright-hold.sh"; }
  [ ! -e "$sys/pid/$1" ] || { rm -rf "@ROOT@/rig/proc/$(cat "$sys/pid/$1")" "$sys/pid/$1"; }
}
state() { if [ -e "$sys/pid/$1" ]; then echo "$2"; elif [ -e "$sys/started/$1" ]; then echo "$3"; else echo "$4"; fi; }
property() { # NAME UNIT
  case $1 in
    LoadState) if [ -e "$sys/loaded/$2" ]; then echo loaded; else echo not-found; fi ;;
    ActiveState) state "$2" active activating inactive ;;
    SubState) state "$2" running auto-restart dead ;;
    UnitFileState) if [ -e "$sys/enabled/$2" ]; then echo enabled; else echo disabled; fi ;;
    MainPID) cat "$sys/pid/$2" 2>/dev/null || echo 0 ;;
    InvocationID) cat "$sys/invocation/$2" 2>/dev/null ;;
    FragmentPath) [ ! -e "$sys/loaded/$2" ] || echo "$units/$2" ;;
    NRestarts) echo 0 ;;
    Result) echo exit-code ;;
    Version) echo 257 ;;
    Slice) echo system.slice ;;
    *) echo ;;
  esac
}
case $1 in
  daemon-reload) rm -f "$sys"/loaded/*; cp "$units"/rigwright-*.service "$sys/loaded/" 2>/dev/null; : ;;
  show)
    if [ "$2" = -P ]; then property "$3" "$5"; exit; fi
    names=$(echo "$3" | tr , ' '); shift 4
    for unit; do
      echo "Id=$unit"
      for name in $names; do [ "$name" = Id ] || echo "$name=$(property "$name" "$unit")"; done
      echo
    done ;;
  *)
    verb=$1; shift
    for unit; do case $unit in
      -*) [ "$unit" != --now ] || now=yes ;;
      *) case $verb in
        enable) touch "$sys/enabled/$unit" ;;
        disable) rm -f "$sys/enabled/$unit"; [ -z "${now-}" ] || { halt "$unit"; rm -f "$sys/started/$unit"; } ;;
        restart | start) begin "$unit" || exit ;;
        stop) halt "$unit"; rm -f "$sys/started/$unit" ;;
        reset-failed) [ -e "$sys/pid/$unit" ] || rm -f "$sys/started/$unit" ;;
        is-active) [ -e "$sys/pid/$unit" ] || exit 3 ;;
        is-enabled) [ -e "$sys/enabled/$unit" ] || exit 1 ;;
      esac ;;
    esac; done ;;
esac
"""
_CURL = r"""#!/bin/sh
[ "$1" = -q ] || { echo "curl without -q reads ~/.curlrc" >&2; exit 99; }
case "$*" in *"--noproxy *"*) ;; *) exit 98 ;; esac # the proxy of the rig would be asked for its own service
for url; do :; done
port=${url#http://*:}; port=${port%%/*}; found=
for at in @ROOT@/sys/pid/*; do
  [ ! -e "$at" ] || ! grep -q -- "--port $port\b" "@ROOT@/sys/started/${at##*/}" || found=yes
done
case $found,$* in
  ,*http_code*) echo 000; exit 7 ;;
  ,*) echo "curl: (7) Failed to connect"; exit 7 ;;
  *--config*http_code*) cat "@ROOT@/sys/slots"; echo; echo 200 ;;
  *http_code*) echo 200 ;;
  *) cat @ROOT@/sys/answer ;;
esac
"""
ANSWER = '{"choices":[{"index":0,"message":{"role":"assistant","content":"hello"}}]}\n'
QUIET, BUSY = '[{"id":0,"is_processing":false}]', '[{"id":0,"is_processing":false},{"id":1,"is_processing":true}]'
_POWER = r"""
sys=@ROOT@/sys
rm -rf @ROOT@/rig/run/systemd "$sys"/pid/* "$sys"/started/* "$sys"/invocation/* @ROOT@/rig/proc/[0-9]*
systemctl daemon-reload
for at in "$sys"/enabled/*; do [ ! -e "$at" ] || systemctl start "${at##*/}"; done
"""


@dataclass(frozen=True)
class StandIn:
    """A rig below a folder of a test's own."""

    root: Path

    @classmethod
    def made(cls, root: Path) -> StandIn:
        """A blank one."""
        for folder in ("loaded", "started", "pid", "enabled", "invocation"):
            (root / "sys" / folder).mkdir(parents=True)
        (root / "sys/count").write_text("100\n")
        (root / "sys/answer").write_text(ANSWER)
        (root / "sys/slots").write_text(QUIET)
        for place in (*_PLACES[:4], "/proc", "/run"):
            (root / "rig" / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
        (root / "rig/proc/uptime").symlink_to("/proc/uptime")
        (root / "bin").mkdir()
        tools = {
            "systemctl": _SYSTEMCTL,
            "curl": _CURL,
            "journalctl": "#!/bin/sh\ncat @ROOT@/sys/journal 2>/dev/null\n",
            "systemd-run": '#!/bin/sh\necho "$*" >>@ROOT@/sys/run\n',
            "ss": "#!/bin/sh\ncat @ROOT@/sys/connections 2>/dev/null\n",
        }
        for name, text in tools.items():
            (root / "bin" / name).write_text(text.replace("@ROOT@", str(root)))
            (root / "bin" / name).chmod(0o755)
        return cls(root)

    def copied(self, root: Path) -> StandIn:
        """Another one in the same state."""
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.root), str(root)], check=True)
        old, new = str(self.root), str(root)
        for tool in (root / "bin").iterdir():
            tool.write_text(tool.read_text().replace(old, new))
        for path in (root / "rig").rglob("*"):
            if path.is_symlink() and str(path.readlink()).startswith(old):
                target = str(path.readlink()).replace(old, new)
                path.unlink()
                path.symlink_to(target)
            elif path.name == "running" and path.is_file():
                path.write_text(path.read_text().replace(old, new))
        return StandIn(root)

    def path(self, path: str) -> Path:
        """Where a path of the rig lies here."""
        return self.root / "rig" / path.lstrip("/")

    def run(self, command: str, *names: str, cut: int = 0, shell: str = "sh") -> subprocess.CompletedProcess[str]:
        """A script of ours, made of these files of the service's role; with `cut`, killed before that command of it."""
        given = _variables(command)
        given |= {key: f"{self.root}/rig{given[key]}" for key in _PATHS if given.get(key)}
        text = [role_text("base", "prelude.sh"), *assignments(given), *(self._text(one) for one in names)]
        body = "\n".join(self._here(one) if place != 1 else one for place, one in enumerate(_grouped(text)))
        if cut:
            shell = "bash"
            body = f"set -T\ncut=0\ntrap 'cut=$((cut + 1)); [ $cut -ne {cut} ] || kill -9 $$' DEBUG\n{body}"
        return self._sh(body, shell)

    @staticmethod
    def _text(name: str) -> str:
        role, _, file = name.rpartition("/")
        return role_text(role or "service", file)

    def lose_power(self) -> None:
        """All processes end; what is enabled starts from what lies on the disk."""
        self._sh(_POWER.replace("@ROOT@", str(self.root)), "sh")

    def records(self) -> RigRecords:
        """What a probe reads."""
        text = f"section() {{ printf '@rigwright %s\\n' \"$*\"; }}\n{self._here(records_script(('chat',)))}"
        said = self._sh(text, "sh").stdout.replace(f"{self.root}/rig", "")
        return read_records(_split(said.splitlines()))

    def _here(self, text: str) -> str:
        for place in _PLACES:
            text = text.replace(place, f"{self.root}/rig{place}")
        return text

    def _sh(self, text: str, shell: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        done = subprocess.run([shell, "-c", text], capture_output=True, env=environment, text=True, check=False)
        assert done.returncode in (0, 1, -signal.SIGKILL), done
        return done


def _grouped(text: list[str]) -> list[str]:
    """The prelude, the assignments, which hold texts for the rig, and the script."""
    last = next(place for place, line in enumerate(text) if line.startswith("#") and place)
    return [text[0], "\n".join(text[1:last]), "\n".join(text[last:])]
