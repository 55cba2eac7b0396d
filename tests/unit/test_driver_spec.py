"""The keys of `rig.nvidia` with right and wrong values: each wrong one is one clear line, none of them a secret."""

from __future__ import annotations

from typing import Any

import pytest

from rigwright.errors import WrongSpec
from rigwright.spec.driver import NvidiaSettings
from rigwright.spec.rig import parse_spec

FINGERPRINT = "EB693B3035CD5710E231E123A4B469963BF863CC"


def settings(**nvidia: Any) -> NvidiaSettings:
    """What the inventory says, checked."""
    return parse_spec("rig1", {"nvidia": nvidia, "services": []}).nvidia


def test_what_nobody_says():
    """Nothing is rebooted, and NVIDIA's own repository and key are taken."""
    found = settings()
    assert (found.reboot, found.reboot_timeout_seconds, found.repository, found.key) == ("report", 600, "", "")
    assert found.hold and not found.replace_runfile


RIGHT = [
    ("reboot", "never", "never"),
    ("reboot", "auto", "auto"),
    ("reboot_timeout_seconds", 30, 30),
    ("reboot_timeout_seconds", 3600, 3600),
    ("repository", "https://mirror.example/compute/cuda/repos", "https://mirror.example/compute/cuda/repos"),
    ("repository", "http://10.0.0.1:8080/nvidia/", "http://10.0.0.1:8080/nvidia"),
    ("repository", "http://[fd00::1]:8080/x", "http://[fd00::1]:8080/x"),
    ("key", FINGERPRINT, FINGERPRINT),
    ("key", FINGERPRINT.lower(), FINGERPRINT),
    ("key", "EB69 3B30 35CD 5710 E231  E123 A4B4 6996 3BF8 63CC", FINGERPRINT),
    ("key", "", ""),
]


@pytest.mark.parametrize(("key", "value", "expected"), RIGHT)
def test_right_value(key, value, expected):
    """As people write it."""
    assert getattr(settings(**{key: value}), key) == expected


WRONG = [
    ("reboot", "yes"),
    ("reboot", True),
    ("reboot", None),
    ("reboot", "Auto "),
    ("reboot_timeout_seconds", 0),
    ("reboot_timeout_seconds", -1),
    ("reboot_timeout_seconds", "long"),
    ("reboot_timeout_seconds", 1e400),
    ("reboot_timeout_seconds", None),
    ("repository", "ftp://mirror/x"),
    ("repository", "mirror.example/x"),
    ("repository", "https://mirror/a b"),
    ("repository", "https://mirror/x\nTypes: deb"),
    ("repository", "https://mirror/'$(id)'"),
    ("repository", "https://"),
    ("repository", "https:///x"),
    ("repository", "https://mirror/a]b"),
    ("repository", "https://mirror/x?token=1"),
    ("repository", "file:///srv/x"),
    ("repository", 7),
    ("repository", None),
    ("repository", ["https://mirror/x"]),
    ("key", "3BF863CC"),
    ("key", FINGERPRINT[:-1]),
    ("key", f"{FINGERPRINT}0"),
    ("key", "G" * 40),
    ("key", f"0x{FINGERPRINT}"),
    ("key", None),
    ("key", 7),
    ("key", {"a": 1}),
    ("holdd", True),
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_wrong_value_is_one_line(key, value):
    """Where it stands, and what is wrong with it."""
    with pytest.raises(WrongSpec) as error:
        settings(**{key: value})
    (line,) = error.value.message.splitlines()
    assert line.startswith(f"rig1: rig.nvidia.{key}: ") and len(line) < 400
    assert "pattern" not in line


def test_password_in_an_address_is_refused_and_not_shown():
    """apt keeps it in a file of its own, for root alone; what is written here everybody may read."""
    with pytest.raises(WrongSpec) as error:
        settings(repository="https://ada:s3cret@mirror.example/compute/cuda/repos")
    assert "s3cret" not in error.value.message and "/etc/apt/auth.conf.d" in error.value.message
