"""llama.cpp out of a distribution's packages, on a real apt in a folder: none of it is installed, all else is noted."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace

import pytest

from rigwright.hardware import Hardware
from rigwright.plan.engines.installed import Installed
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.wish import ServiceWish
from rigwright.roles.llamacpp.distribution import chosen, packaged, packages_errors
from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service.context import make_context
from rigwright.spec.rig import parse_spec

from ..unit.test_release import CARD, RIG
from .apt_box import AptBox, said
from .room import _SYSTEMD_RUN

pytestmark = [
    pytest.mark.patience,
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is missing"),
    pytest.mark.skipif(os.geteuid() != 0, reason="releases are root's: needs root"),
]
STATE = "/var/lib/rigwright"
LIBRARY = "usr/lib/x86_64-linux-gnu"
SERVER = """#!/bin/sh
case $1 in --help) echo "-m,    --model FNAME                    model path" ;; *) ls "$LD_LIBRARY_PATH" ;; esac
"""
ON_GPUS = replace(RIG, gpus=(replace(CARD, vendor="NVIDIA"),), driver_version="580.95.05")


def offer_llamacpp(box: AptBox, version: str, **tools: str) -> None:
    """Its packages, as Debian has them; `tools` are fields of the one with the programs."""
    own = {"Source": "llama.cpp", "Version": version}
    box.offer("llama.cpp", Version=version, Depends="llama.cpp-tools")
    depends = f"libllama0 (= {version}), libgomp1, debconf"
    files = {"usr/bin/llama-server": SERVER, "usr/bin/llama-cli": "no"}
    box.offer("llama.cpp-tools", files=files, **{**own, "Depends": depends, **tools})
    box.offer("llama.cpp-tools-extra", files={"usr/bin/llama-fit-params": SERVER}, **own)
    box.offer("libllama0", files={f"{LIBRARY}/libllama.so.0": version}, Depends="libggml0", **own)


@pytest.fixture
def box(open_path) -> AptBox:
    """A rig whose sources have llama.cpp, and whose owner has an older one installed."""
    box = AptBox.made(open_path / "box")
    box.offer("debconf")
    box.offer("libgomp1")
    box.offer("libcuda1")
    offer_llamacpp(box, "0.6")
    box.offer("libggml0", Source="ggml (0.26)", files={f"{LIBRARY}/ggml/backends0/libggml-cpu-x64.so": "code"})
    box.apt("update")
    box.apt("install", "debconf", "llama.cpp", "libgomp1")
    return box


def settings_of(hardware: Hardware = RIG, **given) -> LlamacppSettings:
    settings = LlamacppSettings(source="distro", **given)
    return LlamacppPlanner(settings).sourced(hardware, [ServiceWish(name="chat", model="m.gguf")]).settings


def run(box: AptBox, text: str):
    """A script, on the rig that the folder is."""
    folder = box.home / "tools"
    folder.mkdir(exist_ok=True)
    (folder / "systemd-run").write_text(_SYSTEMD_RUN)
    (folder / "systemd-run").chmod(0o755)
    text = text.replace(STATE, f"{box.home}{STATE}").replace("BUILDER=rigwright", "BUILDER=mail")
    return box.run(text, PATH=f"{folder}:{os.environ['PATH']}")


def choose(box: AptBox, settings: LlamacppSettings):
    """The first step of a deploy, and what it found."""
    done = run(box, chosen(settings).text)
    stamp = box.home / f"{STATE[1:]}/refs/{settings.ref_key}"
    return done, stamp.read_text().splitlines() if stamp.exists() else []


def install(box: AptBox, settings: LlamacppSettings, identity: str, hardware: Hardware = RIG, **given):
    """The second step, and the release."""
    release = LlamacppPlanner(settings, Installed(commits={settings.ref_key: identity})).build(hardware)
    where = {
        "ID": release.id, "RELEASE": release.directory, "WORK": f"{STATE}/build/{release.id}", "BUILDER": "mail",
        "ARCHIVE": "", "NEED_INSTALLED": "1",
    }  # fmt: skip
    script = packaged(settings, release, where, hardware, install=given.pop("install", True))
    return run(box, script.text), box.home / release.directory[1:]


@pytest.mark.runs("llamacpp/choose.sh", "llamacpp/offered.sh", "llamacpp/proof.sh", "llamacpp/unpack.sh")
def test_release_is_made_of_packages_that_nobody_installs(box, each_sh):
    """Newer than the owner's, beside them: what is of llama.cpp is unpacked, what it needs is installed and noted."""
    offer_llamacpp(box, "0.7", Depends="libllama0 (= 0.7), libgomp1, libnew")
    box.offer("libnew")
    before = box.there()
    settings = settings_of()
    done, stamp = choose(box, settings)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert [line.split()[:2] for line in stamp[1:]] == [
        ["libggml0", "1"],
        *([name, "0.7"] for name in ("libllama0", "llama.cpp", "llama.cpp-tools", "llama.cpp-tools-extra")),
    ]
    done, release = install(box, settings, stamp[0])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert said(done, "progress")[-1].endswith("installed from packages of the distribution")
    assert {path.name for path in (release / "bin").iterdir()} == {"llama-server", "llama-fit-params"}
    libraries = {"libllama.so.0", "libggml-cpu-x64.so"}
    assert {path.name for path in (release / "lib").iterdir()} == {"llama-server", "llama-fit-params", *libraries}
    assert (release / "lib/libllama.so.0").read_text() == "0.7"
    assert (release / "flags.txt").read_text() == "-m,    --model FNAME\n"
    assert f'"identity": "{stamp[0]}"' in (release / "release.json").read_text()
    assert "libllama0 0.7" in (release / "receipt.json").read_text()
    assert subprocess.run(["sha256sum", "--quiet", "-c", "sums.txt"], cwd=release, check=False).returncode == 0
    # Through a link, as a unit starts it: the libraries are those of the release.
    (box.home / "current").symlink_to(release)
    shown = subprocess.run([box.home / "current/bin/llama-server"], capture_output=True, text=True, check=True).stdout
    assert libraries <= {*shown.split()}
    assert box.there() == before | {"libnew": "ii"}
    record = box.home / f"{STATE[1:]}/packages.installed"
    assert record.read_text() == "libnew asked purge\n"
    assert {path.name for path in release.parent.iterdir()} == {release.name}
    done, _ = install(box, settings, stamp[0])
    assert (done.returncode, done.stdout) == (0, "")


