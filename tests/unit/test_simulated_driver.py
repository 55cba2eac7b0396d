"""The lab's simulated driver, without a rig: what loads, what is refused, and what nvidia-smi makes of a recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rigwright.hardware.capture import folder_files, read_files
from rigwright.hardware.sources import driver_version
from rigwright.lab.driver import INSTEAD, TOOLS
from rigwright.lab.hardware import MACHINES
from rigwright.lab.simulated import kmod, settings, smi, tools
from rigwright.lab.simulated.kernel import KEPT, PROC, Kernel, Refused
from rigwright.lab.simulated.modules import blacklisted, disabled, loaded_name, on_disk

RELEASE = "6.12.48+deb13-amd64"
CAPTURES = Path(__file__).parents[1] / "captures"
Made = Callable[..., Kernel]


@pytest.fixture
def rig(tmp_path: Path) -> Made:
    """A rig's `/` with two GPUs, after a boot; `files` are below it."""

    def made(*, nouveau: bool = False, **modules: str) -> Kernel:
        (tmp_path / KEPT / "faults").mkdir(parents=True)
        (tmp_path / KEPT / "gpus.tsv").write_text("0000:17:00.0\tRTX A\tGPU-a\n0000:65:00.0\tRTX B\tGPU-b\n")
        for folder in ("etc/modprobe.d", "dev", "proc/driver"):
            (tmp_path / folder).mkdir(parents=True)
        if not nouveau:
            (tmp_path / "etc/modprobe.d/off.conf").write_text("blacklist nouveau\n")
        for version, license in modules.items():
            put(tmp_path, version.strip("v").replace("_", "."), license)
        kernel = Kernel(tmp_path, RELEASE, is_root=True)
        kernel.boot()
        return kernel

    return made


def put(root: Path, version: str, license: str = "NVIDIA", name: str = "nvidia.ko", release: str = RELEASE) -> None:
    file = root / "lib/modules" / release / "updates/dkms" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"version: {version}\nlicense: {license}\n")


@pytest.mark.parametrize(
    ("name", "loaded"),
    [
        ("nvidia", "nvidia"),
        ("nvidia-uvm", "nvidia_uvm"),
        ("nvidia_current_open_drm", "nvidia_drm"),
        ("nvidia-current", "nvidia"),
        ("nouveau", "nouveau"),
        ("i2c_nvidia_gpu", None),
        ("nvidiafb", None),
        ("drm", None),
    ],
)
def test_modules_have_the_names_that_distributions_give_them(name: str, loaded: str | None) -> None:
    """And others that sound like them are kmod's."""
    assert loaded_name(name) == loaded


def test_boot_loads_what_is_installed(rig: Made) -> None:
    """As udev does, with nouveau out of the way."""
    kernel = rig(v580_95_05="Dual MIT/GPL")
    assert kernel.modules == ["nvidia", "nvidia_modeset", "nvidia_uvm"]
    said = (kernel.root / PROC / "version").read_text()
    module = driver_version.read(said).software.loaded
    assert module is not None and (module.version, module.flavour) == ("580.95.05", "open")


def test_versions_of_both_flavours_read_as_the_real_ones(rig: Made) -> None:
    """By the reader of recorded ones."""
    kernel = rig(v550_163_01="NVIDIA")
    module = driver_version.read((kernel.root / PROC / "version").read_text()).software.loaded
    assert module is not None and (module.version, module.flavour) == ("550.163.01", "proprietary")
    texts = [file.read_text() for file in sorted((kernel.root / PROC / "gpus").glob("*/information"))]
    assert ["GPU-a" in texts[0], "Device Minor:    1" in texts[1]] == [True, True]


def test_nouveau_comes_first(rig: Made) -> None:
    """Unless settings say otherwise; with it NVIDIA's module finds no device, and the console keeps it."""
    kernel = rig(nouveau=True, v580_95_05="NVIDIA")
    assert kernel.modules == ["nouveau"]
    with pytest.raises(Refused, match="could not insert 'nvidia': No such device"):
        kernel.load("nvidia")
    with pytest.raises(Refused, match="Module nouveau is in use"):
        kernel.unload("nouveau")
    (kernel.run / "nouveau-in-use").unlink()
    kernel.unload("nouveau")
    kernel.load("nvidia")
    assert kernel.driver is not None


