"""Have a toolkit on rigs and nothing else: pyinfra INVENTORY tests/lab/toolkit_deploy.py --data targets=86,120

What `rig.cuda` says, as a driver plan would have it.
"""

from pyinfra.api.deploy import deploy

from rigwright.plan.driver import Cuda
from rigwright.plan.driver.packages import toolkit_packages
from rigwright.roles.base.facts import rig_state
from rigwright.roles.base.pyinfra_private import current_host
from rigwright.roles.cuda.operations import bring_toolkit, cuda_probe


@deploy("Toolkit")
def have_toolkit() -> None:
    """One operation for the packages, one for the toolkit."""
    host, probe = current_host(), cuda_probe()
    rig, wanted = rig_state(probe), host.data.rig["cuda"]
    packages = toolkit_packages(wanted["source"], wanted["version"])
    targets = tuple(str(host.data.targets).split(","))
    bring_toolkit(Cuda(wanted["version"], wanted["source"], packages, targets), rig.hardware, probe)


have_toolkit()
