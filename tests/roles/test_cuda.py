"""Toolkits: wheels become one archive, scripts lay it out and try it, and a build has its compiler before it begins."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from rigwright.errors import RigwrightError
from rigwright.plan.driver import Cuda
from rigwright.plan.driver.wheels import Wheels, wheels
from rigwright.plan.engines.installed import Installed
from rigwright.records.values import RigRecords
from rigwright.resources import role_text, script
from rigwright.roles.base.channel import Upload
from rigwright.roles.base.facts import read_rig
from rigwright.roles.base.probe import Probe
from rigwright.roles.cuda import archive, operations

from .room import Room

STATE = "/var/lib/rigwright/cuda"
MADE = wheels("13.0", "x86_64")
assert MADE
PYPI = Cuda("13.0", "pypi", tuple(MADE.sums), ("86", "120"))
PROVEN = f"{MADE.nvcc} 13.0 86 120"

# --- the archive


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A wheel as NVIDIA makes them: files below nvidia/cu13, their sums in RECORD."""
    path, info = folder / f"{name}-py3-none-any.whl", f"{name}.dist-info"
    with zipfile.ZipFile(path, "w") as made:
        lines = []
        for inside, content in files.items():
            entry = zipfile.ZipInfo(inside if ".dist-info" in inside else f"nvidia/cu13/{inside}")
            entry.external_attr = (0o755 if "/bin/" in entry.filename else 0o644) << 16
            made.writestr(entry, content, zipfile.ZIP_DEFLATED if len(content) % 2 else zipfile.ZIP_STORED)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.append(f"{entry.filename},sha256={digest},{len(content)}")
        made.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,"]) + "\n")
    return path


@pytest.fixture
def two_wheels(tmp_path: Path) -> list[Path]:
    """Two, with what is left out, too."""
    big = hashlib.sha256(b"big").digest() * 40_001
    files = {"bin/nvcc": b"#!/bin/sh\n", "lib/libcudart.so.13": big, "nvidia_a-1.dist-info/licenses/License.txt": b"L"}
    others = {"lib/libnvvm.so.4": b"x", "lib/libnvblas.so.13": b"x", "include/a b.h": b"", ".metadata/sizes": b"x"}
    return [wheel(tmp_path, "nvidia_a-1", files), wheel(tmp_path, "nvidia_b-2", others)]


def test_archive_lies_as_a_toolkit_does(two_wheels: list[Path], tmp_path: Path) -> None:
    """The rig's own tar unpacks it: programs run, linkers find libraries, and the sums are those of the wheels."""
    packed = archive._pack(two_wheels, tmp_path / "t.tar.gz")
    place = tmp_path / "at"
    place.mkdir()
    subprocess.run(["tar", "-xzf", packed, "-C", place], check=True)
    subprocess.run(["sha256sum", "--quiet", "-c", "sums.txt"], cwd=place, check=True)
    found = {str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir() or path.is_symlink()}
    libraries = {"lib/libcudart.so", "lib/libcudart.so.13", "lib64"}
    assert found == {"bin/nvcc", "include/a b.h", "licenses/nvidia_a.txt", "sums.txt", *libraries}
    assert (place / "bin/nvcc").stat().st_mode & 0o777 == 0o755
    assert (place / "lib64/libcudart.so").stat().st_size == 32 * 40_001


