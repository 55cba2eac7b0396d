"""A branch of a hub that moves on: the next deploy says so, and how to have the new file."""

from __future__ import annotations

import hashlib

from rigwright.weights.hub import HubFacts

from .machine import Machine
from .test_deploy_order import rig, run  # noqa: F401  # a fixture
from .test_hub_protocol import COMMIT, data, hub, user  # noqa: F401  # fixtures

NAME = "m-Q4_K_M.gguf"


def test_file_that_moved_on_the_hub_is_told_and_stays(run, hub, data):  # noqa: F811
    """A converged run asks as much as ever; one that moved a request more. Its commit brings it, its sum keeps this."""

    def deploy(model: object = f"hf:org/open:{NAME}"):
        before = len(hub.asked)
        done = run(rig({"name": "chat", "model": model}, machine=machine, weights={"hugging_face": hub.address}))
        assert not done.failed, done.lines()
        said = [line for line in done.lines() if "by now" in line]
        return done.changed(), said, [command for command, *_ in hub.asked[before:]]

    machine = Machine()
    changed, said, _ = deploy()
    assert f"Bring {NAME}" in changed and said == []
    assert deploy() == ([], [], ["HEAD"])
    old, new = (hashlib.sha256(one).hexdigest() for one in (data, data + bytes(64)))
    hub.files["org/open"] = {NAME: data + bytes(64)}
    changed, said, _ = deploy()
    assert changed == [] and said == [
        f"the hub has another {NAME} at main by now, sha256 {new[:12]}; {old[:12]} stays here: to take that one name "
        f"it hf:org/open@{COMMIT}:{NAME}; to keep this one say sha256: {old}"
    ]
    assert deploy() == ([], said, ["HEAD", "HEAD"])
    wanted = {"repo": "org/open", "file": NAME, "sha256": old}
    changed, silence, _ = deploy(wanted)
    assert silence == [] and f"Bring {NAME}" not in changed
    changed, silence, _ = deploy(f"hf:org/open@{COMMIT}:{NAME}")
    assert silence == [] and f"Bring {NAME}" in changed
    assert deploy(f"hf:org/open@{COMMIT}:{NAME}")[:2] == ([], [])


def test_what_an_earlier_run_was_told_is_not_news(run, hub, data, monkeypatch):  # noqa: F811
    """Another machine deployed meanwhile, and the hub is silent today: nothing is said that nobody knows."""
    machine = Machine()
    wanted = rig(
        {"name": "chat", "model": f"hf:org/open:{NAME}"}, machine=machine, weights={"hugging_face": hub.address}
    )
    run(wanted)
    stamp = f"/var/lib/rigwright/weights/org--open/.{NAME}.rigwright"
    machine.files[stamp] = " ".join(["ee" * 32, *machine.files[stamp].split()[1:]])
    assert any("by now" in line for line in run(wanted).lines())
    with monkeypatch.context() as patch:
        for module in ("remote", "lookup"):
            patch.setattr(f"rigwright.weights.{module}.hub_facts", lambda url, hub: HubFacts())
        assert not any("by now" in line for line in run(wanted).lines())
    # A file of the owner's own is nobody's to compare.
    machine.files[stamp] = " ".join([*machine.files[stamp].split()[:3], "found"])
    assert not any("by now" in line for line in run(wanted).lines())
