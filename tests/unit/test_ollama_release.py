"""Which release of Ollama a rig gets, what its model is made by, and the unit that it runs in. No rig is asked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rigwright.errors import Refused, WrongSpec
from rigwright.hardware import Hardware
from rigwright.plan.engines.installed import Installed
from rigwright.plan.engines.ollama.planner import OllamaPlanner, account_of
from rigwright.plan.engines.ollama.request import request_of, request_path, tag_of, weights_of
from rigwright.plan.engines.ollama.settings import OllamaSettings
from rigwright.resolve.instance import instances
from rigwright.resolve.resolve import resolve
from rigwright.resolve.unit import render_unit
from rigwright.spec.rig import parse_spec

RIG = Hardware("debian", "13", "trixie", "6.12", "x86_64")
NAMES = ("ollama-linux-amd64.tar.zst", "ollama-linux-amd64-rocm.tar.zst", "ollama-linux-arm64.tar.zst")
SUMS = dict(zip(NAMES, ("a" * 64, "b" * 64, "c" * 64), strict=True))
GOLDEN = sorted(
    path.stem
    for path in (Path(__file__).parents[1] / "golden/plans").glob("*.yml")
    if "engine: ollama" in path.read_text()
)


def planner(hardware: Hardware = RIG, commits: dict[str, str] | None = None, **settings: Any) -> OllamaPlanner:
    return OllamaPlanner(OllamaSettings(**settings), Installed(commits=commits or {}))


def test_release_is_known_by_version_and_sums() -> None:
    """Another version, or another archive of the same one, is installed beside it; nothing is known without sums."""
    assert planner().release(RIG) is None
    given = planner(sums=SUMS)
    found = given.build(RIG)
    assert found and [one.name for one in found.archives] == [NAMES[0]]
    assert found.archives[0].url == f"https://github.com/ollama/ollama/releases/download/v{given.version}/{NAMES[0]}"
    assert re.fullmatch(rf"/opt/rigwright/ollama/releases/{re.escape(given.version)}-[0-9a-f]{{8}}", found.directory)
    others = {planner(sums=SUMS, version="0.33.0").release(RIG), planner(sums=SUMS | {NAMES[0]: "d" * 64}).release(RIG)}
    assert len({found.directory, *others}) == 3
    assert json.loads(found.manifest())["identity"] == found.identity


def test_processor_and_gpus_decide_on_archives() -> None:
    """Arm has its own, ROCm comes on top where it is asked for; another processor has none."""
    amd = planner(sums=SUMS, rocm=True)
    assert [one.name for one in amd.build(RIG).archives] == list(NAMES[:2])  # type: ignore[union-attr]
    assert "AMD" in amd.vendors and "AMD" not in planner().vendors
    arm = replace(RIG, architecture="aarch64")
    assert [one.name for one in planner(sums=SUMS).build(arm).archives] == [NAMES[2]]  # type: ignore[union-attr]
    with pytest.raises(Refused, match="no archive of ROCm for aarch64"):
        planner(sums=SUMS, rocm=True).release(arm)
    with pytest.raises(Refused, match="no archive for riscv64"):
        planner(sums=SUMS).release(replace(RIG, architecture="riscv64"))


def test_sum_that_the_rig_keeps_is_that_of_mirror_version_and_name() -> None:
    """It is asked for once, and locked; a lock goes before what a later rig is told."""
    settings = OllamaSettings()
    commits = {settings.sum_key(NAMES[0]): "e" * 64}
    assert planner(commits=commits).release(RIG) and planner(commits=commits, version="0.1.0").release(RIG) is None
    locked = settings.locked_source(commits)
    assert locked == {"ref": settings.version, "binaries": {NAMES[0]: "e" * 64}}
    OllamaSettings.check_source(locked)
    older = OllamaSettings(version="0.1.0").with_source(locked)
    assert (older.version, OllamaPlanner(older).release(RIG)) == (
        settings.version,
        planner(commits=commits).release(RIG),
    )
    with pytest.raises(ValidationError):
        OllamaSettings.check_source({"ref": "../x"})


def test_archive_of_the_inventory_is_taken_as_it_is() -> None:
    """By its sum, and its name."""
    own = planner(archive={"path": "/srv/my.tar.zst", "sha256": "f" * 64}).build(RIG)
    assert own and [(one.name, one.path) for one in own.archives] == [("my.tar.zst", "/srv/my.tar.zst")]
    secret = OllamaSettings.model_validate({"archive": {"url": "https://h/a.tar.zst?key=s3cret", "sha256": "f" * 64}})
    assert "s3cret" not in json.dumps(secret.locked_source({}))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"version": "v0.34.1"}, "pattern"),
        ({"version": "latest"}, "pattern"),
        ({"mirror": "http://nas/ollama"}, "no https address: name the sha256"),
        ({"mirror": "https://user:pw@nas/ollama"}, "pattern"),
        ({"archive": {"path": "/x", "url": "https://x/y", "sha256": "f" * 64}}, "exactly one of"),
    ],
)
def test_settings_that_are_refused(wrong: dict[str, Any], said: str) -> None:
    """Each in one line."""
    with pytest.raises(ValidationError, match=said):
        OllamaSettings.model_validate(wrong)
    assert OllamaSettings(mirror="http://nas/ollama", sums=SUMS)


MODELFILE = """FROM "/w/a b.gguf"
FROM /w/mmproj.gguf
RENDERER qwen3.5
PARSER qwen3.5
PARAMETER num_ctx 4096
PARAMETER temperature 0.6
PARAMETER use_mmap false
PARAMETER stop "<end>"
"""


def test_request_says_what_the_modelfile_says() -> None:
    """Types as Ollama's own client makes them; sums come in when they are known, and are part of the tag."""
    assert json.loads(request_of(MODELFILE)) == {
        "model": "@model",
        "files": {"1.gguf": "sha256:@1", "2.gguf": "sha256:@2"},
        "renderer": "qwen3.5",
        "parser": "qwen3.5",
        "parameters": {"num_ctx": 4096, "temperature": 0.6, "use_mmap": False, "stop": ["<end>"]},
    }
    assert weights_of(MODELFILE) == ("/w/a b.gguf", "/w/mmproj.gguf")
    tags = {tag_of(MODELFILE, sums) for sums in (["a" * 64, "b" * 64], ["a" * 64, "c" * 64])}
    assert len(tags) == 2 and request_path(MODELFILE) != request_path(MODELFILE.replace("0.6", "0.7"))


