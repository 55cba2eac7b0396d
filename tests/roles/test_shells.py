"""Every script of ours in every shell that a rig may have as `sh`, run for real to its end."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import pwd
import shutil
import struct
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from rigwright.records.reading import script as records_script
from rigwright.records.values import Record
from rigwright.resolve.watch import Watch, watch_of
from rigwright.resources import role_text, script
from rigwright.roles.base.account import COMMENT
from rigwright.roles.base.operations import refuse
from rigwright.roles.base.removal import REMOVAL
from rigwright.roles.llamacpp.operations import _STEPS

from .room import Room
from .test_switch import bench, versions  # noqa: F401  # fixtures

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="scripts work as root, in mounts of their own: needs root")

STATE, CONFIG = "/var/lib/rigwright", "/etc/rigwright"
PLACES = {
    "STATE": STATE,
    "CONFIG": CONFIG,
    "RECORD": f"{STATE}/packages.installed",
    "BROUGHT": f"{STATE}/weights.brought",
}
BUILDER = {"BUILDER": "rw-test", "COMMENT": COMMENT}
TESTS = Path(__file__).parents[1]


@pytest.fixture
def room(each_sh: str, open_path: Path) -> Room:
    """A rig whose `sh` is each of the shells."""
    return Room.made(open_path / "room")


def test_each_script_is_run_in_each_shell():
    """A script that no test runs in all of them is none that may be relied on."""
    run = set()
    for path in TESTS.rglob("test_*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.runs":
                run |= {ast.literal_eval(name) for name in call.args}
    roles = TESTS.parent / "roles"
    assert run == {str(path.relative_to(roles)) for path in roles.rglob("*.sh")}


@pytest.mark.runs("base/prelude.sh", "base/account.sh")
def test_account_is_made_once(room):
    """The builder, and the directories that are its own and root's."""
    text = script("base", "account.sh", STATE=STATE, CONFIG=CONFIG, INSTALLED="/opt/rigwright", **BUILDER)
    for _ in range(2):
        assert room.run(f"{text}\ngetent passwd rw-test | cut -d: -f5-") == f"{COMMENT}:{STATE}:/usr/sbin/nologin\n"
    owners = {path.name: path.stat().st_uid for path in room.path(STATE).iterdir()}
    assert owners.keys() == {"build", "ccache", "account.created"} and owners["build"] == 0 != owners["ccache"]


@pytest.mark.runs("service/key.sh", "service/record.sh", "service/watch-set.sh", "base/prune.sh")
def test_small_scripts_of_a_service(room):
    """Keys arrive whole, a record is written, what nobody serves goes."""
    whose = {"before": role_text("base", "owner.sh"), "NAME": "chat", "OWNERS": "a"}
    room.run(script("service", "key.sh", FILE=f"{CONFIG}/chat.key", MODE="600", **whose), stdin="one\ntwo\n")
    key = room.path(f"{CONFIG}/chat.key")
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("one\ntwo\n", 0o600)
    given = {"PLAN": '{"it\'s": 1}', "PLAN_FILE": f"{CONFIG}/chat.json", "UNIT": "u.service"}
    room.put("/opt/rigwright/x/y")
    watch = watch_of("chat", Record("llamacpp", port=1, watch_seconds=300))
    whose["before"] += "\n" + "\n".join([role_text("base", "remove-unit.sh"), role_text("service", "watch-set.sh")])
    room.run(script("service", "record.sh", **given, **whose, **watch.variables()))
    assert room.path(f"{CONFIG}/chat.json").read_text() == '{"it\'s": 1}'
    files = [room.path(f"/etc/systemd/system/rigwright.watch.chat.{kind}") for kind in ("service", "timer")]
    assert [one.read_text() for one in files] == [watch.service, watch.timer]
    assert room.path("/opt/rigwright/watch.sh").read_text() == watch.program
    room.run(script("service", "record.sh", **given, **whose, **Watch().variables()))
    assert not any(one.exists() for one in files)
    for name in ("used", "old"):
        room.put(f"/opt/rigwright/x/releases/{name}/.served")
    links = room.put("/opt/rigwright/services/chat/x").parent
    (links / "current").symlink_to("/opt/rigwright/x/releases/used")
    room.put("/opt/rigwright/x/releases/.cut/bin/x")
    room.put("/opt/rigwright/x/releases/.cut.gone/bin/x")
    said = room.run(script("base", "prune.sh"))
    assert "::progress release old removed\n" in said and said.count("an installation was cut there") == 2
    assert {path.name for path in room.path("/opt/rigwright/x/releases").iterdir()} == {"used"}


