"""LM Studio on the rigs of an inventory: `from rigwright.roles.lmstudio.deploy import deploy`."""

from __future__ import annotations

from pydantic import ValidationError
from pyinfra.api.deploy import deploy as as_deploy
from pyinfra.api.exceptions import PyinfraError

from rigwright.errors import WrongSpec
from rigwright.roles.base.failures import close_with_failures
from rigwright.roles.base.pyinfra_private import current_host
from rigwright.roles.lmstudio.operations import serve
from rigwright.roles.lmstudio.settings import LmStudioSettings


class WrongInventory(WrongSpec, PyinfraError):
    """What stops a run before any rig is touched, in the form that pyinfra prints as a line."""


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
        first = error.errors(include_url=False)[0]
        path = ".".join(map(str, ("lmstudio", *first["loc"])))
        raise WrongInventory(f"{where}: {path}: {first['msg'].removeprefix('Value error, ')}") from None
