"""The commands of the pages that need rigs, typed as a reader types them: the demo, the lab, a rig of one's own."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rigwright.lab.tiny_model import write_tiny_model

from ..pages import READ, ROOT, block_of, blocks, commands, indented, page_shows
from .conftest import LAB_NAME, wait_healthy

pytestmark = pytest.mark.lab

INVENTORIES = ("rig.py", "inventories/rig.py")
# What the inventory of the README does not say: where this rig is, what was there before, and a model for it.
ITS_RIG = """
from rigwright.lab.inventory import lab_hosts
rigs = ([(name, data | dict(lab_hosts())[name]) for name, data in rigs[0]], rigs[1])
rigs[1]["rig"] |= {{"llamacpp": {{"archive": "pinned"}}, "remove_orphans": True, "takes_over": ["inventory"]}}
rigs[1]["rig"]["services"][0] |= {{"model": {model!r}, "context": {context}}}
"""


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder of the reader's, with what a checkout has."""
    for name in ("deploys", "inventories"):
        (tmp_path / name).mkdir()
        for path in (ROOT / name).glob("*.py"):
            (tmp_path / name / path.name).symlink_to(path)
    (tmp_path / "models").mkdir()
    return tmp_path


@pytest.fixture
def own_lab(workshop: Any, room: Path) -> Iterator[dict[str, str]]:
    """The environment of a lab that no other test is in."""
    environment = workshop.environment | {"RIGWRIGHT_LAB": f"{LAB_NAME}p"}
    yield environment
    typed("rigwright lab down", room, environment)


def typed(command: str, folder: Path, environment: dict[str, str]) -> str:
    """What a command prints that works; Enter answers its questions."""
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, input="\n" * 9, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.mark.parametrize("demo", ["demo", "demo-fast"])
def test_demo(room: Path, own_lab: dict[str, str], demo: str) -> None:
    """Each line of a demo: what the README shows of the fast one comes, and a second time nothing changes."""
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^demo demo-fast:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    inventory = re.search(rf"^{demo}: INVENTORY = (\S+)$", makefile, re.MULTILINE)
    assert recipe and inventory
    if demo == "demo-fast":
        typed("make build/llama-server.whl", ROOT, own_lab)
        (room / "build").symlink_to(ROOT / "build")
    lines = recipe[1].replace("\\\n", "").replace("$(INVENTORY)", inventory[1]).splitlines()
    printed = [typed(line.strip().removeprefix("@"), room, own_lab) for line in lines]
    if demo == "demo-fast":
        page_shows("README.md", "[rig1] demo: tiny.gguf", "".join(printed))
    again = typed(f"pyinfra -y {inventory[1]} deploys/llamacpp.py", room, own_lab)
    assert re.search(r"Grand total +10 +- +- +10 ", again), again


def test_lab(room: Path, own_lab: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first commands of docs/lab.md, but for the deploy, which is that of the demo; then its Python."""
    for line in indented(ROOT / "docs/lab.md")[:4]:
        if "pyinfra" not in line:
            typed(line.removeprefix("sudo "), room, own_lab)
    example = block_of("docs/lab.md", "from rigwright.lab import").text
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(example.replace('"rehearsal"', repr(own_lab["RIGWRIGHT_LAB"])), {})
    page_shows("docs/lab.md", "GPU 0:", printed.getvalue())


def stage(words: list[str]) -> int:
    """A reader looks, deploys, looks again, goes back, removes a service, removes all."""
    if words[0] == "pyinfra":
        if any("remove" in word for word in words):
            return 4 if "--data" in words else 5
        return 0 if "--dry" in words else 1
    return 3 if words[1] == "rollback" else 2


def test_commands_on_a_rig(workshop: Any, trixie: Any, room: Path, own_lab: dict[str, str]) -> None:
    """With the three files of the README: each command of the pages that names an inventory does what it says."""
    rig = workshop.boot("rig1", from_snapshot=trixie.snapshot)
    wait_healthy(workshop, rig)
    files = {block.file: block.text for block in blocks(ROOT / "README.md") if block.file}
    files["rig.py"] += ITS_RIG.format(model=str(write_tiny_model(room / "tiny.gguf")), context=4096)
    for name, text in files.items():
        (room / name).write_text(text)
    sources = room / "rig.list"
    sources.write_text(workshop.on(rig, "cat /etc/apt/sources.list"))
    (room / "inventories/rig.py").unlink()
    (room / "inventories/rig.py").symlink_to("../rig.py")

    found = [words for page in READ for words in commands(page) if set(INVENTORIES) & set(words)]
    found = sorted({" ".join(words).replace("inventories/", ""): words for words in found}.values(), key=stage)
    assert {stage(words) for words in found} == set(range(6))
    try:
        for number, words in enumerate(found):
            if stage(words) == 2 and stage(found[number - 1]) == 1:
                change(room / "rig.py", workshop)
            # This machine may run another release; what is gathered, and what comes of it, is test_bundle's.
            more = ["--dry", "--sources", str(sources)] if words[1] == "bundle" else []
            typed(shlex.join(words + more), room, workshop.environment)
        # The folder is one that the lab takes.
        typed("rigwright lab up --hardware rig1", room, own_lab)
    finally:
        workshop.lab.down([rig])


def change(inventory: Path, workshop: Any) -> None:
    """Change something: edit the inventory, run it again. Only what differs is done."""
    inventory.write_text(inventory.read_text().replace("4096", "2048"))
    done = typed("pyinfra -y rig.py deploy.py", inventory.parent, workshop.environment)
    assert "Serve | Serve chat" in done and re.search(r"Grand total +\d+ +1 ", done), done
