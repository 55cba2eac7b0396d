"""The wheel, not the tree: installed into an empty environment, used from another directory."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[2]


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in an environment that knows nothing of the checkout."""
    plain = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(command, cwd=cwd, env=plain | environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release is built."""
    target = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(target), str(ROOT), cwd=target)
    assert done.returncode == 0, done.stderr
    return next(target.glob("rigwright-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment with nothing but the wheel and what it declares."""
    home = tmp_path_factory.mktemp("user")
    assert run(sys.executable, "-m", "venv", "venv", cwd=home).returncode == 0
    done = run(str(home / "venv/bin/pip"), "install", "-q", f"{wheel}[verify]", cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "venv" / "bin"


def test_wheel_holds_roles_templates_and_data_once(wheel):
    """Roles and templates are inside the package, no top-level module but rigwright, no file twice."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"rigwright"}
    for wanted in ("roles/llamacpp/switch.sh", "templates/llamacpp.service.j2", "catalogue/engines.yml", "py.typed", "lab/stand_in.sh"):
        assert f"rigwright/{wanted}" in names
    assert len(names) == len(set(names))


def test_commands_work_outside_of_the_checkout(installed, tmp_path):
    """--help is there, and fast enough to be typed without thinking."""
    done = run(str(installed / "rigwright"), "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "verify" in done.stdout


def test_own_inventory_and_three_lines_of_deploy(installed, tmp_path):
    """A user's own directory: their inventory, a three-line deploy, and their mistake named."""
    (tmp_path / "rig.py").write_text("rigs = [('@local', {'rig': {'services': [{'name': 'a', 'model': 'none.gguf'}]}})]\n")
    (tmp_path / "go.py").write_text("from rigwright.roles.llamacpp.deploy import deploy\n\ndeploy()\n")
    done = run(str(installed / "pyinfra"), "-y", "rig.py", "go.py", cwd=tmp_path, PYINFRA_PROGRESS="off")
    assert done.returncode == 1
    assert "@local: rig.services.0.model: none.gguf: does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_import_does_not_shadow_a_roles_package_of_the_user(installed, tmp_path):
    """The user's own `roles` stays theirs."""
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles" / "__init__.py").write_text("MINE = True\n")
    code = "import roles, rigwright.roles.llamacpp.unit; assert roles.MINE"
    assert run(str(installed / "python"), "-c", code, cwd=tmp_path).returncode == 0


@pytest.mark.lab
def test_wheel_deploys_and_verifies_a_rig(installed, workshop, trixie, tmp_path):
    """From the wheel alone, in a directory of the user's own: deploy and verify."""
    name = workshop.boot("wheel", from_snapshot=trixie.snapshot)
    try:
        inventory = workshop.inventory(workshop.spec(context=1024), name)
        (tmp_path / "inventory.py").write_text(inventory.read_text())
        (tmp_path / "go.py").write_text("from rigwright.roles.llamacpp.deploy import deploy\n\ndeploy()\n")
        environment = {"RIGWRIGHT_LAB": "t-deploy", "PYINFRA_PROGRESS": "off"}
        done = run(str(installed / "pyinfra"), "-y", "inventory.py", "go.py", cwd=tmp_path, **environment)
        assert done.returncode == 0, done.stderr
        done = run(str(installed / "rigwright"), "verify", "inventory.py", cwd=tmp_path, **environment)
        assert done.returncode == 0, done.stdout
    finally:
        workshop.lab.down([name])