def test_older_releases_stay_as_many_as_shall(room):
    """Beside the way back those of each engine that came last; the service that asks for most counts."""
    releases, links = "/opt/rigwright/x/releases", room.put("/opt/rigwright/services/chat/x").parent
    for age, name in enumerate(("running", "newer", "back", "older", "oldest", "unserved")):
        if name != "unserved":
            served = room.put(f"{releases}/{name}/.served")
            os.utime(served, (time.time() - 1000 * age,) * 2)
    os.utime(room.put(f"{releases}/unserved/x").parent, (1, 1))
    room.put("/opt/rigwright/y/releases/other/.served")
    for name, link in (("running", "current"), ("back", "previous")):
        (links / link).symlink_to(f"{releases}/{name}")
    room.put("/etc/rigwright/chat.json", '{"alias":"\\"keep_releases\\":9,","keep_releases":3,"owner":"home"}')
    room.put("/etc/rigwright/other.json", '{"owner":"guests","keep_releases":2}')
    for kept, stays in ((3, "running newer back older"), (1, "running newer back")):
        room.path("/etc/rigwright/chat.json").write_text(
            room.path("/etc/rigwright/chat.json").read_text().replace(":3", f":{kept}")
        )
        room.run(script("base", "prune.sh"))
        assert {path.name for path in room.path(releases).iterdir()} == set(stays.split())
        assert room.path("/opt/rigwright/y/releases/other").exists()
    room.path("/etc/rigwright/other.json").write_text("{}")
    assert "release newer removed" in room.run(script("base", "prune.sh"))
    assert {path.name for path in room.path(releases).iterdir()} == {"running", "back"}
    assert not room.path("/opt/rigwright/y/releases/other").exists()


def test_unfinished_builds_go_after_a_day(room):
    """Their log is there to be read until then, as is the source that was sent for them; one that goes on stays."""
    for name, age in (("old", 90_000), ("today", 80_000)):
        os.utime(room.put(f"/var/lib/rigwright/build/{name}/log").parent, (time.time() - age,) * 2)
        for kind in ("tar.gz", "nccl.tar.gz", "0123.release.tar.gz"):
            os.utime(room.put(f"/var/lib/rigwright/build/{name}.{kind}"), (time.time() - age,) * 2)
    text = role_text("base", "deployed.sh")
    told = room.run(f'section() {{ echo "@$1"; }}\nencoded() {{ base64 -w0 -- "$1"; echo; }}\n{text}')
    left = {line.rpartition("/")[2] for line in told.splitlines() if line.startswith("left=")}
    assert left == {"old", "old.tar.gz", "old.nccl.tar.gz", "old.0123.release.tar.gz"}
    said = room.run(script("base", "prune.sh"))
    assert all(f"/build/{name} goes" in said for name in left) and "/build/today" not in said
    for path in room.path("/var/lib/rigwright/build").glob("*.gz"):
        path.unlink()
    assert [path.name for path in room.path("/var/lib/rigwright/build").iterdir()] == ["today"]
    os.utime(room.path("/var/lib/rigwright/build/today"), (1, 1))
    room.tool("systemctl", '#!/bin/sh\n[ "$*" = "is-active -q rigwright-build-today" ]\n')
    assert "goes" not in room.run(script("base", "prune.sh"))


@pytest.mark.runs("llamacpp/settle.sh", "llamacpp/build.sh", "llamacpp/steps.sh")
def test_build_from_an_archive(room):
    """Unpacked, built as the builder in what it is given, and installed as root's."""
    source = room.home / "CMakeLists.txt"
    source.write_text("project\n")

    def send():
        with tarfile.open(room.put(f"{STATE}/build/a.tar.gz"), "w:gz") as tar:
            tar.add(source, "CMakeLists.txt")

    send()
    room.tool("ninja", "#!/bin/sh\n")
    program = (
        'case $1 in --help) echo "-m,    --model FNAME                    model path" ;; *) echo version 1 ;; esac'
    )
    steps = [
        '[ "$1" != --version ] || { echo \'say "hi"\'; exit; }',
        "[ ! -w /opt ] || exit 9",
        "printf '%s\\n' \"$*\" >>../asked 2>/dev/null || :",
        '[ "$1" = --build ] || exit 0',
        "mkdir -p build/bin; echo '[1/2] Building'",
        f"printf '#!/bin/sh\\n%s\\n' '{program}' >build/bin/llama-server; chmod 755 build/bin/llama-server",
        "cat src/CMakeLists.txt >build/bin/ggml.so; id -un",
    ]
    room.tool("cmake", "\n".join(["#!/bin/sh", *steps, ""]))
    release, work = "/opt/rigwright/llamacpp/releases/0123", f"{STATE}/build/0123"
    toolkit = "/opt/rigwright/cuda/13.0-0123"
    for name in ("cudart", "cublas", "cublasLt"):
        room.put(f"{toolkit}/lib/lib{name}.so.13")
        room.path(f"{toolkit}/lib/lib{name}.so").symlink_to(f"lib{name}.so.13")
    room.put(f"{toolkit}/bin/nvcc", "#!/bin/sh\nprintf 'nvcc\\nrelease 13\\nend\\n'\n").chmod(0o755)
    steps_text = role_text("cuda", "host.sh") + role_text("llamacpp", "steps.sh")
    given = {
        "ID": "0123", "RELEASE": release, "WORK": work, "BUILDER": "mail", "NEED": 1, "NEED_INSTALLED": 1,
        "OPTIONS": "-DA=it's\n-DB=b c", "STEPS": steps_text, "GIT": "", "REF": "b1",
        "COMMIT": "0123", "ARCHIVE": f"{STATE}/build/a.tar.gz", "TOOLKIT": toolkit,
        "TARGETS": "llama-server", "JOBS": 1, "MANIFEST": "{\n \"identity\": \"0123\",\n}",
        "VERSION": "1.2", "SASS": "", "NVCC": "", "NCCL": "",
    }  # fmt: skip
    room.put("/opt/rigwright/llamacpp/releases/.cut/x")
    said = room.run(script("llamacpp", "settle.sh", "build.sh", **given))
    assert said.splitlines()[-1] == "::progress release 0123 installed", said
    found = room.path(release)
    assert {path.name for path in found.iterdir()} == {"bin", "release.json", "receipt.json", "flags.txt", "sums.txt"}
    assert {"libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13"} < {
        path.name for path in (found / "bin").iterdir()
    }
    assert (found / "flags.txt").read_text() == "-m,    --model FNAME\n"
    receipt = json.loads((found / "receipt.json").read_text())
    assert receipt["rigwright"] == "1.2" and receipt["version"] == "version 1" and receipt["cmake"] == "say hi"
    assert set(receipt) == {"host", "ended", "rigwright", "seconds", "compiler", "cmake", "cuda", "version"}
    assert {path.stat().st_uid for path in found.rglob("*")} == {0}
    assert [path.name for path in found.parent.iterdir()] == ["0123"] and not room.path(work).exists()
    assert room.run(script("llamacpp", "settle.sh", "build.sh", **given)) == ""
    # One that needs no toolkit of ours.
    send()
    other = given | {"ID": "4567", "RELEASE": release.replace("0123", "4567"), "WORK": f"{STATE}/build/4567"}
    said = room.run(script("llamacpp", "settle.sh", "build.sh", **other | {"TOOLKIT": ""}))
    assert said.splitlines()[-1] == "::progress release 4567 installed", said
    assert not list((found.parent / "4567/bin").glob("libcu*"))


