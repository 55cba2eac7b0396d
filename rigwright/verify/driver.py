"""What a check of NVIDIA's driver looks at: GPUs, modules, libraries and CUDA of one rig, each asked for once."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any

import pytest

# What the first command on a rig says of it (subject.py): GPUs and switches on the bus, as address, class, id and the
# kernel's driver; device files of GPUs; which container it is; whether anything of a driver is there.
LOOK = r"""
bus() {
  if command -v lspci >/dev/null && lspci -Dnn 2>/dev/null; then return; fi
  for at in /sys/bus/pci/devices/*; do
    [ "$(cat "$at/vendor" 2>/dev/null)" = 0x10de ] || continue
    class=$(cat "$at/class") device=$(cat "$at/device")
    class=${class#0x} device=${device#0x}
    echo "${at##*/} [${class%??}]: [10de:$device]"
  done
}
bus | sed -nE 's/^([0-9a-f:.]{7,12}) .*\b(0300|0302|0680)\b.*\b10de:([0-9a-f]{4})\b.*/\1 \2 \3/p' |
while read -r at what; do
  case $at in ????:*) ;; *) at=0000:$at ;; esac
  by=$(readlink "/sys/bus/pci/devices/$at/driver" || :)
  echo "pci $at $what ${by##*/}"
