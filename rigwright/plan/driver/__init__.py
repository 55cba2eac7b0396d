"""NVIDIA's driver and CUDA: which a rig needs, what has to be done for them, or why they cannot be. Pure."""

from rigwright.plan.driver.power import PowerPlan, plan_power
from rigwright.plan.driver.solve import plan_driver
from rigwright.plan.driver.values import Cuda, Driver, DriverPlan, DriverWish, Need, PowerSetting, Step

__all__ = [
    "Cuda",
    "Driver",
    "DriverPlan",
    "DriverWish",
    "Need",
    "PowerPlan",
    "PowerSetting",
    "Step",
    "plan_driver",
    "plan_power",
]
