"""What is broken of a driver on a rig, one thing at a time, so that each check of it is seen failing for its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# in_place TOOL: standard input is found before the rig's own tool.
HELP = r"""set -eu
kernel=$(uname -r) libraries=/usr/lib/x86_64-linux-gnu
module=$(ls /lib/modules/$kernel/updates/dkms/nvidia.ko)
in_place() { cat >/usr/local/bin/$1; chmod 755 /usr/local/bin/$1; }
"""
# As it was: what is installed, loaded anew, with its device files and its daemon.
SAVE = "cp -a --parents /usr/lib/modules /usr/lib/x86_64-linux-gnu/libcuda.so* /boot /var/lib/dkms /root/driver/"
MEND = r"""set -u
rm -f /usr/local/bin/* /boot/* /var/lib/rigwright/packages.installed /dev/dxg /dev/nvidia-uvm /dev/nvidia-uvm-tools
find /usr/lib/x86_64-linux-gnu -name 'libcuda.so*' -delete
cp -a --remove-destination /root/driver/. /
ldconfig
apt-mark -qq unhold nvidia-kernel-open-dkms
systemctl stop nvidia-persistenced; rmmod nvidia_uvm nvidia_modeset nvidia 2>/dev/null
modprobe nvidia && nvidia-modprobe -c 0 -u && nvidia-smi -L >/dev/null
systemctl reset-failed nvidia-persistenced; systemctl start nvidia-persistenced
"""


@dataclass(frozen=True)
class Planted:
    """What is done on the rig or said in its inventory, the check that is for it, and with what in its message.

    also: checks that must fail of the same cause.
    """

    check: str
    reason: str
    how: str = ":"
    nvidia: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    also: tuple[str, ...] = ()


PLANTED = {
    "no file of CUDA's tools": Planted(
        "test_device_files_are_there", r"nvidia-uvm-tools'\] == \[\]", "rm /dev/nvidia-uvm-tools"
    ),
    "no file of CUDA's memory": Planted(
        "test_device_files_are_there",
        r"run nvidia-modprobe -c 0 -u",
        "rm /dev/nvidia-uvm",
        also=("test_cuda_counts_every_gpu",),
    ),
    "a file that is no device": Planted(
        "test_device_files_are_there", r"'/dev/nvidia-uvm'\] == \[\]", "rm /dev/nvidia-uvm; touch /dev/nvidia-uvm"
    ),
    "cuInit fails and nvidia-smi is well": Planted(
        "test_cuda_counts_every_gpu",
        "cuInit says 803: the libraries are of another version",
        "cd $libraries && sed 's/580.178.04/580.178.05/g' libcuda.so.580.178.04 >new && mv new libcuda.so.580.178.04",
    ),
    "GPU that does not answer": Planted(
        "test_driver_answers_for_every_gpu",
        "2 GPUs are there, the driver answers for 1",
        fault="gpu-lost",
        also=("test_cuda_counts_every_gpu",),
    ),
    "module not loaded": Planted(
        "test_module_and_libraries_are_of_one_version",
        "NVIDIA's module is not loaded",
        "systemctl stop nvidia-persistenced; rmmod nvidia_uvm nvidia_modeset nvidia",
        also=(
            "test_device_files_are_there",
            "test_driver_answers_for_every_gpu",
            "test_cuda_counts_every_gpu",
            "test_persistence_daemon_runs",
            "test_power_limits_are_set",
        ),
    ),
    "library of another version": Planted(
        "test_module_and_libraries_are_of_one_version",
        r"the module that runs is 580\.178\.04: load it anew, or reboot",
        "cd $libraries && cp libcuda.so.580.178.04 libcuda.so.595.91.07 && ln -sfn libcuda.so.595.91.07 libcuda.so.1",
    ),
    "no module for this kernel": Planted(
        "test_module_of_this_kernel_is_on_disk",
        "no module of NVIDIA's is there for .*: it cannot be loaded again",
        "rm $module",
        also=("test_next_kernel_has_its_module",),
    ),
    "module that waits for a reboot": Planted(
        "test_module_of_this_kernel_is_on_disk",
        r"595\.91\.07 waits on the disk while 580\.178\.04 runs: reboot",
        "sed -i 's/580.178.04/595.91.07/' $module; touch -d 2001-01-01 $module",
        also=("test_next_kernel_has_its_module",),  # dkms sees that it is not what it built
    ),
    "newer kernel without a module": Planted(
        "test_next_kernel_has_its_module",
        "99.9.9-amd64 boots next, and no module of NVIDIA's is there for it: install its headers",
        "touch /boot/vmlinuz-99.9.9-amd64",
    ),
    "dkms has not built it": Planted(
        "test_next_kernel_has_its_module",
        r"dkms says of .*: \[\]",
        "echo 'echo nvidia/580.178.04: added' | in_place dkms",
    ),
    "older module in the initramfs": Planted(
        "test_initramfs_holds_no_older_module",
        r"initrd\.img-.* holds an older nvidia.*\.ko",
        "update-initramfs -u -k $kernel >/dev/null; touch -d 2001-01-01 /boot/initrd.img-$kernel",
    ),
    "modules that the inventory does not want": Planted(
        "test_modules_suit_the_gpus",
        "the inventory says proprietary, open ones are loaded",
        nvidia={"modules": "proprietary"},
    ),
    "open modules on Pascal": Planted(
        "test_modules_suit_the_gpus",
        r"\['10de:1b06'",
        "printf '#!/bin/sh\\n/usr/bin/lspci \"$@\" | sed s/10de:2204/10de:1b06/\\n' | in_place lspci",
    ),
    "proprietary modules on Blackwell": Planted(
        "test_modules_suit_the_gpus",
        r"\['10de:2b85'",
        "printf '#!/bin/sh\\n/usr/bin/lspci \"$@\" | sed s/10de:2204/10de:2b85/\\n' | in_place lspci\n"
        "sed -i 's/^license:.*/license: NVIDIA/' $module; systemctl stop nvidia-persistenced\n"
        "rmmod nvidia_uvm nvidia_modeset nvidia; modprobe nvidia; nvidia-modprobe -c 0 -u; nvidia-smi -L >/dev/null\n"
        "systemctl start nvidia-persistenced",
        nvidia={"modules": "auto"},
        also=("test_next_kernel_has_its_module",),
    ),
    "another branch": Planted("test_branch_is_the_wished_one", "'580' == '595'", nvidia={"branch": 595}),
    "driver that nobody holds": Planted(
        "test_packages_are_held",
        r"\['nvidia-driver-cuda'\] == \[\]",
        "mkdir -p /var/lib/rigwright; cd /var/lib/rigwright\n"
        "printf '%s asked purge\\n' nvidia-driver-cuda nvidia-kernel-open-dkms nvidia-driver-pinning-580 dkms >list\n"
        "echo 'libnvidia-ml1 came purge' >>list; mv list packages.installed; apt-mark -qq hold nvidia-kernel-open-dkms",
    ),
    "daemon that stopped": Planted(
        "test_persistence_daemon_runs",
        "systemctl reset-failed nvidia-persistenced",
        "systemctl stop nvidia-persistenced",
    ),
    "limit that is not set": Planted(
        "test_power_limits_are_set",
        r"\{'GPU-fef3f583-[^']*': '350.00 W, not 280 W'\}",
        nvidia={"power_watts": {"65:00.0": 280, "RTX 3090": 350}},
    ),
    "GPU that fell off the bus": Planted(
        "test_kernel_log_has_no_error_of_a_gpu",
        r"Xid \(PCI:0000:17:00\): 79",
        "echo 'echo \"[ 9.1] NVRM: Xid (PCI:0000:17:00): 79, pid=99, GPU has fallen off the bus.\"' | in_place dmesg",
    ),
    "fabric that is not ready": Planted(
        "test_fabric_is_completed",
        r"\['In Progress'\] == \[\]",
        "printf '    Fabric\\n        State  : In Progress\\n        Status  : N/A\\n' >/root/fabric\n"
        "printf '#!/bin/sh\\ncase $1 in -q) cat /root/fabric ;; *) exec /usr/bin/nvidia-smi \"$@\" ;; esac\\n' |\n"
        "in_place nvidia-smi",
    ),
}
