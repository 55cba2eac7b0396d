"""The units of all golden plans on vLLM: systemd takes them, and they are shut in."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from rigwright.hardware import Hardware
from rigwright.resolve import resolve
from rigwright.resolve.unit import render_unit
from rigwright.spec.rig import parse_spec

GOLDEN = Path(__file__).parents[1] / "golden/plans"
CASES = [path for path in sorted(GOLDEN.glob("*.yml")) if '"engine": "vllm"' in path.with_suffix(".json").read_text()]


def units(path: Path, machine: Callable[..., Hardware]) -> dict[str, str]:
    data = yaml.safe_load(path.read_text())
    hardware, spec = machine(**data["machine"]), parse_spec("rig", data["spec"])
    found = resolve(spec, hardware, is_preview=True)
    return {
        one.unit_name: render_unit(one, found.engines[one.engine], weights={}, systemd=252)
        for one in found.instances(spec)
        if one.engine == "vllm"
    }


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_unit_of_a_golden_plan_is_sound(path: Path, machine: Callable[..., Hardware], tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say, and its score is that of llama.cpp's units or better."""
    found = units(path, machine)
    assert found
    for name, text in found.items():
        command = re.search(r"^ExecStart=(/opt/rigwright/services/[\w@-]+/current/bin/serve) ", text, re.MULTILINE)
        assert command and "TimeoutStopSec=35\n" in text and "--shutdown-timeout 20" in text
        assert "Environment=HF_HUB_OFFLINE" in text or " org/" in text or re.search(r"serve [\w.-]+/[\w.-]+ ", text)
        if shutil.which("systemd-analyze") is None:
            pytest.skip("no systemd-analyze here")
        file = tmp_path / name
        # The release is on no disk here.
        file.write_text(re.sub(r"/opt/rigwright/services/[\w@-]+/current/bin/serve", "/bin/true", text))
        said = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
        ours = [line for line in said.stderr.splitlines() if name in line]
        assert ours == []
        rated = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", file],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        score = re.search(r"exposure level for .*: ([\d.]+) ", rated.stdout)
        assert score and float(score[1]) <= 2.0, rated.stdout[-300:]