done
for at in /dev/nvidia[0-9]*; do [ ! -e "$at" ] || echo "node $at"; done
virt=$(systemd-detect-virt -c 2>/dev/null) || [ -n "$virt" ] || virt=$(cat /run/systemd/container 2>/dev/null)
echo "virt ${virt:-none}"
[ ! -e /dev/dxg ] || echo wsl
if [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null || ldconfig -p | grep -q libcuda
then echo driver; fi
"""
# What every CUDA program asks first; no context is made, and no memory taken.
_PYTHON = (
    "import ctypes; c = ctypes.CDLL('libcuda.so.1'); n = ctypes.c_int(-1); e = c.cuInit(0); "
    "e or c.cuDeviceGetCount(ctypes.byref(n)); print('cuda', e, n.value)"
)
_C = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
  int n = -1, e;
  void *c = dlopen("libcuda.so.1", RTLD_NOW);
  if (!c) { puts(dlerror()); return 1; }
  e = ((int (*)(unsigned))dlsym(c, "cuInit"))(0);
  if (!e) ((int (*)(int *))dlsym(c, "cuDeviceGetCount"))(&n);
  printf("cuda %d %d\n", e, n);
  return 0;
}
"""
_CUDA = r"""
if python3 -I -c 'import ctypes' 2>/dev/null; then timeout 50 env -u CUDA_VISIBLE_DEVICES python3 -I -c %s 2>&1
elif command -v cc >/dev/null; then
  at=$(mktemp -d) && printf %%s %s >"$at/a.c" && cc -o "$at/a" "$at/a.c" -ldl 2>&1 &&
    timeout 50 env -u CUDA_VISIBLE_DEVICES "$at/a" 2>&1
  rm -rf "$at"
else echo nobody; fi
"""
# Debian's packages have names of their own.
_MODULE = r"""
for name in nvidia nvidia-current nvidia-current-open; do
  if modinfo -k %s -F version $name 2>/dev/null; then modinfo -k %s -F filename $name; break; fi
done
"""
# The kernel that boots next: the boot loader's own word, else the newest that has an image, else the one that runs.
_NEXT = r"""
next=$(grubby --default-kernel 2>/dev/null | sed -n 's|.*/vmlinuz-||p')
[ -n "$next" ] || next=$(ls -d /boot/vmlinuz-* 2>/dev/null | sed 's|.*/vmlinuz-||; /rescue/d' | sort -V | tail -n 1)
[ -n "$next" ] || next=$(uname -r)
echo "$next"
"""
_LIBRARIES = r"""
ldconfig -p | sed -nE 's/.*(libcuda|libnvidia-ml)\.so\.1 .*=> //p' | while read -r at; do readlink -f -- "$at"; done
"""


class DriverUnderTest:
    """NVIDIA's driver on a rig; `seen` is what LOOK says, the words of each line."""

    def __init__(self, rig: Any, seen: list[list[str]]) -> None:
        self.rig = rig
        self._seen = seen
        self.container = next((words[1] for words in seen if words[0] == "virt" and words[1:] != ["none"]), "")
        self.is_wsl = ["wsl"] in seen
        rows = [words[1:] for words in seen if words[0] == "pci"]
        self._gpus = [row for row in rows if row[1] in ("0300", "0302") and row[3] not in ("vfio-pci", "pci-stub")]
        self.has_switch = any(row[1] == "0680" for row in rows)

    @property
    def nothing(self) -> str:
        """Why there is nothing to check; empty where there is."""
        if self.gpu_count or self.is_wsl:
            return ""
        if self.container:
            return f"this is a container ({self.container}) without a GPU of NVIDIA's: no driver is checked"
        kept = any(words[0] == "pci" and words[2] != "0680" for words in self._seen)
        return "vfio-pci keeps the GPUs for virtual machines" if kept else "this rig has no GPU of NVIDIA's"

    @property
    def host(self) -> Any:
        """The testinfra host."""
        return self.rig.host

    @property
    def wish(self) -> Any:
        """What the inventory says of the driver."""
        return self.rig.spec.nvidia

    @property
    def gpu_count(self) -> int:
        """GPUs on the bus, without those of virtual machines; a container, whose bus is its host's, has its nodes."""
        return sum(words[0] == "node" for words in self._seen) if self.container else len(self._gpus)

    @property
    def device_ids(self) -> list[int]:
        """Their PCI device ids."""
        return [int(row[2], 16) for row in self._gpus]

    def with_limits(self) -> DriverUnderTest:
        """This; the check is skipped, by name, where power limits are another's."""
        if self.is_wsl or self.container:
            pytest.skip(f"power limits are not checked: those of {self.container or 'WSL'} are the host's")
        return self.needed()

    def needed(self) -> DriverUnderTest:
        """This; the check is skipped where there is no driver and nothing wants one."""
        is_wanted = "nvidia" in self.rig.spec.model_fields_set or any(map(_is_on_gpu, self.rig.records.values()))
        if ["driver"] not in self._seen and not is_wanted:
            pytest.skip("no driver is installed, and no service here is planned on a GPU")
        return self

    def with_modules(self) -> DriverUnderTest:
        """This; the check is skipped, by name, where the kernel and its modules are another's."""
        if self.is_wsl:
            pytest.skip("modules are not checked: the driver of WSL is that of Windows")
        if self.container:
            pytest.skip(f"modules are not checked: this is a container ({self.container}), and they are the host's")
        return self.needed()

    @cached_property
    def _version(self) -> str:
        return str(self.host.run("cat /proc/driver/nvidia/version").stdout)

    @property
    def loaded(self) -> str | None:
        """The version of the module that runs, None where none does."""
        found = re.search(r"NVRM version: .*?\s(\d{3,4}\.\d+(?:\.\d+)?)\s", self._version)
        return found[1] if found else None

    @property
    def flavour(self) -> str:
        """That of the module that runs; the check is skipped where none does, which is another check's."""
        if self.loaded is None:
            pytest.skip("not asked: no module of NVIDIA's is loaded")
        return "open" if "Open Kernel Module" in self._version else "proprietary"

    @cached_property
    def libraries(self) -> dict[str, str]:
        """The version of each library of the driver that programs find, by its path."""
        paths = self.host.run(_LIBRARIES).stdout.split()
        found = {path: re.search(r"\.so\.(\d{3,4}\.\d+(?:\.\d+)?)$", path) for path in paths}
        return {path: match[1] for path, match in found.items() if match}

    @cached_property
    def running_kernel(self) -> str:
        """Its release."""
        return str(self.host.check_output("uname -r"))

    @cached_property
    def next_kernel(self) -> str:
        """The one that boots next."""
        return str(self.host.check_output(_NEXT))

    def module(self, kernel: str) -> tuple[str, str]:
        """Version and file of the module on disk for a kernel; two empty texts where none is."""
        lines = self.host.run(_MODULE, kernel, kernel).stdout.splitlines()
        return (lines[0], lines[1]) if len(lines) > 1 else ("", "")

    @cached_property
    def _listed(self) -> str:
        said = self.host.run("timeout 50 nvidia-smi -L")
        if said.rc:
            pytest.fail(f"nvidia-smi says: {' '.join((said.stdout + said.stderr).split())[:200]}")
        return str(said.stdout)

    @property
    def answering(self) -> int:
        """The number of GPUs that the driver answers for."""
        return len(re.findall(r"^GPU \d+: ", self._listed, re.MULTILINE))

    @property
    def has_mig(self) -> bool:
        """Whether a GPU is cut into MIG devices, of which CUDA counts one."""
        return bool(re.search(r"^\s+MIG ", self._listed, re.MULTILINE))

    @cached_property
    def cuda(self) -> tuple[int, int]:
        """What cuInit answers, and how many devices it counts; -1 where it counts none."""
        said = self.host.run(_CUDA, _PYTHON, _C).stdout.strip()
        if said == "nobody":
            pytest.skip("not asked: install python3, or a C compiler, so that CUDA itself can be asked")
        found = re.search(r"^cuda (\d+) (-?\d+)$", said, re.MULTILINE)
        if not found:
            pytest.fail(f"libcuda does not answer: {said.splitlines()[-1:]}")
        return int(found[1]), int(found[2])


def _is_on_gpu(record: str) -> bool:
    try:
        return any(replica["gpus"] for replica in json.loads(record)["replicas"])
    except (ValueError, TypeError, KeyError):
        return False
