"""What an earlier version left on a rig, as a tree in a folder, and the real questions asked of it."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rigwright.hardware.capture import read_folder
from rigwright.lab import tiny_model
from rigwright.roles.base.facts import Rig, read_rig
from rigwright.roles.base.probe import Probe

RECORDED = Path(__file__).parents[1] / "golden/state-0.1.0"
_PLACES = ("/etc/rigwright", "/etc/systemd/system", "/opt/rigwright", "/var/lib/rigwright", "/proc/")
# When the recorded rig got its files; git keeps no times.
_KEY_WRITTEN, _MODEL_WRITTEN = 1795879171, 1795879164


def write_model(path: Path) -> Path:
    """The model of the recorded rig: the same bytes each time, those that the lab's model had in 0.1.0."""
    with patch.object(tiny_model, "_prefer_words", _prefer_words):
        return tiny_model.write_tiny_model(path)


def _prefer_words(output: Any, tokens: list[str]) -> None:
    """In 0.1.0 the end of the answer was as likely as a word."""
    words = [tokens.index(token) for token in (*tiny_model._word_tokens(), "<|im_end|>")]
    rows = output[words] * 10
    output[:] = 0
    output[words] = rows


@dataclass(frozen=True)
class EarlierRig:
    """The recorded rig in a folder of the test's own."""

    home: Path

    @classmethod
    def laid_out(cls, home: Path, model: Path) -> EarlierRig:
        """Its files with the modes and times that they had, and the model that it serves."""
        shutil.copytree(RECORDED / "rig", home / "rig", symlinks=True)
        rig = cls(home)
        key, weights = rig.path("/etc/rigwright/open.key"), rig.path("/var/lib/rigwright/weights/tiny.gguf")
        key.chmod(0o600)
        os.utime(key, (_KEY_WRITTEN, _KEY_WRITTEN))
        shutil.copy(model, weights)
        os.utime(weights, (_MODEL_WRITTEN, _MODEL_WRITTEN))
        (home / "bin").mkdir()
        for said in (RECORDED / "said").iterdir():
            tool = home / "bin" / said.name
            tool.write_text(f"#!/bin/sh\nexec cat {said}\n")
            tool.chmod(0o755)
        return rig

    def path(self, path: str) -> Path:
        """Where a file of the rig lies here."""
        return self.home / "rig" / path.lstrip("/")

    def read(self, probe: Probe) -> Rig:
        """The answer to a probe, by its real script and the real readers; hardware as it was recorded."""
        answer = "\n".join(self._said(probe.script()))
        rig = read_rig(probe, answer.splitlines())
        return replace(rig, hardware=read_folder(RECORDED / "hardware"), uid=0, init="systemd")

    def _said(self, script: str) -> Iterator[str]:
        root = str(self.home / "rig")
        for place in _PLACES:
            script = script.replace(place, root + place)
        environment = os.environ | {"PATH": f"{self.home / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-c", script], capture_output=True, env=environment, check=True, timeout=60)
        for line in done.stdout.decode("utf-8", "replace").splitlines():
            if line.startswith(("way|", "mount|")) and root not in line:
                continue  # the tester's own directories lead to the rig's
            # The files are root's on a rig, and the tester's here.
            yield line.replace(root, "").replace(f"|{getpass.getuser()}", "|root")
