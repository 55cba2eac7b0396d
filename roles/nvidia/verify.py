"""NVIDIA's driver: do CUDA, the driver and the bus count the same GPUs, now and after the next boot?

Run it by hand: pytest --pyargs rigwright.roles.nvidia.verify --rigs INVENTORY
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from rigwright.verify.driver import DriverUnderTest
from rigwright.verify.subject import NOTED

# Ids below are Maxwell, Pascal and Volta, which have no processor of their own for open modules; ids from there on are
# Blackwell, which is driven by open modules alone. Source: pci.ids 2025.06.09; NVIDIA's guide to its kernel modules.
_FIRST_WITH_OPEN, _FIRST_OPEN_ALONE = 0x1E00, 0x2900
# Xid that programs cause in their own contexts. Source: NVIDIA, "XID Errors".
_OF_PROGRAMS = {13, 31, 43, 45}
_OF_DRIVER = re.compile(r"nvidia-(?!driver-pinning)|lib(?:nvidia|cuda1)|cuda-drivers|linux-modules-nvidia|kmod-nvidia")
_MAKERS = {"nvidia", "geforce", "tesla", "quadro", "rtx", "gtx"}
_CUDA_ERRORS = {
    3: "not initialized",
    100: "it finds no device: is a module loaded, and do the device files let this user in?",
    101: "invalid device",
    304: "the operating system refuses a call",
    802: "the system is not ready: NVSwitch waits for Fabric Manager of the driver's version",
    803: "the libraries are of another version than the module: load it anew, or reboot",
    999: "unknown: is /dev/nvidia-uvm there, and of the kernel's own number?",
}
_LOG_SECONDS, _IMAGE_SECONDS = 120, 180
# What is there of each: number of its kind in hex, kind. Then the numbers that the kernel gave, and what is loaded.
_DEVICES = """
for at in nvidia-uvm nvidia-uvm-tools; do
  [ -c /dev/$at ] && stat -c "$at %t" /dev/$at || echo "$at missing"
done
echo "kernel $(sed -n 's/^ *\\([0-9]*\\) nvidia-uvm$/\\1/p' /proc/devices)"
echo "loaded $(lsmod | grep -c '^nvidia_uvm ')"
"""
_LIMITS = "timeout 50 nvidia-smi --query-gpu=uuid,pci.bus_id,name,power.limit --format=csv,noheader,nounits"
_LOG = r"""
{ journalctl -k -b -o cat --no-pager 2>/dev/null | grep . || dmesg; } |
  grep -E 'NVRM: Xid|SXid|fallen off the bus|RmInitAdapter failed' | sort | uniq -c | sort -rn | head -n 40
"""
# Images of a kernel that hold an older module of the driver than the disk: by version where it can be taken out of the
# image, else by time.
_IMAGE = r"""
file=%s own=%s
for image in /boot/initrd.img-%s /boot/initramfs-%s.img; do
  [ -f "$image" ] && [ "$file" -nt "$image" ] || continue
  held=$({ lsinitramfs "$image" || lsinitrd "$image"; } 2>/dev/null | grep -oE '[^ ]*/nvidia[^/ ]*\.ko[.a-z]*$')
  [ -n "$held" ] || continue
  held=$(printf '%%s\n' "$held" | head -n 1) at=$(mktemp -d)
  unmkinitramfs "$image" "$at" 2>/dev/null || lsinitrd -f "$held" "$image" >"$at/${held##*/}" 2>/dev/null
  version=$(find "$at" -name "${held##*/}" -size +0 -exec modinfo -F version {} + 2>/dev/null | head -n 1)
  rm -rf "$at"
  [ "$version" = "$own" ] || echo "$image holds ${version:-an older ${held##*/}}"
