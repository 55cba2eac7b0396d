"""A rig's root in a folder: scripts of ours run as they are, as root, over a copy of /etc, /opt, /var/lib and /run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# What is written there goes to the folder, and what lies below it on this machine stays as it is.
_ENTER = """
for at in etc opt var; do
  mkdir -p "{home}/upper/$at" "{home}/merged/$at"
  mount -t overlay overlay -o "lowerdir=/$at,upperdir={home}/upper/$at,workdir={home}/merged/$at" "/$at" || exit 99
done
mkdir -p {home}/run && mount --bind {home}/run /run && exec sh -c "$1"
"""
# Units are told at once: none is active, and what is started as one has run when this comes back.
_SYSTEMCTL = """#!/bin/sh
case $1,$* in
  is-active,*) exit 3 ;;
  show,*Result*) echo success ;;
  show,*) echo inactive ;;
esac
"""
_SYSTEMD_RUN = f"""#!{sys.executable}
import os, pwd, subprocess, sys
given = sys.argv[1:]
own, words = given[: given.index("--")], [word.replace("$$", "$") for word in given[given.index("--") + 1 :]]
properties = dict(own[at + 1].split("=", 1) for at, word in enumerate(own) if word == "-p")
options = dict(word[2:].split("=", 1) for word in own if word.startswith("--uid="))
settings = dict(word[9:].split("=", 1) for word in own if word.startswith("--setenv="))
if any(value != value.strip() for key, value in properties.items() if key.startswith("Bind")):
    sys.exit("Failed to start transient service unit: Source path  is not absolute.")
out = properties.get("StandardOutput", "").removeprefix("append:")
user = pwd.getpwnam(options["uid"]) if "uid" in options else None
done = subprocess.run(
    words,
    cwd=properties.get("WorkingDirectory", "/"),
    env={{"PATH": os.environ["PATH"], **settings}},
    stdout=open(out, "a") if out else None,
    stderr=subprocess.STDOUT if out else None,
    **({{"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}} if user else {{}}),
)
sys.exit(done.returncode)
"""


@dataclass(frozen=True)
class Room:
    """The folder."""

    home: Path

    @classmethod
    def made(cls, home: Path) -> Room:
        """As this machine is, but for systemd, which does what it is told at once."""
        room = cls(home)
        (home / "bin").mkdir(parents=True)
        home.chmod(0o755)
        for name, text in {"systemctl": _SYSTEMCTL, "systemd-run": _SYSTEMD_RUN}.items():
            room.tool(name, text)
        return room

    def tool(self, name: str, text: str) -> None:
        """A program that comes first in PATH."""
        (self.home / "bin" / name).write_text(text)
        (self.home / "bin" / name).chmod(0o755)

    def path(self, path: str) -> Path:
        """Where what scripts write to a path of the rig lies here."""
        return self.home / ("" if path.startswith("/run") else "upper") / path.lstrip("/")

    def put(self, path: str, text: str = "") -> Path:
        """A file on the rig."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def run(self, text: str, *, stdin: str = "", code: int = 0) -> str:
        """What a script says."""
        enter = _ENTER.format(home=shlex.quote(str(self.home)))
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", enter, "sh", text],
            input=stdin, capture_output=True, text=True, check=False, timeout=60,
            env=os.environ | {"PATH": f"{self.home}/bin:{os.environ['PATH']}"},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
        return done.stdout