@pytest.mark.runs("llamacpp/build.sh", "llamacpp/steps.sh")
def test_nccl_travels_with_what_was_built_with_it(room):
    """Unpacked for the build, and beside what was built; where cmake found none it only remarks so."""
    work, archive, nccl = f"{STATE}/build/0123", f"{STATE}/build/a.tar.gz", f"{STATE}/build/0123.nccl.tar.gz"
    files = {"lib/libnccl.so.2": b"nccl", "include/nccl.h": b"header\n"}
    sums = [f"{hashlib.sha256(text).hexdigest()}  ./{name}\n" for name, text in files.items()]
    files["sums.txt"] = "".join(sums).encode()
    code = fatbin((2, 86))

    def send(target, content):
        with tarfile.open(room.put(target), "w:gz") as tar:
            for name, text in content.items():
                member = tarfile.TarInfo(name)
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text))

    room.tool("ninja", "#!/bin/sh\n")
    steps = [
        '[ "$1" != --version ] || exit 0',
        'if [ "$1" != --build ]; then echo "$*" >given; exit; fi',
        "cat nccl/include/nccl.h; mkdir -p build/bin; cp src/code build/bin/libggml-cuda.so",
        "printf '#!/bin/sh\\necho version\\n' >build/bin/llama-server; chmod 755 build/bin/llama-server",
    ]
    room.tool("cmake", "\n".join(["#!/bin/sh", *steps, ""]))
    given = {
        "ID": "0123", "RELEASE": "/opt/rigwright/llamacpp/releases/0123", "WORK": work, "BUILDER": "mail", "NEED": 1,
        "NEED_INSTALLED": 1, "OPTIONS": "-DGGML_CUDA_NCCL=ON", "GIT": "", "REF": "b1", "COMMIT": "0123", "NCCL": nccl,
        "STEPS": "".join(role_text(*one) for one in _STEPS), "ARCHIVE": archive,
        "TOOLKIT": "", "TARGETS": "x", "JOBS": 1, "MANIFEST": "{}", "VERSION": "1", "SASS": "86", "NVCC": "",
    }  # fmt: skip

    def needs(*libraries):
        lines = "".join(f"  NEEDED  {one}\n" for one in libraries)
        room.tool("objdump", f"#!/bin/sh\ncat <<END\n{lines}END\n")

    def steps_say():
        room.put(f"{work}/options", f"{given['OPTIONS']}\n")
        room.put(f"{work}/log")
        steps = script("cuda", "host.sh") + script("llamacpp", "fatbins.sh", "steps.sh", **given)
        said = room.run(f"mkdir -p {work}/tree && cd {work}/tree || exit 9\n{steps}", code=1)
        return said.splitlines()[-1]

    send(archive, {"code": code})
    send(nccl, files)
    needs("libcuda.so.1")
    assert steps_say() == "error: build/bin/libggml-cuda.so was built without NCCL"
    assert room.path(f"{work}/tree/given").read_text().endswith(f"{work}/tree/nccl -DGGML_CUDA_NCCL=ON\n")
    send(nccl, files | {"lib/libnccl.so.2": b"other"})
    assert steps_say() == "error: NCCL is not as it was packed"
    shutil.rmtree(room.path(work))
    room.path(nccl).write_bytes(b"no archive")
    said = room.run(script("llamacpp", "settle.sh", "build.sh", **given), code=1)
    assert said == "::error the archive of NCCL arrived damaged and was thrown away; run again\n"
    assert room.path(archive).exists() and not room.path(nccl).exists()
    needs("libcuda.so.1", "libnccl.so.2")
    send(nccl, files)
    said = room.run(script("llamacpp", "settle.sh", "build.sh", **given))
    assert said.splitlines()[-1] == "::progress release 0123 installed", said
    assert room.path(f"{given['RELEASE']}/bin/libnccl.so.2").read_bytes() == b"nccl"
    assert not room.path(nccl).exists()


