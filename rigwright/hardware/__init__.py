"""What a rig has, as values."""

from rigwright.hardware.values import Cpu, Disk, Gpu, Hardware

__all__ = ["Cpu", "Disk", "Gpu", "Hardware"]
