"""deploys/remove.py gives the rig back as it was before the first deploy."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.lab

TRACES = (
    "dpkg-query -W -f='${Package}\\n'; getent passwd; getent group; ls -A /opt /etc /etc/systemd/system"
    " /etc/systemd/system/multi-user.target.wants; ls -A /var/lib | grep rigwright;"
    " ls -A /var/cache/private 2>/dev/null;"
    " systemctl list-units --all --plain --no-legend 'rigwright*'"
)


def test_removal_leaves_the_rig_as_it_was(workshop):
    """Packages, accounts, units, files: the same before the deploy and after the removal."""
    rig = workshop.boot("guest")
    try:
        before = workshop.on(rig, TRACES, check=False)
        assert workshop.deploy(workshop.spec(), rig).code == 0
        workshop.on(rig, "touch /var/lib/rigwright/weights/not-ours")
        removed = workshop.deploy(
            workshop.spec(), rig, deploy="remove", arguments=("-y", "--data", "remove_weights=true")
        )
        assert removed.code == 0, removed.output
        assert workshop.on(rig, "find /var/lib/rigwright -type f") == "/var/lib/rigwright/weights/not-ours"
        workshop.on(rig, "rm -r /var/lib/rigwright")
        assert _differences(before, workshop.on(rig, TRACES, check=False)) == []
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


def _differences(before, after):
    """Lines that only one side has; caches that apt itself made stay out of it."""
    first, second = set(before.splitlines()), set(after.splitlines())
    return sorted(first ^ second)