@pytest.mark.runs("llamacpp/build.sh")
def test_receipt_leads_to_no_file_of_root(room):
    """What the builder leaves in its place after the build is copied as what it is, and that is refused."""
    work = f"{STATE}/build/0123"
    secret = room.put("/etc/secret", "password hunter2\n")
    secret.chmod(0o600)
    for name in ("build/bin/llama-server", "help", "done"):
        room.put(f"{work}/tree/{name}")
    tree = room.path(f"{work}/tree")
    (tree / "receipt").symlink_to("/etc/secret")
    for path in tree.rglob("*"):
        os.chown(path, pwd.getpwnam("mail").pw_uid, -1, follow_symlinks=False)
    names = (
        "NEED",
        "NEED_INSTALLED",
        "OPTIONS",
        "STEPS",
        "GIT",
        "REF",
        "COMMIT",
        "ARCHIVE",
        "TOOLKIT",
        "TARGETS",
        "JOBS",
    )
    given = dict.fromkeys((*names, "MANIFEST", "VERSION", "SASS", "NVCC", "NCCL"), "")
    given |= {"ID": "0123", "RELEASE": "/opt/rigwright/llamacpp/releases/0123", "WORK": work, "BUILDER": "mail"}
    said = room.run(script("llamacpp", "settle.sh", "build.sh", **given), code=1)
    assert "receipt is no file of this release" in said


@pytest.mark.parametrize("tool", ["cmake", "/opt/none/nvcc"])
def test_rig_that_builds_in_anothers_place_without_compilers_says_so(room, tool):
    """It was to receive, and has none yet; nothing is begun."""
    names = (
        "ARCHIVE",
        "GIT",
        "REF",
        "COMMIT",
        "TOOLKIT",
        "OPTIONS",
        "STEPS",
        "TARGETS",
        "JOBS",
        "NEED",
        "NEED_INSTALLED",
    )
    given = dict.fromkeys((*names, "MANIFEST", "VERSION", "SASS", "NCCL"), "")
    given |= {"ID": "0123", "RELEASE": "/opt/rigwright/llamacpp/releases/0123", "BUILDER": "mail"}
    given |= {"WORK": f"{STATE}/build/0123", "NVCC": "/opt/none/nvcc"}
    missing = f'command() {{ [ "$2" != {tool} ]; }}\n'
    said = room.run(missing + script("llamacpp", "settle.sh", "build.sh", **given), code=1)
    assert f"came to nothing, and this one has no {tool} yet; run again" in said
    assert not room.path(f"{STATE}/build/0123").exists()


def fatbin(*entries):
    """The kinds and architectures of entries, as a CUDA library has them: a header, and eight bytes of data each."""
    body = b"".join(
        struct.pack("<HHIQ", kind, 0x101, 64, 8)
        + bytes(12)
        + struct.pack("<I", architecture)
        + bytes(32)
        + b"\x50\xed\x55\xba" * 2
        for kind, architecture in entries
    )
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


@pytest.mark.runs("llamacpp/fatbins.sh")
def test_code_of_a_cuda_library_is_read(room):
    """Machine code and PTX of every fatbin; what looks like one within data is none, nor is a list without an end."""
    file = room.put("/x.so")
    file.write_bytes(b"ELF" + fatbin((2, 86), (1, 90)) + bytes(5) + fatbin((2, 120)) + b"\x50\xed\x55\xba")
    said = room.run(script("llamacpp", "fatbins.sh") + f"\ncuda_code {file}")
    assert said == "ptx 90\nsass 120\nsass 86\n"
    for gpu, is_served in (("86", True), ("89", True), ("80", False), ("120", True), ("90", True), ("75", False)):
        text = f"cuda_code {file} | serves {gpu} && echo yes || echo no"
        said = room.run(script("llamacpp", "fatbins.sh") + f"\n{text}")
        assert said == ("yes\n" if is_served else "no\n"), gpu
    file.write_bytes(fatbin((2, 86)) + b"\x50\xed\x55\xba" * 100_000)
    assert room.run(script("llamacpp", "fatbins.sh") + f"\ncuda_code {file}") == "sass 86\n"
    endless = struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 1 << 40) + struct.pack("<HHIQ", 2, 1, 0, 0) + bytes(64)
    file.write_bytes(endless)
    assert room.run(script("llamacpp", "fatbins.sh") + f"\ncuda_code {file}") == "sass 0\n"


