"""Catalogues that are kept as parsed: read only while they fit their source, and never where others can write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rigwright import catalogue
from rigwright.catalogue import kept, of_file

ROWS = "one: {of: [1, 2.5, true, null, é]}\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue in a folder of its own, whose parser counts nothing but what it is asked."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    path = tmp_path / "some.yml"
    path.write_text(ROWS, "utf-8")
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    return path


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were parsed."""
    texts: list[str] = []
    plain = catalogue._parsed
    monkeypatch.setattr(catalogue, "_parsed", lambda text: texts.append(text) or plain(text))
    return texts


def place_of(source: Path) -> Path:
    """Where it is kept."""
    return source.parent / "__pycache__" / "some.yml.json"


def test_a_catalogue_is_parsed_once(source: Path, parsed: list[str]) -> None:
    """The second time it is taken as kept, and equal."""
    assert of_file(source) == of_file(source) == yaml.safe_load(ROWS)
    assert len(parsed) == 1
    assert place_of(source).stat().st_mode & 0o022 == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda source: source.write_text(ROWS.replace("2.5", "3.55")),
        lambda source: os.utime(source, ns=(1, 1)),
        lambda source: place_of(source).write_bytes(place_of(source).read_bytes().replace(b"2.5", b"2.6")),
        lambda source: place_of(source).write_bytes(place_of(source).read_bytes()[:-3]),
        lambda source: place_of(source).write_bytes(b"\xff\x00"),
        lambda source: place_of(source).write_bytes(b""),
        lambda source: place_of(source).unlink(),
        lambda source: place_of(source).chmod(0o666),
        lambda source: place_of(source).parent.chmod(0o777),
        lambda source: (
            place_of(source).rename(source.with_suffix(".x")) and place_of(source).symlink_to(source.with_suffix(".x"))
        ),
        lambda source: place_of(source).unlink() or place_of(source).mkdir(),
        lambda source: place_of(source).unlink() or os.mkfifo(place_of(source), 0o644),
    ],
    ids=[
        "size",
        "time",
        "one bit",
        "cut",
        "bytes",
        "empty",
        "gone",
        "others",
        "folder of others",
        "link",
        "folder",
        "pipe",
    ],
)
def test_what_does_not_fit_is_read_anew(source: Path, parsed: list[str], change) -> None:
    """Changed, damaged, or in a place where others could have written it."""
    of_file(source)
    change(source)
    assert of_file(source) == yaml.safe_load(source.read_text("utf-8"))
    assert len(parsed) == 2


def test_one_that_somebody_else_owns_is_not_taken(source: Path, parsed: list[str], monkeypatch) -> None:
    """Nor is one of a group that the catalogue is not of."""
    of_file(source)
    mine = place_of(source).stat()
    theirs = os.stat_result((*mine[:4], mine.st_uid + 1, *mine[5:]))
    assert kept._is_safe(mine, source.stat(), 0o100000)
    assert not kept._is_safe(theirs, source.stat(), 0o100000)
    group = os.stat_result((mine.st_mode | 0o020, *mine[1:5], mine.st_gid + 1, *mine[6:]))
    shared = os.stat_result((source.stat().st_mode | 0o020, *source.stat()[1:]))
    assert not kept._is_safe(group, shared, 0o100000)


def test_a_folder_that_is_not_writable_is_no_trouble(source: Path, parsed: list[str], monkeypatch) -> None:
    """It is parsed each time; so too where Python may not keep its own."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(kept.tempfile, "mkstemp", refuse)
    assert of_file(source) == of_file(source) == yaml.safe_load(ROWS)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    of_file(source)
    assert not place_of(source).exists()


def test_rows_that_json_would_change_are_not_kept(source: Path, parsed: list[str]) -> None:
    """A number as a key would come back as text."""
    source.write_text("1: one\n")
    assert of_file(source) == of_file(source) == {1: "one"}
    assert not place_of(source).exists()
    assert len(parsed) == 2


def test_each_catalogue_is_kept_as_it_is(tmp_path: Path) -> None:
    """All that a plan reads at its start, by a process whose Python keeps its files elsewhere, twice."""
    script = (
        "import sys; from rigwright.catalogue import load; from rigwright.catalogue.kept import held, _place;"
        "from pathlib import Path; import rigwright.catalogue as c; f = Path(c.__file__).parent;"
        "rows = {n: load(n) for n in ('models', 'gpus', 'quants', 'engines', 'known_issues', 'speed')};"
        "assert all(held(f / f'{n}.yml') == rows[n] for n in rows); print('yaml' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    first, second = (
        subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert (first.stdout, second.stdout) == ("True\n", "False\n")
