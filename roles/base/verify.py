"""Checks of the base: is the builder there, and does it own nothing that services trust?"""

from __future__ import annotations

import pytest

from rigwright.verify.subject import RigUnderTest


def test_builder_cannot_log_in(rig: RigUnderTest) -> None:
    """The account that builds and downloads has no shell."""
    assert rig.host.user("rigwright").shell == "/usr/sbin/nologin"


def test_installed_files_belong_to_root(rig: RigUnderTest) -> None:
    """Nothing that a service runs can be changed by anyone but root."""
    assert rig.host.check_output("find /opt/rigwright /etc/rigwright ! -user root -o ! -type l -perm /022") == ""


def test_package_manager_is_whole(rig: RigUnderTest) -> None:
    """No package was left half-installed."""
    if not rig.host.exists("dpkg"):
        pytest.skip("this rig's package manager leaves nothing half-installed")
    assert rig.host.check_output("dpkg --audit") == ""