@pytest.fixture
def received(room):
    """A release that another rig built, as it arrives: the variables of receive.sh."""
    release = "/opt/rigwright/llamacpp/releases/0123"
    made = room.home / "0123"
    (made / "bin").mkdir(parents=True)
    program = 'case $1 in --help) echo "-m,    --model FNAME                    model path" ;; *) id -un >&2 ;; esac'
    (made / "bin/llama-server").write_text(f"#!/bin/sh\n{program}\n")
    (made / "bin/llama-server").chmod(0o755)
    (made / "release.json").write_text("{}\n")
    (made / "receipt.json").write_text('{\n "host": "rig1"\n}\n')
    archive = f"{STATE}/build/0123.release.tar.gz"

    def arrive(**changes):
        names = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file() and path.name != "sums.txt")
        sums = "".join(f"{hashlib.sha256((made / name).read_bytes()).hexdigest()}  ./{name}\n" for name in names)
        (made / "sums.txt").write_text(changes.pop("sums", sums))
        with tarfile.open(room.put(archive), "w:gz") as tar:
            tar.add(made, "0123")
        digest = hashlib.sha256(room.path(archive).read_bytes()).hexdigest()
        return {
            "ID": "0123", "RELEASE": release, "WORK": f"{STATE}/build/0123", "BUILDER": "mail", "ARCHIVE": archive,
            "NEED_INSTALLED": 1, "SHA256": digest, "KEPT": "/cache/0123.tar.gz",
            "GPUS": "",
        } | changes  # fmt: skip

    return made, arrive


@pytest.mark.runs("llamacpp/receive.sh")
def test_release_of_another_rig_is_received(room, received):
    """Unpacked as root's, started once as the builder, and there under its name with all that it came with."""
    _, arrive = received
    given = arrive()
    said = room.run(script("llamacpp", "settle.sh", "fatbins.sh", "proof.sh", "receive.sh", **given))
    assert said == "::progress release 0123 received, built by rig1\n"
    found = room.path(given["RELEASE"])
    names = {"bin", "release.json", "receipt.json", "flags.txt", "sums.txt"}
    assert {path.name for path in found.iterdir()} == names
    assert {path.stat().st_uid for path in found.rglob("*")} == {0}
    assert not room.path(given["ARCHIVE"]).exists()
    # What it accepts was asked of the program itself, which came without: that of another maker.
    assert (found / "flags.txt").read_text() == "-m,    --model FNAME\n"
    assert room.run(f"cd {given['RELEASE']} && sha256sum -c sums.txt >/dev/null") == ""
    assert room.run(script("llamacpp", "settle.sh", "fatbins.sh", "proof.sh", "receive.sh", **given)) == ""


@pytest.mark.runs("llamacpp/receive.sh")
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("damaged", "arrived damaged and was thrown away; run again"),
        ("changed", "is not as it was built; delete what this machine keeps of it, /cache/0123.tar.gz, and run again"),
        ("leads out", "is no file of this release"),
        ("leads up", "is no file of this release"),
        ("reads on", "is not as it was built"),
        ("reads up", "is not as it was built"),
        ("does not start", "does not start on this rig: Illegal instruction; set rig.llamacpp.share: False"),
        ("no room", "the disk has"),
        ("no code", "has no code for a GPU of sm_120, only for ptx 121,sass 86; name other binaries"),
        ("no kernels", "has no code for a GPU of sm_86, only for CPUs; name other binaries, or let them be built"),
    ],
)
def test_release_that_is_none_is_not_received(room, received, what, said):
    """Each is one line, and nothing of it has the name of a release."""
    made, arrive = received
    if what == "leads out":
        (made / "bin/libx.so").symlink_to("/etc/shadow")
    if what == "leads up":
        (made / "bin/libx.so").symlink_to("..")
    if what == "does not start":
        (made / "bin/llama-server").write_text("#!/bin/sh\necho Illegal instruction >&2\nexit 132\n")
    if what == "no code":
        (made / "bin/libggml-cuda.so").write_bytes(fatbin((2, 86), (1, 121)))
    changes = {
        "no code": {"GPUS": "86 120"},
        "no kernels": {"GPUS": "86"},
        "damaged": {"SHA256": "0" * 64},
        "changed": {"sums": f"{'0' * 64}  ./release.json\n"},
        "no room": {"NEED_INSTALLED": 1 << 60},
        # A file without an end, by each kind of line that sha256sum knows.
        "reads on": {"sums": f"  SHA256 (/dev/zero) = {'0' * 64}\n"},
        "reads up": {"sums": f"{'0' * 64}  ./../../../../../../../../../dev/zero\n"},
    }
    given = arrive(**changes.get(what, {}))
    assert said in room.run(script("llamacpp", "settle.sh", "fatbins.sh", "proof.sh", "receive.sh", **given), code=1)
    assert not room.path(given["RELEASE"]).exists()
    assert room.path(given["ARCHIVE"]).exists() is (what != "damaged")


