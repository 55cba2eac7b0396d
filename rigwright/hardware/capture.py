"""A machine from the outputs of its commands: file name -> text, as recorded in a folder or collected over SSH.

Which parsers read a file is decided by what is in it; its name decides only where the content does not. A name with
`load` in it was recorded under load.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from textwrap import dedent

from rigwright.errors import UnreadableRecording
from rigwright.hardware import dressing
from rigwright.hardware.findings import findings
from rigwright.hardware.formats import has_format, is_answer, recognise
from rigwright.hardware.merge import merge
from rigwright.hardware.reading import is_empty, known_values
from rigwright.hardware.software_formats import SOFTWARE
from rigwright.hardware.statements import Precedence, Source
from rigwright.hardware.values import Hardware
from rigwright.shown import few

# No output that we read is larger; a file that is, is not one of ours.
LARGEST_BYTES = 4 << 20
MOST_FILES = 200
_LOG_CHARACTERS, _LINE_CHARACTERS = 1 << 20, 1000
# Looked into where a folder has no output of its own.
_FEW = 8
_LOAD = re.compile(r"(?:^|[-_.])load", re.IGNORECASE)
# These files describe a capture; none is the output of a command that we read.
_NOT_READ = re.compile(
    r"^(?:meta|commands)\.json$|^commands?\.txt$|^(?:rc|load)\.txt$|^readme\b|^license\b", re.IGNORECASE
)


def read_files(files: Mapping[str, str]) -> Hardware:
    """The machine that gave these outputs. Never raises on their content; what is not understood is named."""
    read = {name: files[name] for name in sorted(files) if not _NOT_READ.search(name)}
    asked = {name: text for name, text in read.items() if text.strip() or is_answer(name)}
    by_file = {name: _best(name, text) for name, text in asked.items()}
    sources = [source for found in by_file.values() for source in found]
    hardware = replace(merge(sources), not_read=tuple(_not_read(by_file)))
    return findings(hardware, sources)


def _not_read(by_file: Mapping[str, Sequence[Source]]) -> Iterator[str]:
    """The files that nothing was understood of, and of the others the parts: `topo.txt (network adapters)`."""
    for name, sources in by_file.items():
        parts = list(dict.fromkeys(part for source in sources for part in source.reading.unread))
        if all(is_empty(source.reading) for source in sources):
            yield name
        elif parts:
            yield f"{name} ({', '.join(parts)})"


def _best(name: str, text: str) -> list[Source]:
    """What a file says; where that leaves something open, in the dressing in which it says most."""
    if len(text) > LARGEST_BYTES:
        return []
    text = dressing.plain(text)
    best = list(_sources(name, text))
    if _is_clear(best) and not dressing.is_dressed(text):
        return best
    # What stands in another pane reads as part of the last cell of each line.
    most = _said(best) if not any(dressing.panes(text)) else 0
    for version in dressing.versions(text):
        # An error is told whatever stands around it, and a name alone makes no dressing right.
        found = list(_sources(name, version)) if has_format(version) else []
        if (said := _said(found)) > most:
            best, most = found, said
    return best


def _said(sources: Sequence[Source]) -> int:
    return sum(known_values(source.reading) for source in sources)


def _is_clear(sources: Sequence[Source]) -> bool:
    """Whether each format in a file was read, and each list to its end."""
    readings = [source.reading for source in sources]
    return bool(readings) and not any(
        is_empty(reading) or reading.unread or (reading.is_driver_list and not reading.is_whole) for reading in readings
    )


def read_folder(folder: Path) -> Hardware:
    """A recorded machine.

    Raises:
        UnreadableRecording: the folder is not there, or holds nothing that we can read.
    """
    if not folder.is_dir():
        raise UnreadableRecording(f"{folder}: no such folder; name a folder of recorded outputs")
    try:
        files = folder_files(folder)
        hardware = read_files(files)
        unread = tuple(name for name in _names(folder) if name not in files and not _NOT_READ.search(name))
        hardware = replace(hardware, not_read=(*hardware.not_read, *unread))
    except OSError as error:
        says = f"{error.filename or folder}: cannot be read: {error.strerror}"
        raise UnreadableRecording(f"{says}; let this user read it") from None
    if not hardware.sources:
        if within := _recording_within(folder):
            raise UnreadableRecording(f"{folder}: holds recordings in folders of their own; name one, like {within}")
        those = f" (not read: {few(hardware.not_read)})" if hardware.not_read else ""
        raise UnreadableRecording(
            f"{folder}: holds no output that rigwright can read{those}; docs/hardware.md names the files"
        )
    return hardware


def _recording_within(folder: Path) -> Path | None:
    """The first folder of a folder that is a recording, of the first few that it has."""
    below = (path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink())
    for path in islice(below, _FEW):
        with suppress(OSError, UnreadableRecording):
            if read_files(folder_files(path)).sources:
                return path
    return None


def _names(folder: Path) -> list[str]:
    """What is in a folder, folders with a slash; hidden files are not of a recording."""
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [f"{path.name}/" if path.is_dir() else path.name for path in found]


def folder_files(folder: Path) -> dict[str, str]:
    """The texts of a folder by file name; what is no text is read as far as it is one.

    A CSV may lack its header: a `command.txt` that holds the query is put before it.
    """
    paths = sorted(islice(folder.iterdir(), MOST_FILES + 1))
    if len(paths) > MOST_FILES:
        raise UnreadableRecording(f"{folder}: holds more than {MOST_FILES} files; name a folder of recorded outputs")
    texts = {path.name: _text(raw) for path in paths if (raw := plain_bytes(path)) is not None}
    asked = next((line for line in texts.get("command.txt", "").splitlines() if "--query-gpu=" in line), None)
    queries = {name: f"{asked}\n{text}" for name, text in texts.items() if asked and name.endswith(".csv")}
    return {name: text for name, text in (texts | queries).items() if not _NOT_READ.search(name)}


def plain_bytes(path: Path) -> bytes | None:
    """What a file of a recording holds; None where it is none, or is larger than any.

    A link would read another file than the recording's, a pipe keeps its reader waiting, and what /proc has tells no
    size and may never end.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        return None
    # Looked at again once it is open: it may have become something else meanwhile.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        raw = file.read(LARGEST_BYTES + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    return raw if len(raw) <= LARGEST_BYTES else None


