"""Have a model file on rigs and nothing else: pyinfra INVENTORY tests/lab/weights_deploy.py

What `rig.services` names by its address and its sum; no header is read, no service is made.
"""

from pyinfra.api.deploy import deploy

from rigwright.roles.base.facts import rig_state
from rigwright.roles.base.operations import base_probe
from rigwright.roles.base.pyinfra_private import current_host
from rigwright.roles.weights import chain
from rigwright.roles.weights.facts import weights_probe
from rigwright.roles.weights.operations import weights
from rigwright.spec.rig import parse_spec
from rigwright.weights.local import LocalModel, weights_path


@deploy("Weights")
def have_weights() -> None:
    """One operation for each file, as the deploy of a service has it."""
    host = current_host()
    spec = parse_spec(host.name, host.data.rig)
    sources = [wish.model for wish in spec.services]
    files = [(weights_path(one, spec.weights), LocalModel(one, None, one.sha256, None, one.url)) for one in sources]
    paths = tuple(path for path, _ in files)
    probe = base_probe() | weights_probe(paths, spec.weights.directory) | chain.address_probe(spec.weights)
    rig = rig_state(probe)
    chain.join(host, rig, files, spec.weights)
    for path, file in host.loop(files):
        weights(files=((path, file),), settings=spec.weights, probe=probe, name=f"Bring {file.source.file_name}")


have_weights()