def test_version_of_the_inventory_is_taken(box):
    """Not the newest; of a version that is not there one line, and another version is another stamp."""
    offer_llamacpp(box, "0.7")
    box.apt("update")
    settings = settings_of(distro_version="0.6")
    _, stamp = choose(box, settings)
    assert "libllama0 0.6" in {" ".join(line.split()[:2]) for line in stamp}
    assert settings.ref_key != settings_of().ref_key
    done, stamp = choose(box, settings_of(distro_version="0.5"))
    assert stamp == []
    (line,) = said(done)
    assert line.startswith("rig.llamacpp.source: this rig's own sources have no llama.cpp") and "0.5" in line, line


def test_sources_without_it_are_told_in_one_line(open_path):
    """And those of which apt can make nothing on this rig, with its reason."""
    box = AptBox.made(open_path / "box")
    done, stamp = choose(box, settings_of())
    assert said(done) == [
        "rig.llamacpp.source: this rig's own sources have no llama.cpp; have a suite among its sources that has one, "
        "or set source to build or prebuilt"
    ]
    offer_llamacpp(box, "0.7", Depends="libc6 (>= 2.43)")
    done, stamp = choose(box, settings_of())
    (line,) = said(done)
    assert "this rig's own sources have no llama.cpp that it can run: " in line and "libc6 (>= 2.43)" in line
    assert stamp == [] and box.there() == {}


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("driver", "libcuda1 would come with these packages, and no driver is theirs to bring; have it first"),
        ("owner", "missing packages: libnew; install them, or set rig.base.install_packages"),
        ("changed", "have other packages by the names of those that were taken: libllama0 0.6"),
        ("gone", "have no llama.cpp that it can run"),
        ("damaged", "apt cannot fetch what was taken"),
        (
            "does not start",
            "does not start on this rig: no such processor; set rig.llamacpp.source to build or prebuilt",
        ),
        ("lock", "the lock has other packages than this rig's sources now: libggml0 1, libllama0 0.6"),
    ],
)
def test_packages_that_are_none_become_no_release(box, what, line):
    """One line each; nothing has the name of a release, and nothing that was there is another."""
    if what in ("driver", "owner"):
        depends = "libcuda1" if what == "driver" else "libnew"
        box.offer("libnew")
        offer_llamacpp(box, "0.7", Depends=f"libllama0 (= 0.7), {depends}")
    if what == "does not start":
        (box.home / "repository/Packages").write_text("")
        for name in ("debconf", "libgomp1"):
            box.offer(name, Version="2")
        box.offer("libggml0", Source="ggml", Version="2")
        box.offer("libllama0", Source="llama.cpp", Version="2", Depends="libggml0")
        broken = "#!/bin/sh\necho no such processor >&2\nexit 132\n"
        box.offer("llama.cpp", Version="2", Depends="libllama0", files={"usr/bin/llama-server": broken})
    settings, before = settings_of(), box.there()
    _, stamp = choose(box, settings)
    index = box.home / "repository/Packages"
    if what == "changed":
        text = index.read_text()
        at = text.index("Package: libllama0\n")
        rows = text[at:].partition("SHA256: ")
        index.write_text(text[:at] + rows[0] + rows[1] + "0" * 64 + rows[2][64:])
        box.apt("update")
    if what == "gone":
        index.write_text("")
        box.apt("update")
    if what == "damaged":
        (box.home / "repository/libllama0_0.6.deb").write_bytes(b"!<arch>\n" + bytes(400))
    identity = "f" * 64 if what == "lock" else stamp[0]
    done, release = install(box, settings, identity, install=what != "owner")
    assert line in said(done)[-1] and len(said(done)) == 1, done.stdout
    assert done.returncode == 1 and not release.exists() and box.there() == before
    assert not release.parent.exists() or not [*release.parent.iterdir()]


