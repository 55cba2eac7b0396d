"""The JSON answer of `rigwright driver`."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from rigwright.plan.driver import DriverPlan
from rigwright.plan.driver.values import CudaSource, Source, Verdict
from rigwright.view.answers.answer import Answer


class DriverFacts(Answer):
    """The driver that the rig has, or shall have."""

    branch: int | None = Field(description="580; null where none can be had, or nobody recorded which one is there")
    modules: Literal["open", "proprietary", "none"] = Field(
        description="the kernel modules; none where the kernel is that of a host, or there is no GPU of NVIDIA's"
    )
    source: Source = Field(
        description="nvidia: its repository, distro: the distribution's packages, redhat: signed by Red Hat, factory: "
        "the maker's own, host: that of the host, none: unknown or no driver"
    )
    version: str | None = Field(description="580.126.09 where it is known")
    packages: tuple[str, ...] = Field(description="what has to be installed; empty where the driver stays")


class CudaFacts(Answer):
    """The toolkit that builds on the rig use."""

    version: str | None = Field(description="12.9; null where nothing is built here")
    source: CudaSource = Field(description="nvidia, distro or pypi; none where no toolkit is wanted")
    packages: tuple[str, ...] = Field(description="what has to be installed; empty where it is there")
    targets: tuple[str, ...] = Field(description="the compute capabilities of the rig's GPUs: 86")
    path: str | None = Field(description="the nvcc that is there already")


class PowerFacts(Answer):
    """The power limit and the clocks that a GPU shall have."""

    gpu: str = Field(description="how people call it")
    uuid: str | None = Field(description="by which it is set; null while no driver tells it")
    pci_address: str | None = Field(description="its place on the bus")
    watts: int | None = Field(description="the limit; null leaves it as it is")
    clocks_mhz: tuple[int, int] | None = Field(description="the least and the most clock; null leaves them as they are")
    current_watts: float | None = Field(description="the limit that it has now; null where no driver tells it")


class StepFacts(Answer):
    """One thing that a deploy does, in order."""

    kind: str = Field(description="a stable word: repository, pin, headers, install, reboot, …")
    what: str = Field(description="the same for people")
    packages: tuple[str, ...] = Field(description="packages that it brings or takes away")


class ProblemFacts(Answer):
    """What the owner should know; verdict `refuse` is due to those in `refused_by`."""

    code: str = Field(description="a stable word: secure_boot")
    where: str = Field(description="what it is about")
    what: str = Field(description="what is wrong")
    do: str = Field(description="what to do about it")


class DriverAnswer(Answer):
    """What `rigwright driver --json` prints."""

    model_config = ConfigDict(title="rigwright driver")

    rig: str = Field(description="the rig's name")
    verdict: Verdict = Field(
        description="ok: the driver stays as it is; install; repair: what is half done or broken; reboot: that alone; "
        "refuse: nothing is touched"
    )
    driver: DriverFacts
    cuda: CudaFacts
    reboot: bool = Field(description="whether a reboot ends it")
    reboot_because: str = Field(description="why; empty where none is needed")
    steps: tuple[StepFacts, ...] = Field(description="what has to be done, in order")
    problems: tuple[ProblemFacts, ...] = Field(description="what was found, that which stops everything first")
    refused_by: tuple[str, ...] = Field(description="the codes of problems that stop everything")
    power: tuple[PowerFacts, ...] = Field(description="power limits and clocks, a GPU each that the inventory names")
    held: tuple[str, ...] = Field(description="packages that stay as they are between deploys")
    download_bytes: int = Field(description="about what is fetched")
    disk_bytes: int = Field(description="about what it takes")
    reasons: tuple[str, ...] = Field(description="why these")
    assumed: tuple[str, ...] = Field(description="what nobody asked the machine, and what is taken for granted instead")


def driver_answer(rig: str, plan: DriverPlan) -> DriverAnswer:
    """The answer for one rig."""
    return DriverAnswer.of(
        plan,
        rig=rig,
        driver=DriverFacts.of(plan.driver),
        cuda=CudaFacts.of(plan.cuda),
        steps=tuple(StepFacts.of(step) for step in plan.steps),
        power=tuple(PowerFacts.of(one) for one in plan.power),
        problems=tuple(ProblemFacts.of(problem) for problem in plan.problems),
        refused_by=plan.refused,
    )
