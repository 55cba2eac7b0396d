"""The wheel alone, in a directory of the user's own, against a real rig."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.lab


def test_wheel_deploys_and_verifies_a_rig(installed, plainly, workshop, trixie, tmp_path):
    """From the wheel alone, in a directory of the user's own: deploy and verify."""
    name = workshop.boot("wheel", from_snapshot=trixie.snapshot)
    try:
        inventory = workshop.inventory(workshop.spec(context=1024), name)
        (tmp_path / "inventory.py").write_text(inventory.read_text())
        (tmp_path / "go.py").write_text("from rigwright.roles.llamacpp.deploy import deploy\n\ndeploy()\n")
        environment = {"RIGWRIGHT_LAB": workshop.lab.name, "PYINFRA_PROGRESS": "off"}
        done = plainly(str(installed / "pyinfra"), "-y", "inventory.py", "go.py", cwd=tmp_path, **environment)
        assert done.returncode == 0, done.stderr
        done = plainly(str(installed / "rigwright"), "verify", "inventory.py", cwd=tmp_path, **environment)
        assert done.returncode == 0, done.stdout
    finally:
        workshop.lab.down([name])
