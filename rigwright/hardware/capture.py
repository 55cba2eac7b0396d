"""A machine from the outputs of its commands: file name -> text, as recorded in a folder or collected over SSH.

Which parsers read a file is decided by what is in it; its name decides only where the content does not. A name with
`load` in it was recorded under load.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from rigwright.errors import UnreadableRecording
from rigwright.hardware.findings import findings
from rigwright.hardware.formats import recognise
from rigwright.hardware.merge import merge
from rigwright.hardware.statements import Precedence, Source
from rigwright.hardware.values import Hardware

# No output that we read is larger; a file that is, is not one of ours.
LARGEST_BYTES = 4 << 20
MOST_FILES = 200
_LOAD = re.compile(r"(?:^|[-_.])load", re.IGNORECASE)
# These files describe a capture; none is the output of a command that we read.
_NOT_READ = re.compile(r"^(?:meta|commands)\.json$|^commands?\.txt$|^(?:rc|load)\.txt$|\.md$", re.IGNORECASE)


def read_files(files: Mapping[str, str]) -> Hardware:
    """The machine that gave these outputs. Never raises on their content; what is not understood is left out."""
    sources = [source for name in sorted(files) for source in _sources(name, files[name])]
    hardware = merge(sources)
    return findings(hardware, sources)


def read_folder(folder: Path) -> Hardware:
    """A recorded machine.

    Raises:
        UnreadableRecording: the folder is not there, or holds nothing that we can read.
    """
    if not folder.is_dir():
        raise UnreadableRecording(f"{folder}: no such folder; name a folder of recorded outputs")
    try:
        hardware = read_files(folder_files(folder))
    except OSError as error:
        says = f"{error.filename or folder}: cannot be read: {error.strerror}"
        raise UnreadableRecording(f"{says}; let this user read it") from None
    if not hardware.sources:
        raise UnreadableRecording(
            f"{folder}: holds no output that rigwright can read; docs/hardware.md names the files"
        )
    return hardware


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


def _sources(name: str, text: str) -> Iterator[Source]:
    """What a file says: by its own format, and by the errors that nvidia-smi prints in place of or between its rows."""
    if not text.strip() or len(text) > LARGEST_BYTES or _NOT_READ.search(name):
        return
    forms = recognise(name, text)
    is_whole = True
    if not forms or any(form.source.startswith("nvidia_") for form in forms):
        from rigwright.hardware.sources import nvidia_said  # many patterns, needed for a machine with GPUs alone

        said = nvidia_said.read(text)
        is_whole = said.is_whole
        if said.problems or said.gpus:
            yield Source(name, said, Precedence.ERRORS)
    for form in forms:
        reading = form.read(text)
        if not is_whole and form.source.startswith("nvidia_"):
            reading = replace(reading, is_whole=False)  # an error stands where a GPU should
        yield Source(name, reading, form.precedence, under_load=bool(_LOAD.search(name)))
