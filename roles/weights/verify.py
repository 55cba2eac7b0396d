"""The weights: is each file there, whole, and the one that was asked for?"""

from __future__ import annotations

import hashlib
import re

import pytest

from rigwright.verify.subject import ServiceUnderTest

# Hashing 40 GB takes minutes; above this size the file's magic and size must do.
_HASHED_BYTES = 2 << 30
_HASH_SECONDS = 300
_NAMED = re.compile(r"^# weights ([0-9a-f]{64}) (/.*)$", re.MULTILINE)
_OF_SEVERAL = re.compile(r"(?P<start>.*)-00001-of-(?P<count>\d{5})\.gguf")


def _directory(served: ServiceUnderTest) -> str:
    """The directory of a whole repository that the process was given; empty where it was given a file."""
    given = served.given_model
    return given if given and served.host.file(given).is_directory else ""


def _model(served: ServiceUnderTest) -> list[str]:
    """The model file that the process was given, and its further parts."""
    if not served.given_model:
        pytest.skip("this engine is not given one file")
    return _parts(served.given_model)


def _parts(path: str) -> list[str]:
    """A file, and where it is the first of several the others."""
    parts = _OF_SEVERAL.fullmatch(path)
    if not parts:
        return [path]
    count = int(parts["count"])
    return [f"{parts['start']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]


def _files(served: ServiceUnderTest) -> list[str]:
    """All files that were brought for it: the model, its further parts, a projector, and a model that drafts for it."""
    files = _model(served)
    # A projector that the inventory's flags name is the owner's own.
    if "--mmproj" in served.argv and "--mmproj" not in served.wish.flags:
        files.append(served.flag("--mmproj"))
    if served.wish.draft_model and "--spec-draft-model" in served.argv:
        files += _parts(served.flag("--spec-draft-model"))
    return files


def _mark(sums: list[str]) -> str:
    """What the environment says of the contents: the first digits of the sum of one file, or of those of several."""
    return (hashlib.sha256("\n".join(sums).encode()).hexdigest() if sums[1:] else sums[0])[:16]


def _stamp(served: ServiceUnderTest, path: str) -> list[str] | None:
    """What was noted of a file when it was checked: sum, size, time, origin; None for a file that we did not bring."""
    directory, _, name = path.rpartition("/")
    done = served.host.run("cat -- %s", f"{directory}/.{name}.rigwright")
    return done.stdout.split() if done.rc == 0 else None


def _is_whole(served: ServiceUnderTest, path: str) -> list[str]:
    """Hold a file against its stamp; the stamp."""
    stamp = _stamp(served, path)
    assert stamp, f"{path} has no stamp"
    sha256, size, _, origin = stamp
    found = served.host.check_output("head -c 4 -- %s; stat -L -c '|%%s|%%U|%%A' -- %s", path, path)
    magic, size_now, owner, rights = found.rsplit("|", 3)
    assert (magic, size_now) == ("GGUF", size)
    # What was found on the rig is somebody's own.
    assert origin == "found" or (owner, rights[5], rights[8]) == ("root", "-", "-")
    if int(size) < _HASHED_BYTES:
        said = served.host.check_output("sha256sum <%s", path, limit_seconds=_HASH_SECONDS)
        assert said.split()[0] == sha256
    return stamp


def _check_whole(served: ServiceUnderTest, directory: str) -> None:
    """Its directory holds the files that the unit names and no other, each whole; the process has these contents."""
    unit = served.host.check_output("cat -- %s", served.unit_file)
    named = {path: sha256 for sha256, path in _NAMED.findall(unit)}
    assert f"RIGWRIGHT_WEIGHTS={_mark([*named.values()])}" in served.environment
    rows = served.host.check_output("cd -- %s && stat -Lc '%%s|%%Y|%%U|%%A|%%n' -- *", directory).splitlines()
    found = {name: row for *row, name in (line.split("|", 4) for line in rows)}
    assert {f"{directory}/{name}" for name in found} == named.keys()
    stamps = served.host.check_output("cd -- %s && grep -H . .*.rigwright", directory).splitlines()
    noted = {line.partition(".rigwright:")[0][1:]: line.partition(".rigwright:")[2].split() for line in stamps}
    for name, (size, time, owner, rights) in found.items():
        sha256, *state, origin = noted.get(name, ["", ""])
        assert (sha256, state) == (named[f"{directory}/{name}"], [size, time]), f"{name} is not as it was brought"
        assert origin == "found" or (owner, rights[5], rights[8]) == ("root", "-", "-")
    small = [name for name, (size, *_) in found.items() if int(size) < _HASHED_BYTES // len(found)]
    said = served.host.check_output(
        "cd -- %s && printf '%%s\\n' %s | xargs sha256sum", directory, " ".join(small), limit_seconds=_HASH_SECONDS
    )
    assert {name: total for total, name in map(str.split, said.splitlines())} == {one: noted[one][0] for one in small}


def test_model_file_is_the_planned_one(served: ServiceUnderTest) -> None:
    """It is a GGUF file with its recorded sum, and the process was started with this content and that of the others."""
    if directory := _directory(served):
        _check_whole(served, directory)
        return
    stamp = _is_whole(served, _model(served)[0])
    assert served.wish.model.sha256 in (None, stamp[0])
    stamps = [_stamp(served, path) for path in _files(served)]
    # One that is missing fails the next check.
    if sums := [one[0] for one in stamps if one]:
        assert len(sums) < len(stamps) or f"RIGWRIGHT_WEIGHTS={_mark(sums)}" in served.environment


def test_further_files_are_whole(served: ServiceUnderTest) -> None:
    """The other parts of a model, and the projector of one that sees, are what was brought."""
    if _directory(served):
        pytest.skip("the files of a whole repository are checked together")
    files = _files(served)[1:]
    if not files:
        pytest.skip("this model is one file")
    for path in files:
        _is_whole(served, path)


def test_no_download_is_left_over(served: ServiceUnderTest) -> None:
    """No half of a file lies beside it."""
    directory = _directory(served)
    if directory:
        assert served.host.check_output("cd -- %s && ls -A | grep -c '[.]part$' || :", directory) == "0"
        return
    for path in _files(served):
        assert not served.host.file(f"{path}.part").exists