@pytest.mark.runs("llamacpp/resolve.sh")
def test_tag_is_resolved_to_its_commit(room):
    """An annotated tag is the commit that it stands for; a branch is refused, and what git says is shown."""
    room.tool("git", "#!/bin/sh\nprintf '%s\\t%s\\n' aaaa refs/tags/v1 bbbb 'refs/tags/v1^{}' cccc refs/heads/main\n")
    given = {"BUILDER": "nobody", "GIT": "https://h/x", "STAMP": f"{STATE}/refs/x"}
    assert room.run(script("llamacpp", "resolve.sh", REF="v1", **given)) == "::progress v1 is commit bbbb\n"
    assert room.path(f"{STATE}/refs/x").read_text() == "bbbb\n"
    room.tool("git", "#!/bin/sh\nprintf '%s\\t%s\\n' cccc refs/heads/main\n")
    said = room.run(script("llamacpp", "resolve.sh", REF="main", **given), code=1)
    assert said.startswith("::error rig.llamacpp.ref: main is a branch, and branches move")
    room.tool("git", "#!/bin/sh\necho fatal: no route; exit 1\n")
    said = room.run(script("llamacpp", "resolve.sh", REF="v1", **given), code=1)
    assert said == "::error https://h/x cannot be read: fatal: no route; check rig.llamacpp.git\n"


@pytest.mark.runs("llamacpp/sums.sh")
def test_sums_of_binaries_are_remembered(room):
    """One file for each archive, of one line, that nobody but root may write."""
    sums = f"{'1' * 16} {'a' * 64}\n{'2' * 16} {'b' * 64}"
    given = {"REFS": f"{STATE}/refs", "SUMS": sums, "TOLD": "told"}
    assert room.run(script("llamacpp", "sums.sh", **given)) == "::progress told\n"
    for key, digest in (("1" * 16, "a" * 64), ("2" * 16, "b" * 64)):
        stamp = room.path(f"{STATE}/refs/{key}")
        assert (stamp.read_text(), stamp.stat().st_mode & 0o777) == (f"{digest}\n", 0o644)


@pytest.mark.runs("llamacpp/resolve.sh")
def test_latest_is_the_newest_release(room):
    """By number, not by letter; a release vX.Y.Z is before nightly builds bN; others' tags and candidates are none."""
    given = {"BUILDER": "nobody", "GIT": "https://h/x", "STAMP": f"{STATE}/refs/x", "REF": "latest"}
    nightly = "a1 refs/tags/b9999 a2 refs/tags/b11434 a3 refs/tags/b11434-fix a4 refs/tags/build5 a5 refs/heads/v9.9.9"
    releases = (
        "b1 refs/tags/v0.9.0 b2 refs/tags/v0.10.1 b3 refs/tags/v0.10.1^{} b4 refs/tags/v0.11.0-rc1 b5 refs/tags/v2"
    )
    for tags, name, commit in ((nightly, "b11434", "a2"), (f"{releases} {nightly}", "v0.10.1", "b3")):
        room.tool("git", f"#!/bin/sh\nprintf '%s\\t%s\\n' {tags}\n")
        assert room.run(script("llamacpp", "resolve.sh", **given)) == f"::progress latest, {name}, is commit {commit}\n"
        assert room.path(f"{STATE}/refs/x").read_text() == f"{commit}\n"
    room.tool("git", "#!/bin/sh\nprintf '%s\\t%s\\n' a4 refs/tags/build5 a5 refs/heads/master\n")
    said = room.run(script("llamacpp", "resolve.sh", **given), code=1)
    assert said.startswith("::error rig.llamacpp.ref: https://h/x has no release, neither a tag like v1.2.3 nor")


@pytest.mark.runs("base/remove-unit.sh", "base/remove-service.sh")
def test_one_service_is_taken_away(room):
    """Its unit, its keys, its record; the drop-in of the owner stays, and another's unit too."""
    unit = room.put("/etc/systemd/system/rigwright-chat.service", "# Written by rigwright.\n")
    room.put("/etc/systemd/system/rigwright-chat.service.d/mine.conf")
    room.put(f"{CONFIG}/chat.json", '{"name":"--model","value":"/etc/hostname"}')
    room.put(f"{CONFIG}/chat.key")
    cache = room.put("/var/cache/private/rigwright-chat/x").parent
    given = {"NAME": "chat", "UNIT": unit.name, "STATE": STATE, "CONFIG": CONFIG, "OWNERS": "a", "DRAINS": ""}
    text = script("base", "owner.sh", "drain.sh", "remove-unit.sh", "remove-service.sh", **given)
    said = room.run(text)
    assert "::progress rigwright-chat.service removed\n" in said and "/etc/hostname stays" in said
    assert "rigwright-chat.service.d stays" in said
    left = {path.name for path in room.path("/etc").rglob("*") if path.is_file()}
    assert left == {"mine.conf"} and not cache.exists()
    unit.write_text("# Mine.\n")
    assert "was not written by rigwright; it stays" in room.run(text, code=1)


@pytest.mark.runs("base/ours.sh", "base/remove-unit.sh", "base/removal.sh", "base/remove.sh", "base/manager.sh")
def test_everything_is_taken_away(room):
    """What we brought goes, what the owner has in the same places stays and is named."""
    room.put("/etc/systemd/system/rigwright-chat.service", "# Written by rigwright.\n")
    room.put("/etc/systemd/system/rigwright-mine.service", "# Mine.\n")
    for path in (f"{CONFIG}/chat.key", f"{STATE}/refs/x", f"{STATE}/mine.txt", "/opt/rigwright/x/releases/1/bin/x"):
        room.put(path, "GGUF")
    made = script("base", "account.sh", STATE=STATE, CONFIG=CONFIG, INSTALLED="/opt/rigwright", **BUILDER)
    room.run(made)
    said = room.run(f"{removal('yes')}\ngetent passwd rw-test || echo no account")
    assert "rigwright-mine.service is not ours, it stays" in said and "mine.txt stays" in said
    assert said.endswith("no account\n")
    rigs = [path for place in ("/etc", "/opt", "/var/lib") for path in room.path(place).rglob("*") if path.is_file()]
    ours = {path.name for path in rigs if "rigwright" in str(path.relative_to(room.home))}
    assert ours == {"rigwright-mine.service", "mine.txt"}