def test_lock_brings_the_same_packages_to_another_rig(box):
    """Which has not asked yet: what it is offered has the sum that the lock has."""
    settings = settings_of()
    _, stamp = choose(box, settings)
    kept = box.home / f"{STATE[1:]}/refs/{settings.ref_key}"
    kept.unlink()
    done, release = install(box, settings, stamp[0])
    assert done.returncode == 0, done.stdout
    assert (release / "release.json").exists() and kept.read_text().splitlines() == stamp


def test_kernels_without_code_for_a_gpu_are_refused(box):
    """As binaries of any other maker."""
    place = f"{LIBRARY}/ggml/backends0/libggml-cuda.so"
    box.offer("libggml0-backend-cuda", Source="ggml-cuda", files={place: "none"})
    box.apt("update")
    settings = settings_of(ON_GPUS)
    assert settings.packages == ("llama.cpp", "libggml0-backend-cuda")
    _, stamp = choose(box, settings)
    done, release = install(box, settings, stamp[0], ON_GPUS)
    assert "has no code for a GPU of sm_86, only for CPUs; set rig.llamacpp.source to build" in said(done)[-1]
    assert not release.exists()


def test_rig_whose_lists_have_none_is_refused_before_anything(blank):
    """By what apt knew when the rig was asked; where it has no lists yet, the deploy finds out."""
    service = {"name": "chat", "model": "qwen3-8b:Q4_K_M", "engine": "llamacpp"}
    context = make_context("rig1", {"services": [service], "llamacpp": {"source": "distro"}})
    assert "apt-cache policy llama.cpp libggml0-backend-cuda" in ENGINE.probe(context.spec).script()
    assert "apt-cache policy llama.cpp" not in ENGINE.probe(parse_spec("rig1", {"services": [service]})).script()
    planner = LlamacppPlanner(settings_of(ON_GPUS))

    def errors(*lines: str) -> list[str]:
        return [*packages_errors(planner, blank(sections={"llamacpp-packages": list(lines)}), context)]

    assert errors() == []
    assert errors("known", "llama.cpp:1:0.7.0+dfsg-2", "libggml0-backend-cuda:0.27.0-1") == []
    (line,) = errors("known", "llama.cpp:1:0.7.0+dfsg-2")
    assert "this rig's own sources have no libggml0-backend-cuda; have a suite among them" in line
