"""The JSON contract of `rigwright hardware`: one rig as plain values; docs/hardware.schema.json says what each is."""

from __future__ import annotations

from rigwright.hardware.topology import Grouping, group, islands, xgmi_islands
from rigwright.hardware.values import Cpu, Gpu, Hardware
from rigwright.view.hardware_words import cpu_list


def report(hardware: Hardware) -> dict[str, object]:
    """One rig, ready for `json.dumps`. Unknown is None, never a guess."""
    return {
        "gpu_count": hardware.gpu_count,
        "vendor": hardware.vendor,
        "gpus": [_gpu(gpu) for gpu in hardware.gpus],
        **_links(hardware),
        **_grouping(group(hardware)),
        "problems": [
            {"code": problem.code, "where": problem.where, "what": problem.what, "do": problem.do}
            for problem in hardware.problems
        ],
        **_host(hardware),
        "sources": list(hardware.sources),
    }


def _links(hardware: Hardware) -> dict[str, object]:
    kinds = {f"{link.first}-{link.second}": link.kind for link in hardware.links if link.kind}
    chains = xgmi_islands(hardware)
    return {
        "nvlink_islands": [list(island) for island in islands(hardware)] if _has_answer(hardware) else None,
        "nvlink_pairs": {pair: kind for pair, kind in kinds.items() if kind.startswith("NV")},
        "xgmi_islands": None if chains is None else [list(chain) for chain in chains],
        "pair_class": kinds,
        "p2p": {f"{link.first}-{link.second}": link.p2p for link in hardware.links if link.p2p},
        "nics": [nic.name for nic in hardware.nics],
    }


def _has_answer(hardware: Hardware) -> bool:
    """Whether links can be known at all: a whole list of GPUs, or a recorded link."""
    return hardware.gpu_count is not None or bool(hardware.links)


def _grouping(grouping: Grouping) -> dict[str, object]:
    return {
        "tp2_groups": [list(pair) for pair in grouping.pairs],
        "tp4_groups": [list(quad) for quad in grouping.quads],
        "cuda_visible_devices": ",".join(map(str, grouping.order)) or None,
        "bottlenecks": [
            {
                "group": list(slowest.group),
                "first": slowest.first,
                "second": slowest.second,
                "class": slowest.kind,
                "gbytes_per_second": slowest.gbytes_per_second,
            }
            for slowest in grouping.bottlenecks
        ],
        "grouping_confidence": {"level": grouping.confidence, "because": grouping.because},
        "left_out": [{"index": index, "because": why} for index, why in grouping.left_out],
    }


def _gpu(gpu: Gpu) -> dict[str, object]:
    link, power = gpu.pcie, gpu.power
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "pci_address": gpu.pci_address,
        "pci_id": gpu.pci_id,
        "name": gpu.name,
        "architecture": gpu.architecture,
        "vram_bytes": gpu.vram_bytes,
        "compute_capability": gpu.compute_capability,
        "numa_node": gpu.numa_affinity if gpu.numa_node is None else gpu.numa_node,
        "gpu_numa_id": gpu.numa_memory_node,
        "state": gpu.state,
        "mig": _mig(gpu),
        "mig_enabled": gpu.mig,
        "pcie": {
            "gen_current": link.gen_current,
            "gen_max": link.gen_max,
            "width_current": link.width_current,
            "width_max": link.width_max,
        },
        "power_limit_watts": {
            "current": power.current,
            "default": power.default,
            "min": power.min,
            "max": power.max,
        },
    }


def _host(hardware: Hardware) -> dict[str, object]:
    cpu = hardware.cpu
    return {
        "driver_version": hardware.driver_version,
        "cpu": None
        if cpu == Cpu()
        else {
            "model": cpu.model,
            "physical_cores": cpu.physical_cores,
            "logical_cores": cpu.logical_cores,
            "sockets": cpu.sockets,
        },
        "ram_bytes": hardware.ram_bytes or None,
        "numa_nodes": [
            {"node": node.node, "cpus": cpu_list(node.cpus), "memory_bytes": node.memory_bytes}
            for node in hardware.numa
        ],
        "os": _system(hardware),
        "chip": hardware.chip,
        "chip_gpu_cores": hardware.chip_gpu_cores,
    }


def _system(hardware: Hardware) -> dict[str, object] | None:
    system = {
        "id": hardware.os_id if hardware.os_id != "unknown" else None,
        "version": hardware.os_version or None,
        "kernel": hardware.kernel or None,
        "architecture": hardware.architecture or None,
    }
    return dict(system) if any(system.values()) else None


def _mig(gpu: Gpu) -> list[str] | None:
    """The profiles of the MIG devices; nvidia-smi tells them in -L alone."""
    if gpu.mig_devices:
        return list(gpu.mig_devices)
    return [] if gpu.mig is False else None