def test_account_of_a_unit_has_a_name_that_systemd_takes() -> None:
    """As the unit is called, or a sum of that."""
    assert account_of("chat") == "rigwright-chat"
    assert len(account_of("a" * 40)) <= 31 and account_of("a" * 40) != account_of("b" * 40)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"alias": "a b"}, "Ollama's models are called by"),
        ({"flags": {"--ollama-models": "/srv"}}, "mount another disk there"),
    ],
)
def test_wishes_that_are_refused(machine: Any, wish: dict[str, Any], said: str) -> None:
    """What it cannot do, it says."""
    service = {"name": "chat", "model": "qwen3-8b:Q4_K_M", "engine": "ollama", "context": 4096, **wish}
    with pytest.raises(WrongSpec, match=said):
        resolve(parse_spec("rig", {"services": [service]}), machine(gpus=["RTX 3090"]))


def unit_of(hardware: Hardware, spec: dict[str, Any], **given: Any) -> str:
    found = resolve(parse_spec("rig", spec), hardware)
    wishes = {wish.name: wish for wish in parse_spec("rig", spec).services}
    [instance] = instances(found.plan.services, wishes)
    paths = weights_of(instance.plan.modelfile or "")
    return render_unit(instance, found.engines["ollama"], weights=dict.fromkeys(paths, "ab" * 32), **given)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
@pytest.mark.parametrize("name", [*GOLDEN, "on the CPU", "open disk"])
def test_units_of_golden_plans_are_sound_and_closed(machine: Any, tmp_path: Path, name: str) -> None:
    """systemd takes each as it is, and scores it 2.0 at most: `systemd-analyze verify` and `security --offline`."""
    import yaml

    service = {"name": "chat", "model": "qwen3-8b:Q4_K_M", "engine": "ollama", "context": 4096}
    spec: dict[str, Any] = {"services": [service]}
    hardware = machine(gpus=["RTX 3090"])
    if name == "on the CPU":
        service["gpu"] = "none"
    elif name == "open disk":
        spec["weights"] = {"directory": "/home/my models"}
    else:
        row = yaml.safe_load((Path(__file__).parents[1] / f"golden/plans/{name}.yml").read_text())
        spec, hardware = row["spec"], machine(gpus=row["machine"]["gpus"], ram_gib=row["machine"].get("ram_gib", 64))
    text = unit_of(hardware, spec, systemd=247)  # no setting that this machine is too old for
    # The paths of a rig, which this machine need not have.
    text = text.replace("/opt/rigwright/services/chat/current/bin/ollama", "/bin/true")
    text = re.sub(r"(Wants|After)=.*rigwright.*\n|RequiresMountsFor=.*\n", "", text)
    path = tmp_path / "rigwright-chat.service"
    path.write_text(text)
    verified = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    said = [line for line in verified.stderr.splitlines() if "rigwright-chat" in line]
    assert (verified.returncode, said) == (0, []), verified.stderr
    scored = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", path], capture_output=True, text=True, check=True
    )
    found = re.search(r"exposure level for .*: ([\d.]+)", scored.stdout)
    assert found and float(found[1]) <= 2.0, scored.stdout
