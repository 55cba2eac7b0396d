"""The packages of the distribution that a toolkit wants."""

from __future__ import annotations

from rigwright.hardware import Hardware
from rigwright.plan.driver import Cuda
from rigwright.roles.base.packages import package_names


def package_needs(cuda: Cuda, hardware: Hardware) -> tuple[str, ...]:
    """Packages of the distribution: the toolkit where it is made of them, and a compiler for what runs on the CPU.

    That of Debian has one of its own for this, and asks the `gcc` of the system all the same (11.8, 12.4: run).
    """
    compiler = package_names("cuda", hardware) or ()
    packaged = cuda.packages if cuda.source != "pypi" and not cuda.path else ()
    return (*packaged, *compiler)
