"""Repositories of the driver on a real apt: what is written there, what is asked before, and what goes again."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigwright.resources import role_text

from .apt_box import said
from .driver_box import DriverBox, role
from .keys import Gpg
from .mirror import Mirror, mirror

pytestmark = [
    pytest.mark.patience,
    pytest.mark.skipif(shutil.which("gpg") is None or shutil.which("apt-get") is None, reason="gpg or apt is missing"),
]
FILE = "etc/apt/sources.list.d/rigwright-nvidia.sources"
PREFERENCES = "# Written by rigwright.\nPackage: nvidia-*\nPin: version 580.*\nPin-Priority: 1000\n"
NOTHING = {"REPO": "", "KEY": "", "FINGERPRINT": "", "COMPONENTS": "", "PREFERENCES": "", "STREAM": "", "EPEL": ""}
WANTED = "contrib non-free non-free-firmware"


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    """The key of the mirror, and a stranger's."""
    with tempfile.TemporaryDirectory(prefix="gpg-") as folder:
        gpg = Gpg.made(Path(folder) / "home")
        for name, kind in {"rsa@x": "rsa2048", "evil@x": "ed25519"}.items():
            gpg.make(name, kind)
        yield gpg
        gpg.close()


@pytest.fixture
def nvidia(tmp_path: Path, gpg: Gpg) -> Iterator[Mirror]:
    """A mirror that offers a driver."""
    offered = DriverBox.made(tmp_path / "offered")
    offered.offer_driver("580.95.05")
    with mirror(tmp_path / "mirror", gpg) as found:
        found.publish((offered.home / "repository/Packages").read_text())
        for file in (offered.home / "repository").glob("*.deb"):
            shutil.copy(file, found.home)
        yield found


@pytest.fixture
def box(tmp_path: Path) -> DriverBox:
    """A rig with a package of its own."""
    box = DriverBox.made(tmp_path / "box")
    box.offer("base")
    box.apt("update")
    box.apt("install", "base")
    return box


def given(found: Mirror, **more: str) -> dict[str, str]:
    """What a plan wants of a mirror."""
    return {**NOTHING, "REPO": found.url, "KEY": "k.pub", "FINGERPRINT": found.gpg.fingerprint("rsa@x"), **more}


