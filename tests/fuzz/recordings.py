"""Damage recorded outputs as terminals, pastes and broken machines do, and read them: no exception, no invented GPU.

    python tests/fuzz/recordings.py --count 100000

Each input is one capture of tests/captures with one to three mutations in each of its files. `--seed N --count 1`
repeats the input that a failure names.
"""

from __future__ import annotations

import html
import json
import random
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from runner import Fuzz, main

from rigwright.hardware import Hardware
from rigwright.hardware.capture import folder_files, read_files
from rigwright.view.answers.hardware import hardware_answer

CAPTURES = Path(__file__).parents[1] / "captures"
CASES = Path(__file__).parents[1] / "facts" / "cases.json"
SOFTWARE = Path(__file__).parents[1] / "facts" / "software_cases.json"
Mutation = Callable[[random.Random, str], str]


def dropped_tabs(rng: random.Random, text: str) -> str:
    """A paste that lost some of its tabs."""
    return "".join(c for c in text if c != "\t" or rng.random() < 0.7)


def tabs_to_spaces(rng: random.Random, text: str) -> str:
    """A terminal's copy."""
    return text.expandtabs(rng.choice([1, 2, 4, 8]))


def glued_cells(rng: random.Random, text: str) -> str:
    """Blanks that vanished between cells."""
    return "".join(c for c in text if c not in " \t" or rng.random() < 0.9)


def cut_lines(rng: random.Random, text: str) -> str:
    """A terminal that was too narrow."""
    width = rng.randrange(1, 120)
    return "\n".join(line[:width] for line in text.split("\n"))


def lost_lines(rng: random.Random, text: str) -> str:
    """An excerpt."""
    return "\n".join(line for line in text.split("\n") if rng.random() < 0.8)


def doubled_lines(rng: random.Random, text: str) -> str:
    """A command that was run twice into one file."""
    return "\n".join(line for line in text.split("\n") for _ in range(rng.choice([1, 1, 1, 2])))


def swapped_lines(rng: random.Random, text: str) -> str:
    """Two writers on one terminal."""
    rows = text.split("\n")
    for _ in range(3):
        a, b = rng.randrange(len(rows)), rng.randrange(len(rows))
        rows[a], rows[b] = rows[b], rows[a]
    return "\n".join(rows)


def truncated(rng: random.Random, text: str) -> str:
    """A connection that broke."""
    return text[: rng.randrange(len(text) + 1)]


def beheaded(rng: random.Random, text: str) -> str:
    """A scrollback that was too short."""
    return text[rng.randrange(len(text) + 1) :]


def coloured(rng: random.Random, text: str) -> str:
    """ANSI codes anywhere."""
    codes = ["\x1b[4m", "\x1b[0m", "\x1b[1;31m", "\x1b[K", "\x1b]0;title\x07", "\x1b["]
    words = text.split(" ")
    return "".join(word + (rng.choice(codes) if rng.random() < 0.05 else "") + " " for word in words)


def carriage_returns(rng: random.Random, text: str) -> str:
    """Windows, or a serial console."""
    return text.replace("\n", rng.choice(["\r\n", "\r", "\n\r"]))


def no_text(rng: random.Random, text: str) -> str:
    """Bytes that are no UTF-8, as the reader of a folder hands them on."""
    raw = bytearray(text.encode())
    for _ in range(rng.randrange(1, 40)):
        raw[rng.randrange(len(raw) + 1) : 0] = bytes([rng.randrange(128, 256)])
    return raw.decode("utf-8", "replace")


def odd_characters(rng: random.Random, text: str) -> str:
    """Zero bytes, digits of other scripts, blanks that are none."""
    rows = list(text)
    for _ in range(rng.randrange(1, 20)):
        rows.insert(rng.randrange(len(rows) + 1), rng.choice("\0²٣\u00a0\u2028\ufeff\x0b½"))
    return "".join(rows)


def prefixed_lines(rng: random.Random, text: str) -> str:
    """A log, a mail, an editor: something before each line, or before most."""
    at = rng.randrange(1000)
    prefix = rng.choice(
        [
            lambda n: "llm-1  | ",
            lambda n: "[pod/llm-0/vllm] ",
            lambda n: f"2026-04-01T08:15:30.{n * 7919 + 100000}Z ",
            lambda n: f"{n + at:5}\t",
            lambda n: f"{n + at}: ",
            lambda n: ">> ",
            lambda n: f"GPU {n}: ",
            lambda n: f"{n + at}, ",
            lambda n: "# ",
        ]
    )
    return "\n".join(f"{prefix(n)}{line}" if rng.random() < 0.98 else line for n, line in enumerate(text.split("\n")))