@pytest.mark.parametrize(
    ("text", "off", "kept_out"),
    [
        ("blacklist nouveau\n", True, False),
        ("  blacklist   nouveau # ours\n", True, False),
        ("# blacklist nouveau\n", False, False),
        ("install nouveau /bin/false\n", True, True),
        ("install nouveau /usr/bin/true\n", True, True),
        ("alias nouveau off\n", True, True),
        ("options nouveau modeset=0\n", False, False),
    ],
)
def test_settings_of_modprobe(tmp_path: Path, text: str, off: bool, kept_out: bool) -> None:
    """What keeps a module from loading by itself, and what keeps it out."""
    (tmp_path / "usr/lib/modprobe.d").mkdir(parents=True)
    (tmp_path / "usr/lib/modprobe.d/a.conf").write_text(text)
    assert ("nouveau" in blacklisted(tmp_path), "nouveau" in disabled(tmp_path)) == (off, kept_out)
    (tmp_path / "etc/modprobe.d").mkdir(parents=True)
    (tmp_path / "etc/modprobe.d/a.conf").write_text("")  # of two files of one name that in /etc
    assert blacklisted(tmp_path) == set()


def test_kernels_have_modules_of_their_own(rig: Made) -> None:
    """A module for another kernel is none for this one, and dkms comes before the kernel's own."""
    kernel = rig()
    put(kernel.root, "595.71.05", release="6.13.0")
    with pytest.raises(
        Refused, match=f"FATAL: Module nvidia not found in directory /lib/modules/{RELEASE}".replace("+", r"\+")
    ):
        kernel.load("nvidia")
    (kernel.root / "lib/modules" / RELEASE / "kernel/nvidia-580").mkdir(parents=True)
    (kernel.root / "lib/modules" / RELEASE / "kernel/nvidia-580/nvidia.ko").write_text("version: 580.1\n")
    put(kernel.root, "595.71.05")
    found = on_disk(kernel.root, RELEASE)
    assert found is not None and found.version == "595.71.05"


def test_what_is_loaded_stays_when_another_is_installed(rig: Made) -> None:
    """The files on disk are of the next load."""
    kernel = rig(v580_95_05="NVIDIA")
    put(kernel.root, "595.71.05")
    assert kernel.driver is not None and kernel.driver.version == "580.95.05"
    for name in ("nvidia_uvm", "nvidia_modeset", "nvidia"):
        kernel.unload(name)
    assert kernel.driver is None and not (kernel.root / PROC).exists()
    kernel.load("nvidia")
    assert kernel.driver.version == "595.71.05"