def test_archive_is_the_same_wherever_it_is_made(two_wheels: list[Path], tmp_path: Path) -> None:
    """An upload that another machine began is continued."""
    packed = [archive._pack(order, tmp_path / f"{len(order)}{number}.tar.gz").read_bytes()
              for number, order in enumerate((two_wheels, two_wheels[::-1]))]  # fmt: skip
    assert packed[0] == packed[1]
    with tarfile.open(fileobj=io.BytesIO(packed[0])) as tar:
        assert {(one.uid, one.gid, one.mtime) for one in tar.getmembers()} == {(0, 0, 0)}


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("x: No module named pip", "this Python has no pip; run python -m ensurepip, or set source to"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES\n Expected sha256 a\n Got        b", "the index has other files than"),
        ("WARNING: retrying\nERROR: No matching distribution found", "ERROR: No matching distribution found; check"),
        ("", "a wheel is missing; check"),
    ],
)
def test_what_pip_says_becomes_one_line(said: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which toolkit, why not, and what to do."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(archive, "pip_download", lambda *_: said)
    with pytest.raises(RigwrightError, match=r"^rig\.cuda: CUDA 13\.0: ") as error:
        archive.toolkit_archive(MADE)
    assert line in error.value.message and "\n" not in error.value.message


def test_wheels_are_asked_for_the_rig_and_by_their_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the controller is: a laptop with another processor too."""
    asked: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(archive, "pip_download", lambda text, _, *options: asked.extend([text, *options]) or "no")
    arm = wheels("13.0", "aarch64")
    with pytest.raises(RigwrightError):
        archive.toolkit_archive(arm)
    assert asked[0].splitlines() == [f"{one} --hash=sha256:{digest}" for one, digest in arm.sums.items()]
    assert "--platform=manylinux_2_27_aarch64" in asked and asked[1:3] == ["--only-binary", ":all:"]


# --- the scripts

_NVCC = """#!/bin/sh
case $1 in
  --version) echo 'Cuda compilation tools, release {version}, V1' ;;
  --list-gpu-code) echo {codes} | tr ' ' '\\n' ;;
  *) grep -q __global__ three.cu || exit 1; {compiles} ;;
