"""The wheel, not the tree: installed into an empty environment, used from another directory."""

from __future__ import annotations

import zipfile

import pytest

pytestmark = pytest.mark.packaging


def test_wheel_holds_roles_templates_and_data_once(wheel):
    """Roles and templates are inside the package, no top-level module but rigwright, no file twice."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"rigwright"}
    for wanted in (
        "roles/service/switch.sh",
        "templates/llamacpp.service.j2",
        "catalogue/engines.yml",
        "py.typed",
        "lab/stand_in.sh",
    ):
        assert f"rigwright/{wanted}" in names
    assert len(names) == len(set(names))


def test_commands_work_outside_of_the_checkout(installed, plainly, tmp_path):
    """--help is there, and fast enough to be typed without thinking."""
    done = plainly(str(installed / "rigwright"), "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "verify" in done.stdout


def test_own_inventory_and_three_lines_of_deploy(installed, plainly, tmp_path):
    """A user's own directory: their inventory, a three-line deploy, and their mistake named."""
    (tmp_path / "rig.py").write_text(
        "rigs = [('@local', {'rig': {'services': [{'name': 'a', 'model': 'none.gguf'}]}})]\n"
    )
    (tmp_path / "go.py").write_text("from rigwright.roles.llamacpp.deploy import deploy\n\ndeploy()\n")
    done = plainly(str(installed / "pyinfra"), "-y", "rig.py", "go.py", cwd=tmp_path, PYINFRA_PROGRESS="off")
    assert done.returncode == 1
    assert "@local: rig.services.0.model: none.gguf: does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_import_does_not_shadow_a_roles_package_of_the_user(installed, plainly, tmp_path):
    """The user's own `roles` stays theirs."""
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles" / "__init__.py").write_text("MINE = True\n")
    code = "import roles, rigwright.roles.llamacpp.engine; assert roles.MINE"
    assert plainly(str(installed / "python"), "-c", code, cwd=tmp_path).returncode == 0