def test_what_is_in_use_stays(rig: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """By other modules, or by whoever has a device open."""
    kernel = rig(v580_95_05="NVIDIA")
    assert kmod.rmmod(kernel, ["nvidia"]) == 1
    assert "rmmod: ERROR: Module nvidia is in use by: nvidia_modeset nvidia_uvm\n" in capsys.readouterr().err
    (kernel.run / "in-use").touch()
    assert kmod.modprobe(kernel, ["-r", "nvidia_uvm", "nvidia_modeset", "nvidia"]) == 1
    assert capsys.readouterr().err == "modprobe: FATAL: Module nvidia is in use.\n"
    assert kernel.modules == ["nvidia"]
    (kernel.run / "in-use").unlink()
    assert kmod.rmmod(kernel, ["nvidia"]) == 0 and kernel.modules == []


def test_modprobe_takes_along_what_nobody_needs_any_more(rig: Made) -> None:
    """Only what the module itself needed."""
    kernel = rig(v580_95_05="NVIDIA")
    assert kmod.modprobe(kernel, ["-r", "nvidia-uvm"]) == 0
    assert kernel.modules == ["nvidia", "nvidia_modeset"]
    assert kmod.modprobe(kernel, ["-r", "nvidia_drm", "nvidia_modeset", "nvidia"]) == 0
    assert kernel.modules == []


def test_modprobe_goes_by_the_disk_and_rmmod_by_memory(rig: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """After the packages went, only rmmod still finds the module."""
    kernel = rig(v580_95_05="NVIDIA")
    (kernel.root / "lib/modules" / RELEASE / "updates/dkms/nvidia.ko").unlink()
    assert kmod.modprobe(kernel, ["-r", "nvidia_uvm"]) == 1
    assert "FATAL: Module nvidia_uvm not found" in capsys.readouterr().err
    assert kmod.rmmod(kernel, ["nvidia_uvm", "nvidia_modeset", "nvidia", "nvidia_drm"]) == 1
    assert capsys.readouterr().err == "rmmod: ERROR: Module nvidia_drm is not currently loaded\n"
    assert kernel.modules == []


def test_modinfo_tells_what_is_on_disk(rig: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """For any kernel, by the name of its file, as the reader of hardware reads it."""
    kernel = rig(v580_95_05="Dual MIT/GPL")
    put(kernel.root, "550.163.01", name="nvidia-current.ko", release="6.1.0")
    assert kmod.modinfo(kernel, ["nvidia"]) == 0
    (module,) = read_files({"modinfo.txt": capsys.readouterr().out}).software.on_disk
    assert (module.version, module.flavour, module.kernel) == ("580.95.05", "open", RELEASE)
    assert kmod.modinfo(kernel, ["-k", "6.1.0", "nvidia", "nvidia-current"]) == 1
    said = capsys.readouterr()
    assert said.err == "modinfo: ERROR: Module nvidia not found.\n"
    assert "filename:       /lib/modules/6.1.0/updates/dkms/nvidia-current.ko\n" in said.out
    assert kmod.modinfo(kernel, ["-F", "version", "nvidia-uvm"]) == 0
    assert capsys.readouterr().out == "580.95.05\n"


def test_fault_mismatch_brings_the_old_module_back(rig: Made) -> None:
    """At boots, as from an initramfs that nobody made anew; by hand the new one loads."""
    kernel = rig(v580_95_05="NVIDIA")
    tools.fault(kernel, "driver-mismatch")
    put(kernel.root, "595.71.05")
    boot_again(kernel)
    assert kernel.driver is not None and kernel.driver.version == "580.95.05"
    tools.fault(kernel, "clear")
    boot_again(kernel)
    assert kernel.driver.version == "595.71.05"


def test_fault_missing_bites_at_the_next_boot(rig: Made) -> None:
    """And is gone with `clear`, which loads the driver."""
    kernel = rig(v580_95_05="NVIDIA")
    tools.fault(kernel, "driver-missing")
    assert kernel.driver is not None
    boot_again(kernel)
    with pytest.raises(Refused, match="No such device"):
        kernel.load("nvidia")
    tools.fault(kernel, "clear")
    assert kernel.driver is not None


def test_fault_late_says_how_late(rig: Made) -> None:
    """Until then nothing loads."""
    kernel = rig(v580_95_05="NVIDIA")
    tools.fault(kernel, "driver-late", "30")
    boot_again(kernel)
    assert kernel.driver is None
    with pytest.raises(Refused, match=r"No such device \(fault driver-late: (30|29) s to go\)"):
        kernel.load("nvidia")
    (kernel.run / "booted").write_text("0")
    kernel.come_up()
    assert kernel.driver is not None


def test_fault_lost_leaves_one_gpu_fewer(rig: Made) -> None:
    """At once, until `clear`."""
    kernel = rig(v580_95_05="NVIDIA")
    assert tools.fault(kernel, "gpu-lost") == "1 GPU(s) answer"
    assert [path.name for path in (kernel.root / PROC / "gpus").iterdir()] == ["0000:17:00.0"]
    tools.fault(kernel, "clear")
    assert len(kernel.gpus) == 2


def boot_again(kernel: Kernel) -> None:
    """What a reboot leaves of a rig."""
    for file in kernel.run.iterdir():
        file.unlink()
    kernel.publish()
    kernel.boot()


@pytest.mark.parametrize("version", ["580.95.05", "550.163.01", "595.71.05", "580.178.04"])
@pytest.mark.parametrize("machine", ["2x-rtx3090", "1x-h100-capture", "1x-rtx4080s-capture"])
def test_recordings_read_as_of_another_driver(machine: str, version: str) -> None:
    """Every answer of nvidia-smi tells the driver that is loaded, and the same GPUs; tables keep their width."""
    files = folder_files(MACHINES / machine)
    was = read_files(files)
    files = {name: smi.with_driver(text, was.driver_version or "", version) for name, text in files.items()}
    now = read_files(files)
    assert (now.driver_version, now.gpus) == (version, was.gpus)
    table = [line for line in files["smi.txt"].splitlines() if line.startswith(("|", "+"))]
    assert len({len(line) for line in table}) == 1


@pytest.mark.parametrize("file", ["smi.txt", "list.txt", "topo.txt", "p2p.txt", "nvlink.txt"])
def test_recordings_read_without_their_last_gpu(file: str) -> None:
    """Whatever the form, one GPU is left."""
    text = (MACHINES / "2x-rtx3090" / file).read_text()
    left = smi.without_gpu(text, 1)
    assert left != text
    was, now = read_files({file: text}), read_files({file: left})
    assert now.gpus == was.gpus[:1]
    assert "GPU1" not in left and "fef3f583" not in left


def recorded(words: Sequence[str]) -> str:
    """Address, limit, least and most of two cards."""
    assert "noheader,nounits" in words[1]
    return "".join(f"00000000:{bus}:00.0, 350.00, 100.00, 366.00\n" for bus in (17, 65))


def test_settings_are_told_until_the_module_goes(rig: Made) -> None:
    """By UUID, index or address; a limit that a card does not take changes nothing."""
    kernel = rig(v580_95_05="NVIDIA")
    assert settings.put(kernel, "GPU-b", ["-pl", "250"], recorded) == (
        0,
        "Power limit for GPU 00000000:65:00.0 was set to 250.00 W from 350.00 W.\nAll done.\n",
    )
    code, said = settings.put(kernel, "0000:17:00.0", ["--power-limit=50"], recorded) or (0, "")
    assert code == 2 and "should be between 100.00 W and 366.00 W" in said
    assert settings.put(kernel, "GPU-c", ["-pl", "250"], recorded) == (6, "No devices were found\n")
    settings.put(kernel, "", ["-pm", "1"], recorded)
    words = ["--query-gpu=index,power.limit,persistence_mode", "--format=csv"]
    head = "index, power.limit [W], persistence_mode\n"
    answer = f"{head}0, 350.00 W, Disabled\n1, 350.00 W, Disabled\n"
    assert settings.query(kernel, "", words, answer) == f"{head}0, 350.00 W, Enabled\n1, 250.00 W, Enabled\n"
    assert settings.query(kernel, "1", words, answer) == f"{head}1, 250.00 W, Enabled\n"
    for name in ("nvidia_uvm", "nvidia_modeset", "nvidia"):
        kernel.unload(name)
    assert settings.query(kernel, "", words, answer) == answer


def test_query_leaves_out_the_lost_gpu(rig: Made) -> None:
    """With a header and without."""
    kernel = rig(v580_95_05="NVIDIA")
    tools.fault(kernel, "gpu-lost")
    for head, how in (("index\n", "csv"), ("", "csv,noheader")):
        words = ["--query-gpu=index", f"--format={how}"]
        assert settings.query(kernel, "", words, f"{head}0\n1\n") == f"{head}0\n"


@pytest.mark.parametrize(
    ("words", "split"),
    [
        (["-i", "0", "-pl", "9"], ("0", ["-pl", "9"])),
        (["-q", "--id=GPU-a"], ("GPU-a", ["-q"])),
        (["--query-gpu=index", "--id", "1"], ("1", ["--query-gpu=index"])),
        (["-L"], ("", ["-L"])),
    ],
)
def test_gpu_is_named_in_any_place(words: list[str], split: tuple[str, list[str]]) -> None:
    """Before the question or behind it."""
    assert settings.split_id(words) == split


@pytest.mark.parametrize(("held", "code"), [("nouveau", ["nouveau_loaded"] * 2), ("nvidia", []), (None, [])])
def test_lspci_names_the_driver_that_holds_the_gpus(held: str | None, code: list[str]) -> None:
    """And no other device changes."""
    text = (MACHINES / "2x-rtx3090/lspci.txt").read_text()
    said = smi.with_holder(text, held, ["nouveau"])
    assert [problem.code for problem in read_files({"lspci.txt": said}).problems] == code
    assert said.count("in use: snd_hda_intel") == 2 and said.count("in use: nvidia") == 2 * (held == "nvidia")


def test_every_stand_in_has_a_tool_behind_it() -> None:
    """What is put into a rig can answer there."""
    assert set(TOOLS) == set(tools.TOOLS) and set(INSTEAD.values()) <= set(TOOLS)