esac
"""


def nvcc(version: str = "13.0", codes: str = "sm_75 sm_86 sm_120", compiles: str = ":") -> str:
    """A compiler that says so."""
    return _NVCC.format(version=version, codes=codes, compiles=compiles)


@pytest.fixture
def room(each_sh: str, open_path: Path) -> Room:
    """A rig whose `sh` is each of the shells, with a C compiler."""
    found = Room.made(open_path / "room")
    found.tool("cc", '#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\nmv "$3" "$2"\n')
    return found


def send(room: Room, compiler: str) -> Path:
    """The archive of a toolkit with this compiler, where an upload leaves it."""
    path = room.put(f"{STATE}/t.tar.gz")
    files = {"bin/nvcc": compiler, "include/cuda.h": "CUresult cuInit(int); // cuInit\n#define cuCtx cuCtx_v2\n"}
    files["sums.txt"] = "".join(f"{hashlib.sha256(v.encode()).hexdigest()}  ./{k}\n" for k, v in files.items())
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o755 if "bin" in name else 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


AT = "/opt/rigwright/cuda/13.0-0123"
GIVEN = {"VERSION": "13.0", "TARGETS": "86 120", "STATE": STATE}
INSTALL = script("cuda", "host.sh", "prove.sh", "install.sh", AT=AT, ARCHIVE=f"{STATE}/t.tar.gz", **GIVEN)


@pytest.mark.runs("cuda/place.sh", "cuda/prove.sh", "cuda/install.sh")
def test_toolkit_is_laid_out_tried_and_written_down(room):
    """With a stub of libcuda that has every function of its header; what an earlier attempt left is gone."""
    where = {"AT": AT, "ARCHIVE": f"{STATE}/t.tar.gz", "STATE": STATE}
    room.put(f"{STATE}/old.tar.gz")
    assert room.run(script("cuda", "place.sh", **where, NEED=1, NEED_INSTALLED=1)) == ""
    sent = send(room, nvcc())
    room.put("/opt/rigwright/cuda/.13.0-0000/bin/nvcc")
    said = room.run(INSTALL)
    assert said.splitlines()[-1] == f"::progress CUDA 13.0 is ready: {AT}"
    assert "::progress trying nvcc of CUDA 13.0 for sm_86, sm_120" in said
    found = room.path(AT)
    functions = ["void cuCtx(void) {}", "void cuCtx_v2(void) {}", "void cuInit(void) {}"]
    assert (found / "lib/stubs/libcuda.so").read_text().splitlines() == functions
    subprocess.run(["sha256sum", "--quiet", "-c", "sums.txt"], cwd=found, check=True)
    assert "libcuda.so" in (found / "sums.txt").read_text() and [path.name for path in found.parent.iterdir()] == [
        "13.0-0123"
    ]
    assert room.path(f"{STATE}/proven").read_text() == f"{AT}/bin/nvcc 13.0 86 120\n"
    assert not sent.exists() and [path.name for path in sent.parent.iterdir()] == ["proven"]


WRONG = [
    (nvcc("13.1"), "is CUDA 13.1, not 13.0"),
    (nvcc(codes="sm_75 sm_86 sm_1200"), "makes no code for sm_120"),
    (nvcc(compiles="echo 'cc1plus: error: no such file'; exit 1"), "does not compile three lines: cc1plus: error: no"),
    ("#!/bin/sh\necho cannot execute; exit 126\n", "does not start: cannot execute"),
]


@pytest.mark.parametrize(("compiler", "why"), WRONG)
def test_toolkit_that_does_not_compile_never_has_its_name(room, compiler, why):
    """Nothing half is left, and the one that was there stays, with what it was proven for."""
    room.put(f"{AT}/bin/nvcc", "old")
    room.put(f"{STATE}/proven", "old\n")
    send(room, compiler)
    errors = [line for line in room.run(INSTALL, code=1).splitlines() if line.startswith("::error ")]
    assert len(errors) == 1 and why in errors[0]
    assert [path.name for path in room.path("/opt/rigwright/cuda").iterdir()] == ["13.0-0123"]
    assert room.path(f"{AT}/bin/nvcc").read_text() == "old" and room.path(f"{STATE}/proven").read_text() == "old\n"


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_archive_that_arrived_damaged_is_thrown_away(room, damage):
    """An upload is continued by size alone."""
    path = send(room, nvcc())
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        with tarfile.open(path, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("bin/nvcc"))
    said = room.run(INSTALL, code=1)
    assert said.endswith("::error the archive of CUDA 13.0 arrived damaged and was thrown away; run again\n")
    assert not path.exists() and list(room.path("/opt/rigwright/cuda").iterdir()) == []


def test_room_is_looked_at_before_anything_is_sent(room):
    """Where the archive waits, and where it lies."""
    for need, where in (
        ({"NEED": 1 << 60, "NEED_INSTALLED": 1}, STATE),
        ({"NEED": 1, "NEED_INSTALLED": 1 << 60}, "/opt/"),
    ):
        said = room.run(script("cuda", "place.sh", AT=AT, ARCHIVE="x", STATE=STATE, **need), code=1)
        assert said.startswith(f"::error a toolkit needs 1073741824.0 GiB in {where}") and said.endswith("free some\n")
    assert not room.path(STATE).exists()


@pytest.mark.runs("cuda/try.sh")
def test_toolkit_of_packages_is_tried_where_it_is(room):
    """What it says of itself, and three lines."""
    room.put("/opt/nvcc", nvcc("12.4", "sm_86"))
    room.path("/opt/nvcc").chmod(0o755)
    given = GIVEN | {"VERSION": "12.4", "NVCC": "/opt/nvcc"}
    said = room.run(script("cuda", "host.sh", "prove.sh", "try.sh", **given | {"TARGETS": "86"}))
    assert said.endswith("::progress CUDA 12.4 is ready: /opt/nvcc\n")
    assert room.path(f"{STATE}/proven").read_text() == "/opt/nvcc 12.4 86\n"
    said = room.run(script("cuda", "host.sh", "prove.sh", "try.sh", **given), code=1)
    assert "::error /opt/nvcc makes no code for sm_120; see its packages" in said


@pytest.mark.runs("cuda/host.sh")
def test_compiler_that_is_too_new_gives_way_to_an_older_one(room):
    """By the limit in NVIDIA's own header; where the system's will do, or no older one is there, nothing is said."""
    room.put("/opt/cuda/bin/nvcc", "#!/bin/sh\n").chmod(0o755)
    text = "#if __GNUC__ > 14\n#error no\n#endif /* __GNUC__ > 14 */\n"
    header = room.put("/opt/cuda/include/crt/host_config.h", text)

    def said(version):
        room.tool("c++", f"#!/bin/sh\necho {version}\n")
        return room.run(script("cuda", "host.sh") + "\nhost_compiler /opt/cuda/bin/nvcc").strip()

    assert said("14.2.0") == ""
    for number in ("13", "14", "15"):
        room.tool(f"g++-{number}", "#!/bin/sh\n")
    assert said("15").endswith("/g++-14") and said("14") == ""
    header.write_text("#if __GNUC__ > 13\n")
    assert said("14.2.0").endswith("/g++-13")
    # So old a one is nowhere.
    header.write_text("#if __GNUC__ > 8\n")
    assert said("15") == ""
    header.unlink()
    assert said("15") == ""


def test_toolkits_that_no_release_was_built_with_go(room):
    """One that is wanted now stays, and one that a release names, which is built with it again."""
    for name in ("13.0-used", "13.0-old", "13.1-wanted", ".13.2-cut"):
        room.put(f"/opt/rigwright/cuda/{name}/bin/nvcc").chmod(0o755)
    room.put("/opt/rigwright/llamacpp/releases/1/release.json", '"-DA=/opt/rigwright/cuda/13.0-used/bin/nvcc"')
    room.put(f"{STATE}/proven", "/opt/rigwright/cuda/13.1-wanted/bin/nvcc 13.1 86\n")
    said = room.run(script("base", "prune.sh"))
    assert "::progress toolkit 13.0-old removed\n" in said
    assert {path.name for path in room.path("/opt/rigwright/cuda").iterdir()} == {"13.0-used", "13.1-wanted"}


@pytest.mark.runs("base/deployed.sh")
def test_toolkits_are_told_with_what_was_proven(room):
    """Those that nothing needs any more, and installations that were cut; a compiler that is gone proves nothing."""
    for name in ("13.0-used", "13.0-old", "13.1-wanted", ".13.2-cut"):
        room.put(f"/opt/rigwright/cuda/{name}/bin/nvcc").chmod(0o755)
    room.put("/opt/rigwright/cuda/13.0-half/lib/x")
    room.put("/opt/rigwright/llamacpp/releases/1/release.json", '"-DA=/opt/rigwright/cuda/13.0-used/bin/nvcc"')
    proof = "/opt/rigwright/cuda/13.1-wanted/bin/nvcc 13.1 86 120"
    room.put(f"{STATE}/proven", f"{proof}\n")
    records = read_rig(Probe(), room.run(Probe().script()).splitlines()).records
    names = ("13.0-used", "13.0-old", "13.1-wanted")
    assert records.installed.toolkits == {f"/opt/rigwright/cuda/{name}" for name in names}
    assert records.spare_toolkits == {"/opt/rigwright/cuda/13.0-old"} and records.installed.proven == proof
    assert records.left == ("/opt/rigwright/cuda/.13.2-cut",)
    room.path("/opt/rigwright/cuda/13.1-wanted/bin/nvcc").unlink()
    records = read_rig(Probe(), room.run(Probe().script()).splitlines()).records
    assert records.installed.proven == "" and len(records.installed.toolkits) == 2


# --- what is decided


def commands(monkeypatch, rig, cuda: Cuda = PYPI) -> list[str]:
    """What the operation would do, by the names of its scripts."""

    def current_rig(probe):
        yield from ()
        return rig

    monkeypatch.setattr(operations, "current_rig", current_rig)
    found = []
    for command in operations.toolkit._inner(cuda=cuda, probe=Probe()):
        if isinstance(command, Upload):
            found.append("upload")
            continue
        parts = ("cuda/place", "cuda/install", "cuda/try", "base/prune")
        texts = {name: role_text(*f"{name}.sh".split("/")) for name in parts}
        found.append(
            next((name.partition("/")[2] for name, text in texts.items() if text in command.text), command.text)
        )
    return found


@pytest.mark.parametrize(
    ("installed", "cuda", "done"),
    [
        (Installed(), PYPI, ["place", "upload", "install"]),
        (Installed(proven=PROVEN), PYPI, []),
        (Installed(proven=PROVEN), replace(PYPI, targets=("86",)), []),
        (Installed(proven=PROVEN), replace(PYPI, path=MADE.nvcc, packages=()), []),
        # Another GPU came: the same toolkit is tried for it.
        (Installed(toolkits=frozenset({MADE.directory}), proven=PROVEN), replace(PYPI, targets=("89",)), ["try"]),
        # Another one is there that nothing needs any more.
        (
            Installed(toolkits=frozenset({"/opt/rigwright/cuda/13.0-old"})),
            PYPI,
            ["place", "upload", "install", "prune"],
        ),
        (Installed(), Cuda("12.4", "distro", ("nvidia-cuda-toolkit",), ("86",)), ["try"]),
        (Installed(proven="/usr/bin/nvcc 12.4 86"), Cuda("12.4", "distro", ("nvidia-cuda-toolkit",), ("86",)), []),
        (Installed(proven="/usr/bin/nvcc 12.4 86"), Cuda("12.4", "distro", (), ("86",), "/usr/bin/nvcc"), []),
        (Installed(proven="/usr/bin/nvcc 11.8 86"), Cuda("12.4", "distro", (), ("86",), "/usr/bin/nvcc"), ["try"]),
        (Installed(), Cuda("12.8", "nvidia", ("cuda-toolkit-12-8",), ("86",)), ["try"]),
        (Installed(), Cuda(), []),
    ],
)
def test_toolkit_comes_once(monkeypatch, blank, installed, cuda, done):
    """A second run does nothing; a new GPU is tried, and of packages all is there by then."""
    assert commands(monkeypatch, blank(records=RigRecords({}, installed)), cuda) == done


def test_processor_without_wheels_is_refused(monkeypatch, blank):
    """A line, not a silent nothing."""
    rig = blank()
    (said,) = commands(monkeypatch, replace(rig, hardware=replace(rig.hardware, architecture="riscv64")))
    assert "CUDA 13.0 has no wheels for riscv64; set rig.cuda.source" in said


@pytest.mark.parametrize(
    ("cuda", "names"),
    [
        (PYPI, ("g++",)),
        (replace(PYPI, path=MADE.nvcc), ("g++",)),
        (Cuda("12.4", "distro", ("nvidia-cuda-toolkit", "nvidia-cuda-toolkit-gcc")),
         ("nvidia-cuda-toolkit", "nvidia-cuda-toolkit-gcc", "g++")),
        (Cuda("12.8", "nvidia", ("cuda-toolkit-12-8",)), ("cuda-toolkit-12-8", "g++")),
    ],
)  # fmt: skip
def test_compiler_for_the_processor_comes_along(blank, cuda, names):
    """nvcc compiles half of each file with it."""
    assert operations.package_needs(cuda, blank().hardware) == names
    asked = operations.cuda_probe().packages
    assert set(names) <= set(asked)


def test_every_version_has_wheels_for_both_processors():
    """And all of them are named in the table of targets."""
    from rigwright.catalogue import load
    from rigwright.plan.driver.tables import toolkits

    for version in load("cuda_wheels"):
        assert version in toolkits()
        found = [wheels(version, one) for one in ("x86_64", "aarch64")]
        assert all(isinstance(one, Wheels) and len(one.sums) == 6 for one in found)
        assert len({one.id for one in found if one}) == 2
    assert wheels("12.9", "x86_64") is None and wheels("13.0", "riscv64") is None