def shown_escapes(rng: random.Random, text: str) -> str:
    """Colours that a pager, a form or a JSON viewer made visible."""
    esc = rng.choice(["^[", "\\e", "\\u001b", "\\033", "\u241b", "", "<ESC>"])
    words = text.split(" ")
    return " ".join(f"{esc}[{rng.choice([0, 1, 4, 31])}m{word}" if rng.random() < 0.03 else word for word in words)


def broken_lines(rng: random.Random, text: str) -> str:
    """A terminal that breaks what is wider than it; editors strip what a line ends with."""
    width = rng.choice([60, 72, 80, 100, 120, rng.randrange(20, 140)])
    is_stripped = rng.random() < 0.5
    parts = (line[at : at + width] for line in text.split("\n") for at in range(0, max(len(line), 1), width))
    return "\n".join(part.rstrip() if is_stripped else part for part in parts)


def joined_cells(rng: random.Random, text: str) -> str:
    """Whole gaps between cells that vanished: NIC2NIC3, SYSPIX."""
    return re.sub(r"(?<=\S)[ \t]+(?=\S)", lambda gap: "" if rng.random() < 0.03 else gap[0], text)


def as_string(rng: random.Random, text: str) -> str:
    """A JSON string, a page, a log of JSON lines."""
    return rng.choice(
        [
            json.dumps,
            lambda text: json.dumps({"stdout": text, "stdout_lines": text.split("\n")}),
            lambda text: "\n".join(json.dumps({"log": f"{line}\n"}) for line in text.split("\n")),
            lambda text: f"<html><pre>{html.escape(text)}</pre></html>",
            lambda text: repr(text),
        ]
    )(text)


MUTATIONS: tuple[Mutation, ...] = (
    dropped_tabs,
    tabs_to_spaces,
    glued_cells,
    cut_lines,
    lost_lines,
    doubled_lines,
    swapped_lines,
    truncated,
    beheaded,
    coloured,
    carriage_returns,
    no_text,
    odd_characters,
    prefixed_lines,
    shown_escapes,
    broken_lines,
    joined_cells,
    as_string,
)

# What a mutation may take from a recording so that it says something else: then no reader could know better.
UNTELLABLE = {
    "1x5060ti-csv-idle-vs-load": doubled_lines,  # rows that name no GPU are those of a second one when there twice
    "xml-fewer-shown-than-attached": lost_lines,  # two lines say that seven GPUs are missing; without both it is whole
    "spark-table-and-lspci": beheaded,  # lspci without the domain of its first line is that of another machine
}


@cache
def originals() -> list[tuple[str, dict[str, str], Hardware]]:
    """Every capture and case: its name, its files, and what is read from it undamaged."""
    found = {folder.name: folder_files(folder) for folder in sorted(CAPTURES.iterdir()) if folder.is_dir()}
    for name, case in json.loads(CASES.read_text()).items():
        found[name] = {file: "\n".join(lines) for file, lines in case["files"].items()}
    found |= {f"software: {case['id']}": {case["id"]: case["text"]} for case in json.loads(SOFTWARE.read_text())}
    return [(name, files, read_files(files)) for name, files in found.items()]


def damaged(seed: int) -> tuple[tuple[dict[str, str], Hardware], list[str]]:
    """The input of a seed: damaged files of a capture with the undamaged machine; and what was done."""
    rng = random.Random(seed)
    name, files, whole = rng.choice(originals())
    done = []
    for file in files:
        possible = [one for one in MUTATIONS if one is not UNTELLABLE.get(name)]
        for mutation in rng.sample(possible, rng.choice([1, 1, 2, 3])):
            files = files | {file: mutation(rng, files[file])}
            done.append(f"{name}/{file}:{mutation.__name__}")
    return (files, whole), done


def invented(found: Hardware, whole: Hardware) -> str | None:
    """What a damaged recording claims that the machine does not have, None where it claims nothing."""
    if len(found.gpus) > len(whole.gpus):
        return f"{len(found.gpus)} GPUs, there are {len(whole.gpus)}"
    if found.gpu_count is not None and found.gpu_count > len(whole.gpus):
        return f"a count of {found.gpu_count}, there are {len(whole.gpus)}"
    for field in ("index", "uuid", "pci_address"):
        known = {getattr(gpu, field) for gpu in whole.gpus} | {None}
        for gpu in found.gpus:
            if getattr(gpu, field) not in known:
                return f"{field} {getattr(gpu, field)!r}"
    return None


def read(given: tuple[dict[str, str], Hardware]) -> tuple[str, str | None]:
    """What a damaged recording invents."""
    files, whole = given
    found = read_files(files)
    hardware_answer(found).plain()
    wrong = invented(found, whole)
    return "", wrong and f"invented {wrong}"


FUZZ = Fuzz("recordings", originals, damaged, read)

if __name__ == "__main__":
    sys.exit(main(FUZZ, __doc__, count=100_000))
