"""Checks of the base: is the builder there, and does it own nothing that services trust?"""

from __future__ import annotations

import pytest

from rigwright.verify.subject import RigUnderTest

# What the builder and downloads write themselves; model files may be somebody's own, and have a check of theirs.
_NOT_ROOTS = ("/var/lib/rigwright/ccache", "/var/lib/rigwright/build/*/tree", "/var/lib/rigwright/weights/?*")


def test_builder_cannot_log_in(rig: RigUnderTest) -> None:
    """The account that builds and downloads has no shell."""
    assert rig.host.user("rigwright").shell == "/usr/sbin/nologin"


def test_installed_files_belong_to_root(rig: RigUnderTest) -> None:
    """Nothing that a service runs or is started from can be changed by anyone but root."""
    spared = [word for path in _NOT_ROOTS for word in ("-path", path, "-prune", "-o")]
    places = "/opt/rigwright /etc/rigwright /var/lib/rigwright /etc/systemd/system/rigwright-*"
    command = f'for at in {places}; do [ ! -e "$at" ] || find -H "$at" {"%s " * len(spared)}'
    command += r"\( ! -user root -o ! -type l -perm /022 \) -print; done"
    assert rig.host.check_output(command, *spared) == ""


def test_package_manager_is_whole(rig: RigUnderTest) -> None:
    """No package was left half-installed."""
    if not rig.host.exists("dpkg"):
        pytest.skip("this rig's package manager leaves nothing half-installed")
    assert rig.host.check_output("dpkg --audit") == ""