def _text(raw: bytes) -> str:
    is_wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff")  # PowerShell's `>` writes UTF-16
    return raw.decode("utf-16" if is_wide else "utf-8", "replace")


def _rows(text: str) -> str:
    """A text as lists and logs are read: without the blanks that all lines begin with, none of endless length."""
    if len(text) > _LOG_CHARACTERS:  # a log begins with what was asked and ends with what failed
        text = text[: _LOG_CHARACTERS // 4] + "\n" + text[-_LOG_CHARACTERS * 3 // 4 :]
    return "\n".join(line[:_LINE_CHARACTERS] for line in dedent(text).split("\n"))


def _sources(name: str, text: str) -> Iterator[Source]:
    """What a file says: by its own format, and by the errors that nvidia-smi prints in place of or between its rows."""
    forms = recognise(name, text)
    is_whole = True
    if not forms or any(form.source.startswith("nvidia_") for form in forms):
        from rigwright.hardware.sources import nvidia_said  # many patterns, needed for a machine with GPUs alone

        said = nvidia_said.read(text)
        is_whole = said.is_whole
        if said.problems or said.gpus:
            yield Source(name, said, Precedence.ERRORS)
    for form in forms:
        # A matrix may begin at its indentation, a list of packages does not.
        reading = form.read(_rows(text) if form in SOFTWARE else text)
        if not is_whole and form.source.startswith("nvidia_"):
            reading = replace(reading, is_whole=False)  # an error stands where a GPU should
        yield Source(name, reading, form.precedence, under_load=bool(_LOAD.search(name)))
