"""LM Studio on the rigs of an inventory: `from rigwright.roles.lmstudio.deploy import deploy`."""

from __future__ import annotations

from pydantic import ValidationError
from pyinfra.api.deploy import deploy as as_deploy

from rigwright.roles.base.failures import WrongInventory, close_with_failures
from rigwright.roles.base.pyinfra_private import current_host
from rigwright.roles.lmstudio.operations import serve
from rigwright.roles.lmstudio.settings import LmStudioSettings
from rigwright.spec.rig import explained


def deploy() -> None:
    """Serve what the data `lmstudio` of each host says.

    Raises:
        WrongInventory: before any rig is touched.
    """
    _deploy()


@as_deploy("LM Studio")
def _deploy() -> None:
    host = current_host()
    close_with_failures(host.state)
    serve(service=settings_of(host.name, host.data.get("lmstudio")), name="Serve with LM Studio")


def settings_of(where: str, data: object) -> LmStudioSettings:
    """The data, checked.

    Raises:
        WrongInventory: naming the key and what to write.
    """
    try:
        return LmStudioSettings.model_validate(data if data is not None else {})
    except ValidationError as error:
        raise WrongInventory(explained(error, where, "lmstudio", LmStudioSettings).message) from None