done
"""


def test_device_files_are_there(driver: DriverUnderTest) -> None:
    """Those of CUDA's memory too, with the kernel's own number: nvidia-smi is well without them, and CUDA says 999."""
    # First of all: as root, what is asked later makes them.
    driver.needed()
    if driver.is_wsl:
        pytest.skip("WSL has another device file, /dev/dxg")
    said = driver.host.check_output(_DEVICES)
    rows = dict(line.split(" ", 1) for line in said.splitlines())
    own = rows.pop("kernel").strip()
    is_loaded = rows.pop("loaded") != "0"
    assert [f"/dev/{name}" for name, number in rows.items() if number == "missing"] == [], "run nvidia-modprobe -c 0 -u"
    assert is_loaded or own, "nvidia_uvm is not loaded, and its device files are left over"
    others = {name: int(number, 16) for name, number in rows.items() if own and int(number, 16) != int(own)}
    assert others == {}, f"the kernel has nvidia-uvm as {own}"


def test_driver_answers_for_every_gpu(driver: DriverUnderTest) -> None:
    """As many as the bus has; of a container, as many as it was given."""
    driver.needed()
    answering = driver.answering
    if not driver.is_wsl:
        assert answering == driver.gpu_count, f"{driver.gpu_count} GPUs are there, the driver answers for {answering}"


def test_cuda_counts_every_gpu(driver: DriverUnderTest) -> None:
    """cuInit through libcuda itself: a healthy nvidia-smi does not tell that programs can compute."""
    driver.needed()
    error, counted = driver.cuda
    assert error == 0, f"cuInit says {error}: {_CUDA_ERRORS.get(error, 'see cuda.h')}"
    if driver.has_mig:
        assert counted > 0
    else:
        there = driver.answering if driver.is_wsl else driver.gpu_count
        assert counted == there, f"{there} GPUs are there, CUDA counts {counted}"


def test_module_and_libraries_are_of_one_version(driver: DriverUnderTest) -> None:
    """The module that runs, and what programs load: after an upgrade nobody rebooted for, nothing starts any more."""
    driver.needed()
    if driver.is_wsl:
        pytest.skip("the driver of WSL is that of Windows")
    assert driver.loaded, "NVIDIA's module is not loaded: see modprobe nvidia, and dmesg"
    assert driver.libraries, "no libcuda.so.1 is found: are the driver's libraries installed?"
    others = {path: version for path, version in driver.libraries.items() if version != driver.loaded}
    assert others == {}, f"the module that runs is {driver.loaded}: load it anew, or reboot"


def test_module_of_this_kernel_is_on_disk(driver: DriverUnderTest) -> None:
    """The one that runs, so that it can be loaded again."""
    driver.with_modules()
    version, _ = driver.module(driver.running_kernel)
    assert version, f"no module of NVIDIA's is there for {driver.running_kernel}: it cannot be loaded again"
    assert driver.loaded in (None, version), f"{version} waits on the disk while {driver.loaded} runs: reboot"


def test_next_kernel_has_its_module(driver: DriverUnderTest) -> None:
    """A kernel that comes by an upgrade boots without a driver where dkms compiled none for it."""
    driver.with_modules()
    kernel = driver.next_kernel
    version, _ = driver.module(kernel)
    do = f"install its headers, then dkms autoinstall -k {kernel}"
    assert version, f"{kernel} boots next, and no module of NVIDIA's is there for it: {do}"
    lines = driver.host.run("dkms status 2>/dev/null").stdout.splitlines()
    mine = [line for line in lines if line.startswith("nvidia")]
    state = [line for line in mine if re.search(rf"[, ]{re.escape(kernel)}[,:]", line)]
    assert not mine or any(re.search(r":\s*installed\b", line) for line in state), f"dkms says of {kernel}: {state}"


def test_initramfs_holds_no_older_module(driver: DriverUnderTest) -> None:
    """One in the image of the next kernel is loaded before the disk is there."""
    driver.with_modules()
    kernel = driver.next_kernel
    version, file = driver.module(kernel)
    if not file.startswith("/"):
        pytest.skip(f"not asked: no module of {kernel} lies in a file")
    older = driver.host.run(_IMAGE, file, version, kernel, kernel, limit_seconds=_IMAGE_SECONDS).stdout.splitlines()
    assert older == [], f"made before {file} came: update-initramfs -u -k {kernel}, or dracut -f --kver {kernel}"


def test_modules_suit_the_gpus(driver: DriverUnderTest) -> None:
    """Blackwell takes open ones alone, Pascal and older proprietary ones; what the inventory says is obeyed."""
    driver.with_modules()
    flavour = driver.flavour
    assert driver.wish.modules in ("auto", flavour), (
        f"the inventory says {driver.wish.modules}, {flavour} ones are loaded"
    )
    wrong = [one for one in driver.device_ids if flavour not in _flavours(one)]
    assert [f"10de:{one:04x}" for one in wrong] == [], f"these take no {flavour} modules"


def _flavours(device: int) -> tuple[str, ...]:
    if device >= _FIRST_OPEN_ALONE:
        return ("open",)
    return ("open", "proprietary") if device >= _FIRST_WITH_OPEN else ("proprietary",)


def test_branch_is_the_wished_one(driver: DriverUnderTest) -> None:
    """Where the inventory names one."""
    driver.needed()
    if driver.wish.branch == "auto":
        pytest.skip("the inventory leaves the branch to the plan")
    found = str(driver.loaded or next(iter(driver.libraries.values()), "none")).partition(".")[0]
    assert found == str(driver.wish.branch)


def test_packages_are_held(driver: DriverUnderTest) -> None:
    """Those of the driver that a deploy brought, where the inventory does not say otherwise."""
    driver.with_modules()
    if not driver.wish.hold:
        pytest.skip("the inventory lets the driver be upgraded")
    brought = [
        line.split() for line in driver.host.run("cat /var/lib/rigwright/packages.installed").stdout.splitlines()
    ]
    mine = {words[0] for words in brought if words[1:2] == ["asked"] and _OF_DRIVER.match(words[0])}
    if not mine:
        pytest.skip("no deploy brought this driver")
    held = driver.host.run("apt-mark showhold 2>/dev/null || dnf -q versionlock list 2>/dev/null").stdout
    # dnf names a version too: nvidia-driver-cuda-3:580.95.05-1.el9.*
    names = {re.sub(r":amd64$|-\d+:.*$", "", line.strip()) for line in held.splitlines()}
    assert sorted(mine - names) == [], "apt-mark hold, or dnf versionlock add, keeps them as they are"


def test_persistence_daemon_runs(driver: DriverUnderTest) -> None:
    """Where it is installed: without it GPUs go to sleep with the last program, and forget their limits."""
    driver.with_modules()
    said = driver.host.check_output("systemctl show -p LoadState -p ActiveState nvidia-persistenced.service")
    state = dict(line.split("=", 1) for line in said.splitlines())
    if state["LoadState"] != "loaded":
        pytest.skip("nvidia-persistenced is not installed")
    assert state["ActiveState"] == "active", "systemctl reset-failed nvidia-persistenced, then restart it"


def test_power_limits_are_set(driver: DriverUnderTest) -> None:
    """Within a watt of what the inventory says."""
    driver.with_limits()
    wished = driver.wish.power_watts
    if not wished:
        pytest.skip("the inventory has no power limits")
    said = driver.host.check_output(_LIMITS)
    rows = [line.split(", ") for line in said.splitlines()]
    wrong = {}
    for row in rows:
        watts = _watts(wished, row[0], row[1], row[2])
        if watts is not None and not (re.fullmatch(r"[\d.]+", row[3]) and abs(float(row[3]) - watts) <= 1):
            wrong[row[0]] = f"{row[3]} W, not {watts} W"
    assert wrong == {}, "see journalctl -u rigwright.power"


def _watts(wished: int | dict[str, int | None], uuid: str, place: str, name: str) -> int | None:
    """What is wished for a GPU: by UUID, else by place on the bus, else by name, else for all others."""
    if isinstance(wished, int):
        return wished
    keys = {key.lower(): watts for key, watts in wished.items()}
    by_uuid = [key for key in keys if key.startswith("gpu-") and uuid.lower().startswith(key)]
    by_place = [key for key in keys if re.fullmatch(r"[\da-f:]*[\da-f]{2}:[\da-f]{2}\.\d", key) and _is_at(place, key)]
    by_name = [key for key in keys if _is_called(name, key)]
    return next((keys[key] for key in (*by_uuid, *by_place, *by_name, "*") if key in keys), None)


def _is_at(place: str, key: str) -> bool:
    """Whether 00000000:41:00.0 is 41:00.0."""
    domain, rest = place.lower().split(":", 1)
    return key.endswith(rest) and int(key.removesuffix(rest).strip(":") or "0", 16) == int(domain, 16)


def _is_called(name: str, key: str) -> bool:
    """Whether NVIDIA GeForce RTX 3090 is an RTX 3090, or a 3090; an RTX 3090 Ti is none."""
    own, asked = ([word for word in text.lower().split() if word not in _MAKERS] for text in (name, key))
    rest = own[len(asked) :]
    return bool(asked) and own[: len(asked)] == asked and not {"ti", "super", "laptop", "ada"} & set(rest)


def test_kernel_log_has_no_error_of_a_gpu(
    driver: DriverUnderTest, record_property: Callable[[str, object], None]
) -> None:
    """Since boot; what programs caused in their own contexts is noted."""
    driver.with_modules()
    lines = driver.host.run(_LOG, limit_seconds=_LOG_SECONDS).stdout.splitlines()
    grave = [line.strip() for line in lines if not _is_harmless(line)]
    for number in sorted(set(_xids(lines)) & _OF_PROGRAMS):
        record_property(NOTED, f"Xid {number} since boot: a program crashed on a GPU")
    assert grave == []


def _xids(lines: list[str]) -> Iterator[int]:
    return (int(found[1]) for line in lines if (found := re.search(r"NVRM: Xid \([^)]*\): (\d+)", line)))


def _is_harmless(line: str) -> bool:
    """Whether a program caused it, or it says that nothing has to be done any more, or no fatal one of a switch."""
    if "SXid" in line:
        return "Non-fatal" in line or "Non-Fatal" in line
    found = list(_xids([line]))
    is_over = bool(re.search(r"\): 154\b.*\bto \S* ?\(None\)", line))
    return is_over or bool(found and found[0] in _OF_PROGRAMS)


def test_fabric_is_completed(driver: DriverUnderTest) -> None:
    """With NVSwitches: until Fabric Manager has set them up CUDA says 802, with a healthy nvidia-smi."""
    driver.needed()
    said = driver.host.run("timeout 50 nvidia-smi -q").stdout
    states = re.findall(r"^\s+Fabric\n\s+State\s+: (.+?)\s*$", said, re.MULTILINE)
    real = [state for state in states if state != "N/A"]
    if not real and not driver.has_switch:
        pytest.skip("no NVSwitch is here")
    assert real and [state for state in real if state != "Completed"] == [], "see systemctl status nvidia-fabricmanager"
