"""What a rig has, as values; read from the output of its own tools."""

from rigwright.hardware.values import Cpu, Disk, Gpu, Hardware, Link, Nic, NumaNode, PcieLink, PowerLimit, Problem

__all__ = ["Cpu", "Disk", "Gpu", "Hardware", "Link", "Nic", "NumaNode", "PcieLink", "PowerLimit", "Problem"]