def removal(weights: str = "") -> str:
    """What `deploys/remove.py` runs on a rig without a known package manager."""
    given = {**PLACES, **BUILDER, "ASKED": "", "WEIGHTS": weights, "PACKAGES": "", "OWNERS": "a", "DRAINS": ""}
    names = (
        "manager.sh",
        *REMOVAL,
    )
    return script("base", *names, **given)


@pytest.fixture
def laid_out(open_path: Path) -> Room:
    """A rig with an account, a build and a model file of ours."""
    room = Room.made(open_path / "room")
    room.run(script("base", "account.sh", STATE=STATE, CONFIG=CONFIG, INSTALLED="/opt/rigwright", **BUILDER))
    model = room.put("/srv-models/m.gguf", "GGUF")
    model.with_name(".m.gguf.rigwright").write_text(f"{'a' * 64} 4 {int(model.stat().st_mtime)} upload\n")
    room.put(PLACES["BROUGHT"], "/opt/models/m.gguf\n/opt/models/.m.gguf.rigwright\n")
    (room.home / "upper/opt/models").mkdir(parents=True)
    for name in ("m.gguf", ".m.gguf.rigwright"):
        (model.parent / name).rename(room.home / "upper/opt/models" / name)
    return room


def test_model_files_that_stay_can_be_removed_later(laid_out):
    """B6: in a directory of the owner's choice; what is known of them stays until they go."""
    assert "model files stay in /opt/models: 1" in laid_out.run(removal())
    assert laid_out.path(PLACES["BROUGHT"]).exists()
    laid_out.run(removal("yes"))
    assert not laid_out.path("/opt/models/m.gguf").exists() and not laid_out.path(STATE).exists()


def test_state_behind_a_link_goes_and_the_link_stays(laid_out):
    """B6: /var/lib/rigwright may be a link to another disk; all that is ours there goes, what is not is named."""
    laid_out.put("/opt/disk/mine.txt")
    moved = f"mv {STATE}/* /opt/disk/; rmdir {STATE}; ln -s /opt/disk {STATE}"
    said = laid_out.run(f"{moved}\n{removal('yes')}")
    assert f"{STATE}/mine.txt stays, rigwright did not bring it" in said
    assert {path.name for path in laid_out.path("/opt/disk").iterdir()} == {"mine.txt"}


def test_account_that_cannot_be_removed_is_no_success(laid_out):
    """B6: it is said, and the next run tries again."""
    laid_out.tool("userdel", "#!/bin/sh\necho userdel: user rw-test is logged in >&2; exit 8\n")
    said = laid_out.run(removal("yes"), code=1)
    assert "::error the account rw-test could not be removed: userdel: user rw-test is logged in" in said
    assert laid_out.path(f"{STATE}/account.created").exists()
    (laid_out.home / "bin/userdel").unlink()
    laid_out.run(removal("yes"))
    assert not laid_out.path(STATE).exists()


@pytest.mark.runs("base/owner.sh", "base/remove-own.sh")
def test_services_of_another_inventory_stay(room):
    """With all that they may need; those of this one go, with the model files that nobody else names."""
    for name, owner in (("chat", "a"), ("old", ""), ("code", "b")):
        room.put(
            f"/etc/systemd/system/rigwright-{name}.service", f"# Written by rigwright.\n# weights {'a' * 64} /{name}\n"
        )
        room.put(f"{CONFIG}/{name}.json", f'{{"engine":"x","owner":"{owner}"}}')
        for path in (f"{CONFIG}/{name}.key", f"/opt/rigwright/services/{name}/x", f"{STATE}/services/{name}/estimate"):
            room.put(path)
    weights = f"{STATE}/weights"
    units = room.path("/etc/systemd/system")
    for name in ("chat", "code"):
        file = room.put(f"{weights}/{name}.gguf", "GGUF")
        file.with_name(f".{name}.gguf.rigwright").write_text(f"{'a' * 64} 4 {int(file.stat().st_mtime)} upload\n")
        unit = units / f"rigwright-{name}.service"
        unit.write_text(unit.read_text().replace(f"/{name}\n", f"{weights}/{name}.gguf\n"))
    listed = [
        f"{weights}/{name}" for name in ("chat.gguf", ".chat.gguf.rigwright", "code.gguf", ".code.gguf.rigwright")
    ]
    room.put(PLACES["BROUGHT"], "".join(f"{line}\n" for line in listed))
    said = room.run(removal("yes"))
    assert "::progress rigwright-code.service stays, it is of the inventory b\n" in said
    assert (
        "::progress rigwright-chat.service removed\n" in said and "::progress rigwright-old.service removed\n" in said
    )
    rigs = [path for place in ("/etc", "/opt", "/var/lib") for path in room.path(place).rglob("*") if path.is_file()]
    assert {path.name for path in rigs if "rigwright" in str(path.relative_to(room.home))} == {
        *("rigwright-code.service", "code.json", "code.key", "x", "estimate"),
        *("code.gguf", ".code.gguf.rigwright", "weights.brought"),
    }
    assert room.path(PLACES["BROUGHT"]).read_text().split() == listed[2:]


