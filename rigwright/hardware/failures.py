"""Failures: the problems of a machine that keep its GPUs from serving, apart from those that only make them slower."""

from __future__ import annotations

from rigwright.hardware.values import Hardware, Problem

# The driver is there and does not work. Without one (`driver_missing`) nothing has failed yet.
_DRIVER = frozenset(
    (
        "driver_not_running", "driver_library_mismatch", "driver_library_missing", "driver_hangs", "nvml_failed",
        "nvml_unknown_error", "gpu_access_blocked", "insufficient_permissions", "no_devices",
        "container_toolkit_missing", "driver_too_new_for_gpu", "driver_does_not_support_gpu", "gsp_firmware_missing",
        "fabric_not_ready", "wrong_kernel_module", "gpu_init_failed", "gsp_timeout", "gpu_needs_power_off",
        "module_of_other_kernel", "module_symbol_missing", "vgpu_guest_incompatible",
    )
)  # fmt: skip
_GPU = frozenset(
    (
        "gpu_lost", "one_gpu_lost", "fallen_off_bus", "gpu_requires_reset", "device_handle_unknown_error",
        "gpu_missing_from_driver", "gpu_unpowered", "xid_48", "xid_95", "xid_140", "xid_143", "xid_154",
    )
)  # fmt: skip


def driver_failure(hardware: Hardware) -> Problem | None:
    """What keeps the driver from listing GPUs, or programs from those that it lists; None where nothing does."""
    failures = driver_failures(hardware)
    if hardware.gpu_count is not None or any(gpu.state == "ok" for gpu in hardware.gpus):
        # Cards on NVSwitches are listed and well, and every program fails until the fabric is ready.
        failures = tuple(problem for problem in failures if problem.code == "fabric_not_ready")
    return next(iter(failures), None)


def driver_failures(hardware: Hardware) -> tuple[Problem, ...]:
    """All that is wrong with the driver: of the problems those that plans stand on."""
    return tuple(problem for problem in hardware.problems if problem.code in _DRIVER)


def is_grave(problem: Problem) -> bool:
    """Whether GPUs do not serve because of it."""
    return problem.code in _DRIVER | _GPU
