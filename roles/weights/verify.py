"""The weights: is each file there, whole, and the one that was asked for?"""

from __future__ import annotations

import pytest

from rigwright.verify.subject import ServiceUnderTest

# Hashing 40 GB takes minutes; above this size the file's magic and size must do.
_HASHED_BYTES = 2 << 30


def _path(served: ServiceUnderTest) -> str:
    """The model file that the process was given."""
    if "--model" not in served.argv:
        pytest.skip("this engine is not given one file")
    return served.flag("--model")


def test_model_file_is_the_planned_one(served: ServiceUnderTest) -> None:
    """The file that the process has open is a GGUF file with the sum that was recorded for it."""
    path = _path(served)
    file = served.host.file(path)
    assert served.host.check_output("head -c 4 -- %s", path) == "GGUF"
    directory, _, name = path.rpartition("/")
    sha256, size, _ = served.host.file(f"{directory}/.{name}.rigwright").content_string.split()[:3]
    assert file.size == int(size)
    assert served.wish.model.sha256 in (None, sha256)
    assert f"RIGWRIGHT_WEIGHTS={sha256[:16]}" in served.environment
    if file.size < _HASHED_BYTES:
        assert file.sha256sum == sha256


def test_no_download_is_left_over(served: ServiceUnderTest) -> None:
    """No half of a file lies beside it."""
    assert not served.host.file(_path(served) + ".part").exists
