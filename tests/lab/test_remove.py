"""deploys/remove.py gives the rig back as it was before the first deploy."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.lab


def test_removal_leaves_the_rig_as_it_was(workshop, trixie):
    """Packages, accounts, units, files: the same before the deploy and after the removal."""
    rig = workshop.boot("guest", from_snapshot=trixie.snapshot)
    try:
        assert len(workshop.traces(rig) - trixie.traces) > 20
        workshop.on(rig, "touch /var/lib/rigwright/weights/not-ours")
        removed = workshop.deploy(
            workshop.spec(), rig, deploy="remove", arguments=("-y", "--data", "remove_weights=true")
        )
        assert removed.code == 0, removed.output
        assert workshop.on(rig, "find /var/lib/rigwright -type f") == "/var/lib/rigwright/weights/not-ours"
        workshop.on(rig, "rm -r /var/lib/rigwright")
        assert sorted(workshop.traces(rig) ^ trixie.traces) == []
        again = workshop.deploy(workshop.spec(), rig, deploy="remove")
        assert "No changes" in again.output
    finally:
        workshop.lab.down([rig])


def test_removal_keeps_model_files_unless_told(workshop, serving):
    """Weights took hours to come; a unit that is not ours stays too."""
    workshop.on(serving, "printf '[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/rigwright-other.service")
    removed = workshop.deploy(
        workshop.spec(), serving, deploy="remove", arguments=("-y", "--data", "remove_packages=false")
    )
    assert removed.code == 0, removed.output
    assert workshop.on(serving, "ls /var/lib/rigwright/weights") == "tiny.gguf"
    assert workshop.on(serving, "ls /etc/systemd/system | grep rigwright") == "rigwright-other.service"
    workshop.on(serving, "rm /etc/systemd/system/rigwright-other.service")
    assert workshop.deploy(workshop.spec(), serving).code == 0
