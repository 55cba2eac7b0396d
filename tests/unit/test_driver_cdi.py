"""What containers are given: the CDI specification against the driver that runs."""

from __future__ import annotations

import pytest

from rigwright.hardware.capture import read_files
from rigwright.plan.driver import plan_driver

RIG = {
    "os-release": 'ID=ubuntu\nVERSION_ID="22.04"\n',
    "lspci.txt": "0000:01:00.0 3D controller [0302]: NVIDIA Corporation GA102GL [A40] [10de:2235] (rev a1)\n",
    "proc-driver-nvidia-version.txt": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.126.09  Release\n",
}
RUNC = "failed to create task for container: failed to fulfil mount request: open {}: no such file or directory"


@pytest.mark.parametrize(
    "text",
    [
        RUNC.format("/usr/lib/x86_64-linux-gnu/libEGL_nvidia.so.580.95.05"),
        'error mounting "/usr/lib64/libcuda.so.580.95.05" to rootfs: stat /usr/lib64/libcuda.so: no such file',
        "Error: crun: cannot stat `/usr/lib64/libnvidia-ml.so.580.95.05`: No such file or directory: OCI runtime error",
        "  - hostPath: /usr/lib64/libcuda.so.580.95.05\n    containerPath: /usr/lib64/libcuda.so.580.95.05\n",
        '{"cdiVersion": "0.5.0", "containerEdits": {"mounts": [{"hostPath": "/usr/lib64/libcuda.so.580.95.05"}]}}',
    ],
)
def test_libraries_of_the_driver_before_are_no_libraries_on_disk(text):
    """A specification, or the error of a runtime that follows it: made anew, and the driver left alone."""
    machine = read_files({**RIG, "container.log": text + "\n"})
    plan = plan_driver(machine)
    assert (machine.software.cdi_version, machine.software.userland_version) == ("580.95.05", None)
    assert [one.code for one in plan.problems] == ["cdi_is_stale"]
    assert ([step.kind for step in plan.steps], plan.verdict) == (["cdi", "verify"], "repair")


def test_specification_of_this_driver_is_well():
    """As it was made after the last upgrade."""
    text = "  - hostPath: /usr/lib64/libcuda.so.580.126.09\n    containerPath: /usr/lib64/libcuda.so.580.126.09\n"
    assert plan_driver(read_files({**RIG, "cdi.txt": text})).verdict == "ok"