_DNF = """#!/bin/sh
there={home}/there
case "$*" in
  *repoquery*) echo base ;;
  *makecache*) ;;
  *--assumeno*install*)
    printf '%s\\n' 'Installing:' ' tool  x86_64  1  main  1 k' 'Installing dependencies:' ' lib  x86_64  1  m  1 k' ''
    exit 1 ;;
  *install*) printf '%s\\n' tool lib >>$there ;;
  *remove*) for name; do sed -i "/^$name\\$/d" $there; done ;;
  *) exit 64 ;;
esac
"""


@pytest.mark.runs("base/manager.sh", "base/dnf.sh", "base/bring.sh", "base/packages.sh", "base/removal.sh")
def test_packages_of_fedora(room):
    """A stand-in of dnf: what it brought is written down, and taken away again."""
    there = room.home / "there"
    there.write_text("base\n")
    room.tool("dnf", _DNF.format(home=room.home))
    room.tool("rpm", f"#!/bin/sh\ncase $1 in -qa) cat {there} ;; esac\n")
    record = PLACES["RECORD"]
    room.run(script("base", "manager.sh", "dnf.sh", "bring.sh", "packages.sh", PACKAGES="tool", RECORD=record))
    assert room.path(record).read_text() == "lib came purge\ntool asked purge\n"
    text = script("base", "manager.sh", "dnf.sh", "removal.sh", RECORD=record, ASKED="")
    assert "removing 2 packages: lib tool" in room.run(f'{text}\nremove_packages\n[ -z "$failed" ]')
    assert there.read_text() == "base\n" and not room.path(record).exists()


@pytest.mark.runs("weights/place.sh", "weights/accept.sh", "weights/link.sh", "weights/prepare.sh")
def test_file_of_0_1_gets_a_second_name(room):
    """Where it lay among all the others it stays; nothing is brought again."""
    flat = room.put(f"{STATE}/weights/m.gguf", "GGUF")
    status = flat.stat()
    flat.with_name(".m.gguf.rigwright").write_text(f"{'a' * 64} 4 {int(status.st_mtime)} upload\n")
    dest = f"{STATE}/weights/org--m/m.gguf"
    given = {"DEST": dest, "STAMP": dest.replace("m.gguf", ".m.gguf.rigwright"), "ORIGIN": "x", "HIDDEN": ""}
    given |= {"RECORD": PLACES["BROUGHT"], "SHA256": ""}
    names = ("place.sh", "accept.sh")
    room.run(script("weights", *names, "link.sh", FLAT=f"{STATE}/weights/m.gguf", **given))
    assert room.path(dest).read_text() == "GGUF"
    assert room.path(given["STAMP"]).read_text() == f"{'a' * 64} 4 {int(status.st_mtime)} x\n"
    room.run(script("weights", *names, "prepare.sh", **given))
    assert f"{dest}.part" in room.path(PLACES["BROUGHT"]).read_text().splitlines()


@pytest.mark.runs("service/answer.sh", "service/swap.sh", "service/switch.sh", "weights/place.sh", "base/deployed.sh")
def test_switch_and_its_way_back(each_sh, bench):  # noqa: F811  # the fixture
    """A version that serves, one that does not start, and what served serves again."""
    found = bench("A")
    said = found.deploy("X").stdout
    assert "the previous release is back and serving" in said
    assert found.serving() == "A"


def test_service_on_a_gpu_brings_the_unit_of_its_device_files(bench):  # noqa: F811  # the fixture
    """A9: written before the service starts, which wants it."""
    found = bench("")
    assert found.deploy("A", DEVICES="[Unit]\nit's\n").returncode == 0
    assert found.rig.path("/etc/systemd/system/rigwright.devices.service").read_text() == "[Unit]\nit's\n"


def test_question_sees_what_a_cut_left_and_times_in_one_zone(laid_out):
    """`releases/.ID`; and a start in Guam is no start in the future."""
    laid_out.put("/opt/rigwright/x/releases/.cut/x")
    laid_out.put("/etc/systemd/system/rigwright-chat.service", "# Written by rigwright.\n")
    laid_out.tool("systemctl", '#!/bin/sh\necho "Id=rigwright-chat.service"; echo "zone=$TZ"; echo\n')
    said = laid_out.run(f"section() {{ :; }}\n{records_script()}")
    assert "left=/opt/rigwright/x/releases/.cut\n" in said and "zone=UTC0\n" in said


def test_refusal_is_said(each_sh):
    """In each of its lines, whatever they hold."""
    lines = ["rig1: it's `gone`", "$HOME \\n %s"]
    (command,) = refuse("\n".join(lines))
    done = subprocess.run(["sh", "-c", command.text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "".join(f"::error {line}\n" for line in lines))
