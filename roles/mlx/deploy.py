"""MLX on the Macs of an inventory: `from rigwright.roles.mlx.deploy import deploy`."""

from __future__ import annotations

from pydantic import ValidationError
from pyinfra.api.deploy import deploy as as_deploy

from rigwright.errors import WrongSpec
from rigwright.roles.base.failures import WrongInventory, close_with_failures
from rigwright.roles.base.pyinfra_private import current_host
from rigwright.roles.mlx.daemon import arguments, label
from rigwright.roles.mlx.operations import daemon
from rigwright.roles.mlx.settings import MlxSettings
from rigwright.spec.rig import explained


def deploy() -> None:
    """Serve what the data `mlx` of each host says.

    Raises:
        WrongInventory: before any Mac is touched.
    """
    _deploy()


@as_deploy("MLX")
def _deploy() -> None:
    host = current_host()
    close_with_failures(host.state)
    settings = settings_of(host.name, host.data.get("mlx"))
    labels = [label(service) for service in settings.services]
    for service in settings.services:
        daemon(service=service, labels=labels, python=settings.python, name=f"Serve {service.name}")


def settings_of(where: str, data: object) -> MlxSettings:
    """The data, checked.

    Raises:
        WrongInventory: naming the key and what to write.
    """
    try:
        settings = MlxSettings.model_validate(data if data is not None else {})
        for service in settings.services:
            arguments(service, "")
    except ValidationError as error:
        raise WrongInventory(explained(error, where, "mlx", MlxSettings).message) from None
    except WrongSpec as error:
        raise WrongInventory(f"{where}: {error}") from None
    return settings