def set_up(box: DriverBox, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a deploy runs."""
    return box.role("key.sh", "source-apt.sh", "repository.sh", **variables)


def policy(box: DriverBox, name: str) -> str:
    """What apt would install of a package."""
    done = subprocess.run(
        ["apt-cache", "policy", name], env=box.environment, capture_output=True, text=True, check=True
    )
    return next((line.split()[1] for line in done.stdout.splitlines() if "Candidate:" in line), "")


@pytest.mark.runs("nvidia/key.sh", "nvidia/source-apt.sh", "nvidia/repository.sh", "nvidia/driver.sh")
def test_repository_is_set_up_by_its_key(each_sh, box, nvidia):
    """apt takes it, and the owner's files are as they were; a second run changes nothing."""
    before = (box.home / "etc/apt/sources.list").read_text()
    for _ in range(2):
        done = set_up(box, **given(nvidia, PREFERENCES=PREFERENCES))
        assert (done.returncode, done.stderr, said(done)) == (0, "", [])
        assert policy(box, "nvidia-driver") == "580.95.05"
    text = box.read(FILE)
    assert text.startswith(f"# Written by rigwright: {nvidia.url} by the key {given(nvidia)['FINGERPRINT']}.\n")
    assert (box.home / FILE).stat().st_mode & 0o777 == 0o644
    assert box.read("etc/apt/preferences.d/rigwright-nvidia") == PREFERENCES
    assert (box.home / "etc/apt/sources.list").read_text() == before
    assert len(list((box.home / "etc/apt/sources.list.d").iterdir())) == 1


_OWNERS = {
    "own.list": "# deb {url}-old/ /\ndeb [signed-by={key}] {url}/ /\n",
    "own.sources": "Types: deb\nURIs: {url}\nSuites: /\nSigned-By: {key}\n",
}
_NOT_ITS = {
    "own.list": "#deb [signed-by={key}] {url}/ /\n",
    "own.sources": "Enabled: no\nTypes: deb\nURIs: {url}/\nSuites: /\n\n# URIs: {url}/\n",
}


@pytest.mark.parametrize("name", _OWNERS)
def test_source_of_the_owner_stays_alone(each_sh, box, nvidia, name):
    """Two that name a repository with different keys keep apt from reading anything; one that is off is none."""
    path = f"etc/apt/sources.list.d/{name}"
    key = box.home / "own.asc"
    shutil.copy(nvidia.home / "k.pub", key)
    box.put(path, _OWNERS[name].format(url=nvidia.url, key=key))
    done = set_up(box, **given(nvidia, PREFERENCES=PREFERENCES))
    assert (done.returncode, done.stderr, said(done)) == (0, "", [])
    assert policy(box, "nvidia-driver") == "580.95.05"
    assert not (box.home / FILE).exists()
    assert "asked refusal" not in ask(box, **given(nvidia, NAMES="nvidia-driver"))
    box.put(path, _NOT_ITS[name].format(url=nvidia.url, key=key))
    assert set_up(box, **given(nvidia)).returncode == 0
    assert box.read(FILE)


_REFUSED = {
    "no signature": ({"signed_by": None}, "is not signed", False),
    "another's signature": ({"signed_by": "evil@x"}, "couldn't be verified", True),
    "another's key": ({"key": "evil@x"}, "is the one to be trusted", False),
    "no key": ({"key": None}, "cannot be fetched", True),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_repository_that_cannot_be_trusted_goes_again(each_sh, box, nvidia, case):
    """Or what was there before stays, to the byte."""
    arguments, expected, had = _REFUSED[case]
    if had:
        there = f"Types: deb\nURIs: file:{box.home}/repository\nSuites: ./\nTrusted: yes\n"
        box.put(FILE, f"# Written by rigwright: x.\n{there}")
        box.put("etc/apt/preferences.d/rigwright-nvidia", PREFERENCES)
    before = {path: path.read_text() for path in (box.home / "etc/apt").rglob("*") if path.is_file()}
    nvidia.publish((nvidia.home / "Packages").read_text(), **arguments)
    done = set_up(box, **given(nvidia, PREFERENCES="other"))
    assert (done.returncode, done.stderr) == (1, "")
    assert expected in "\n".join(said(done))
    assert {path: path.read_text() for path in (box.home / "etc/apt").rglob("*") if path.is_file()} == before


def test_broken_source_of_the_owner_is_no_reason(each_sh, box, nvidia):
    """Not even one on the same host, whose name stands in every line of apt's."""
    address = nvidia.url.replace("/debian13", "/gone")
    box.put(
        "etc/apt/sources.list.d/own.list", f"deb [trusted=yes] {address}/ ./\ndeb [trusted=yes] {nvidia.url}-old/ ./\n"
    )
    box.put("etc/apt/sources.list.d/bad.list", "deb nonsense\n")
    done = set_up(box, **given(nvidia))
    assert (done.returncode, done.stderr, said(done)) == (0, "", [])
    assert "apt cannot read bad.list, going on without it" in done.stdout
    assert box.read(FILE)


def test_address_that_does_not_answer(each_sh, box, nvidia):
    """Which says so in one line, and leaves nothing."""
    done = set_up(box, **{**given(nvidia), "REPO": "http://127.0.0.1:1/debian13/x86_64"})
    assert done.returncode == 1 and box.read(FILE) == ""
    (line,) = said(done)
    assert line.startswith("http://127.0.0.1:1/debian13/x86_64/k.pub cannot be fetched: ")


_ONE_LINE = """\
deb http://mirror.example/debian trixie main # my contrib, non-free
 deb\t[arch=amd64  signed-by=/usr/share/keyrings/d.gpg]\thttp://mirror.example/debian trixie-updates contrib main
deb-src http://mirror.example/debian trixie main
# deb http://mirror.example/debian sid main
deb http://mirror.example/debian-security trixie-security main non-free-firmware non-free contrib
deb https://download.docker.com/linux/debian trixie stable
deb http://example.org/ubuntu noble main"""
_STANZAS = """\
# The distribution
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: trixie trixie-updates
Components: main
# in the middle
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEaw==
 -----END PGP PUBLIC KEY BLOCK-----

types: deb
uris:
 https://mirror.example/debian-security
Suites: trixie-security
components: non-free-firmware
  main
X-Mine: 1

Types: deb-src
URIs: http://mirror.example/debian
Suites: trixie
Components: main

Enabled: False
Types: deb
URIs: http://mirror.example/debian
Suites: trixie-backports
Components: main

Types: deb
URIs: http://apt.example/
Suites: ./
Signed-By: /x"""


def components(box: DriverBox) -> tuple[str, str]:
    """What is written for the components that are lacking."""
    text = role("key.sh", "source-apt.sh", **{**NOTHING, "COMPONENTS": WANTED})
    done = box.run(f"{text}\nsources_to /etc/apt/sources.list.d")
    assert (done.returncode, done.stderr) == (0, "")
    folder = "etc/apt/sources.list.d/rigwright-components"
    return box.read(f"{folder}.list"), box.read(f"{folder}.sources")


def test_components_that_the_owners_sources_lack(each_sh, box):
    """With the options that the owner gave them; what is no source of the distribution has no part in it."""
    own = {"etc/apt/sources.list": _ONE_LINE, "etc/apt/sources.list.d/debian.sources": _STANZAS}
    for path, text in own.items():
        box.put(path, text)
    box.put("etc/apt/sources.list.d/more.list", "deb http://mirror.example/debian trixie-backports main")
    for _ in range(2):
        lines, stanzas = components(box)
        head = "# Written by rigwright: further components of the distribution.\n\n"
        assert lines.replace("\t", " ") == head + (
            "deb http://mirror.example/debian trixie contrib non-free non-free-firmware\n"
            " deb [arch=amd64  signed-by=/usr/share/keyrings/d.gpg] http://mirror.example/debian "
            "trixie-updates non-free non-free-firmware\n"
            "deb http://mirror.example/debian trixie-backports contrib non-free non-free-firmware\n"
        )
        assert stanzas == head + (
            "Types: deb deb-src\nURIs: http://mirror.example/debian\nSuites: trixie trixie-updates\n"
            "Components: contrib non-free non-free-firmware\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n"
            " mDMEaw==\n -----END PGP PUBLIC KEY BLOCK-----\n\n"
            "types: deb\nuris:\n https://mirror.example/debian-security\nSuites: trixie-security\n"
            "Components: contrib non-free\nX-Mine: 1\n\n"
        )
    assert {path: box.read(path) for path in own} == own


def test_components_that_apt_takes(each_sh, box):
    """And that are not said twice once the owner has them."""
    archive = box.home / "debian"
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout
    sums = ""
    for name in ("main", *WANTED.split()):
        path = f"{name}/binary-{architecture.strip()}/Packages"
        index = f"Package: of-{name}\nVersion: 1\nArchitecture: all\nFilename: x\nSize: 1\nSHA256: {'a' * 64}\n"
        box.put(f"debian/dists/trixie/{path}", index)
        sums += f" {hashlib.sha256(index.encode()).hexdigest()} {len(index)} {path}\n"
    release = f"Suite: trixie\nComponents: main {WANTED}\nDate: Sat, 28 Nov 2026 00:00:00 UTC\nSHA256:\n{sums}"
    box.put("debian/dists/trixie/Release", release)
    for text, name in (
        (f"deb [trusted=yes] file:{archive} trixie main\n", "etc/apt/sources.list"),
        (
            f"Types: deb\nURIs: file:{archive}\nSuites: trixie\nComponents: main\nTrusted: yes\n",
            "etc/apt/sources.list.d/x.sources",
        ),
    ):
        box.put("etc/apt/sources.list", "")
        box.put(name, text)
        components(box)
        assert box.apt("update") == ""
        assert {policy(box, f"of-{one}") for one in ("main", *WANTED.split())} == {"1"}
        box.put(name, text.replace("main", f"main {WANTED}"))
        assert components(box) == ("", "")
        (box.home / name).write_text("")


def state(box: DriverBox) -> dict[str, tuple[object, ...]]:
    """All that apt and dpkg keep: kinds, owners, times and bytes."""
    found = {}
    for place in ("etc/apt", "var/lib/apt", "var/lib/dpkg", "var/cache/apt"):
        for path in sorted((box.home / place).rglob("*")):
            status = path.stat()
            text = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns if text else 0, text)
    return found


def ask(box: DriverBox, **variables: str) -> dict[str, list[str]]:
    """What a rig answers, by section."""
    text = role("key.sh", "source-apt.sh", **{"MAY": "--allow-downgrades --allow-change-held-packages", **variables})
    # As reading.ask puts it together: software.sh defines what it calls.
    done = box.run("\n".join([text, role_text("hardware", "software.sh"), role_text("nvidia", "ask.sh")]))
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    name = ""
    for line in done.stdout.splitlines():
        if line.startswith("@rigwright "):
            name = line.removeprefix("@rigwright ")
            found.setdefault(name, [])
        else:
            found[name].append(line.removeprefix("|"))
    return found


@pytest.mark.runs("nvidia/ask.sh")
def test_question_changes_nothing_on_the_rig(each_sh, box, nvidia):
    """Byte for byte, with whatever its owner has apt do and keep; and it is answered from what is not set up yet."""
    box.put(
        "etc/apt/apt.conf.d/99own",
        f'APT::Update::Post-Invoke-Success {{ "echo hook >>{box.home}/hook"; }};\n'
        f'APT::Update::Post-Invoke {{ "rm -f {box.home}/var/lib/apt/lists/*Packages"; }};\n'
        f'Dir::State::Lists "{box.home}/var/lib/apt/lists";\n',
    )
    box.put("etc/apt/sources.list.d/bad.list", "deb nonsense\n")
    before = state(box)
    names = "nvidia-driver-pinning-580 nvidia-driver"
    found = ask(box, **given(nvidia, PREFERENCES=PREFERENCES, NAMES=names))
    assert state(box) == before and not (box.home / "hook").exists()
    coming = {"libcuda1", "nvidia-kernel-dkms", "nvidia-smi", "nvidia-driver"}
    assert {line for line in found["asked coming"] if "pinning" not in line} == {f"{name} 580.95.05" for name in coming}
    assert any(line.startswith("  Candidate: 580.95.05") for line in found["source apt-policy.txt"])
    sizes = [file.stat().st_size for file in nvidia.home.glob("*.deb")]
    assert found["asked download"] == [f"download={sum(sizes)}"]
    assert "asked failure" not in found and "asked refusal" not in found
    # A rig where it is set up says the same.
    for name in ("sources.list.d/bad.list", "apt.conf.d/99own"):
        (box.home / "etc/apt" / name).unlink()
    assert set_up(box, **given(nvidia)).returncode == 0
    done = subprocess.run(
        ["apt-get", "-s", "install", *names.split()], env=box.environment, capture_output=True, text=True, check=True
    )
    assert sum(line.startswith("Inst ") for line in done.stdout.splitlines()) == len(found["asked coming"])


def test_sizes_are_what_apt_says(each_sh, box):
    """What is fetched, and what lies on the disk afterwards, in bytes."""
    box.offer("big", Depends="part", Installed_Size="1000")
    box.offer("part", Version="1", Installed_Size="99999")
    box.offer("part", Version="2", Installed_Size="24")
    box.apt("update")
    found = ask(box, **NOTHING, NAMES="big")
    debs = sum((box.home / f"repository/{name}.deb").stat().st_size for name in ("big", "part_2"))
    assert (found["asked download"], found["asked disk"]) == ([f"download={debs}"], [f"disk={1024 * 1024}"])


def test_what_cannot_be_installed_is_told(each_sh, box):
    """A conflict, a name that nobody offers; and what the plan takes away, goes."""
    box.offer("mine", Conflicts="driver")
    box.offer("driver")
    box.offer("late", Depends="nothing-like-it")
    box.apt("update")
    box.apt("install", "mine")
    before = state(box)
    found = ask(box, **NOTHING, NAMES="driver mine-")
    assert found["asked coming"] == ["-mine", "driver 1"]
    assert ask(box, **NOTHING, NAMES="driver")["asked coming"] == ["-mine", "driver 1"]
    assert any("nothing-like-it" in line for line in ask(box, **NOTHING, NAMES="late")["asked failure"])
    assert ask(box, **NOTHING, NAMES="unheard")["asked failure"] == ["E: Unable to locate package unheard"]
    assert state(box) == before


def test_repository_that_cannot_be_used_is_told_and_no_other(each_sh, box, nvidia):
    """Why NVIDIA's does not answer is another matter than what the owner's lack."""
    box.put("etc/apt/sources.list.d/own.list", f"deb [trusted=yes] {nvidia.url}-old/ ./\n")
    before = state(box)
    found = ask(box, **given(nvidia, NAMES=""))
    assert "asked refusal" not in found and any("-old" in line for line in found["asked update"])
    nvidia.publish("", signed_by="evil@x")
    (line,) = ask(box, **given(nvidia, NAMES=""))["asked refusal"]
    assert "NO_PUBKEY" in line
    nvidia.publish("", key=None)
    (line,) = ask(box, **given(nvidia, NAMES=""))["asked refusal"]
    assert "k.pub cannot be fetched" in line
    assert state(box) == before
