"""The cards of a machine in what people write and paste: lists, shops' names, lines of nvidia-smi, lspci and logs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigwright.errors import WrongSpec
from rigwright.given import undressed

# Sixteen lines of lspci have half of that; patterns would be at more for long.
_LONGEST = 4096
_COUNTS = {
    **dict.fromkeys(("a single", "single", "one", "a"), 1),
    **dict.fromkeys(("a pair of", "pair of", "dual", "double", "twin", "two", "a couple of"), 2),
    **dict.fromkeys(("triple", "three"), 3),
    **dict.fromkeys(("quad", "quadruple", "four"), 4),
    **{word: count for count, word in enumerate(("five", "six", "seven", "eight"), 5)},
    "octa": 8,
}
_COUNTED = re.compile(
    rf"(?:(?P<word>{'|'.join(sorted(_COUNTS, key=len, reverse=True))})[\s-]+|(?P<number>\d{{1,2}})\s+(?=\D*\d))"
    r"(?:x\s+)?(?P<rest>.+)",
    re.IGNORECASE,
)
# What joins two cards; the plus of `Max+ 395` and `Nitro+` joins none, `with Max-Q` is a card's name.
_JOINT = re.compile(
    r"\s*(?:[;&|]|(?<=\s)/(?=\s)|(?:\s|(?<=[\d)])|(?<=ti)|(?<=super)|(?<=xtx))\+|"
    r"\b(?:and|plus|und|et|with(?! (?:max|nv-?link)))\b|"
    # A count with a card behind it begins another one: `3x3090 1x4090`, and not `Ventus 2X 16G`.
    r"(?<=\w)\s+(?=\d{1,2}\s*[x×]\s*(?:[RG]TX|RX|NVIDIA|GeForce|Radeon|Tesla|[AHLPV]\d|MI\d|\d{4})))\s*",
    re.IGNORECASE,
)
_PROGRAMS = (
    # nvidia-smi -L, and its table with a row for each GPU.
    re.compile(r"GPU \d+:\s*(?P<name>.+?)\s*\(UUID.*"),
    re.compile(r"GPU\[\d+\]\s*:\s*Card [sS]eries:\s*(?P<name>.+?)\s*"),
    re.compile(r"\|\s*\d+\s+(?P<name>[A-Z].+?)\s{2,}.*\|"),
    # --query-gpu=name,memory.total, with an index or without.
    re.compile(r"(?:\d{1,2}, )?(?P<name>[^,:(]+), (?P<mib>\d+) MiB.*"),
    # llama.cpp's log, and its --list-devices.
    re.compile(r"(?:ggml_\w+:\s*)?Device \d+:\s*(?P<name>[^,]+),.*"),
    re.compile(r"(?:CUDA|ROCm|HIP|Vulkan|SYCL|Metal)\d+\s*:\s*(?P<name>[^(]+?)\s*(?:\(.*)?"),
)
_LSPCI = re.compile(
    r"(?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]\s+(?P<kind>[^:]+):\s*(?P<text>.+)", re.IGNORECASE
)
_LABEL = re.compile(
    r"(?:gpu|graphics|card|vga|video|device|model|name)s?(?:\s*#?\d+)?\s*[:=]\s+|#?\d{1,2}[:)]\s+", re.IGNORECASE
)
_HEADER = re.compile(
    r"(?:index|name|gpu_name)\b.*(?:\[MiB\]|memory|uuid).*|.*found \d+ .*devices.*|available devices:|[|+=\s-]*|MIG .*",
    re.IGNORECASE,
)
_NVLINK = re.compile(r"[\s,(]+(?:with |w/ ?|over |via )?nv-?link(?:ed)?(?: bridged?)?[\s)]*$", re.IGNORECASE)
# Boards of eight.
_BOARD = re.compile(r"(?:NVIDIA\s+)?[DH]GX[\s-]+(?P<name>A100|H[12]00|B[23]00)(?:[\s-]+8[\s-]?GPUs?)?", re.IGNORECASE)
_SOCKETS = {"A100": " SXM4", "H100": " SXM"}
_LIKE_CARD = re.compile(r"(?<!\d)\d{4}(?!\d)|\b[A-Z]{1,2}\d{1,3}[A-Z]?\b|titan", re.IGNORECASE)
_RAM = re.compile(r"\d{1,4} ?[GT](?:i?B)?\s+(?:of\s+)?(?:system\s+)?(?:ram|ddr\d.*|memory)(?:\s.*)?", re.IGNORECASE)
_BEHIND = re.compile(r"(?P<rest>.+?)\s+(?P<count>\d{1,2})\s*[x×]")
_ONLY_SIZE = re.compile(r"\d{1,3}\s*G(?:i?B)?(?:\s+v?ram)?", re.IGNORECASE)


def cards_in(text: str) -> Iterator[str]:
    """`2x4090`, `3060` of `dual 4090 and a 3060`: each card with its count, its name, and what stands behind colons."""
    if len(text) > _LONGEST:
        raise WrongSpec(f"--gpu: {text[:60]!r} and {len(text) - 60} letters more name no cards; write them like 4x3090")
    said = [line for line in undressed(text).splitlines() if not _HEADER.fullmatch(line.strip())] or [""]
    is_list = len(said) > 1
    for line in said:
        line = undressed(line)
        if found := next(filter(None, (form.fullmatch(line) for form in _PROGRAMS)), None):
            size = f" {round(int(found['mib']) / 1024)}GB" if "mib" in found.re.groupindex else ""
            yield f"{found['name']}{size}"
        elif found := _LSPCI.fullmatch(line):
            if not re.search(r"VGA|3D|Display", found["kind"]) and is_list:
                continue
            yield _of_lspci(found["text"])
        else:
            label = _LABEL.match(line)
            yield from _listed(line[label.end() :] if label else line)


def _of_lspci(text: str) -> str:
    """`GeForce RTX 3090` of `NVIDIA Corporation GA102 [GeForce RTX 3090] [10de:2204] (rev a1)`."""
    names = [name for name in re.findall(r"\[([^\[\]]+)\]", text) if not re.fullmatch(r"AMD/ATI|[0-9a-f:]+", name)]
    return names[-1] if names else text


def _listed(line: str) -> Iterator[str]:
    line = " ".join(line.split())
    parts = re.split(_JOINT, line) if ":" not in line else re.split(r"\s*\+\s*", line)
    # Commas part cards only where none says how they are joined.
    parts = [one for part in parts for one in (re.split(r"\s*,\s*(?![^()]*\))", part) if ":" not in part else [part])]
    cards: list[str] = []
    # A shop's title says more of its one card, `…, 3x WINDFORCE Fans`.
    is_title = len(parts[0].split()) > 4
    for part in parts:
        if cards and is_title and not _LIKE_CARD.search(part):
            continue
        if _RAM.fullmatch(part):
            raise WrongSpec(f"--gpu: {part!r} is memory; write --ram {part.split()[0]}")
        if cards and _ONLY_SIZE.fullmatch(part):
            cards[-1] += f" {part}"
        elif part or not cards:
            cards.append(part)
    yield from map(_counted, cards)


def _counted(card: str) -> str:
    """`2x3090` of `dual 3090`, `4x3090:nvlink` of `4 3090s (NVLink)`, `8xH100 SXM` of `DGX H100`."""
    if board := _BOARD.fullmatch(card):
        name = board["name"].upper()
        return f"8x{name}{_SOCKETS.get(name, '')}"
    if ":" not in card and "link" in card.lower():
        card = _NVLINK.sub(":nvlink", card)
    if behind := _BEHIND.fullmatch(card):
        return f"{behind['count']}x{behind['rest']}"
    found = _COUNTED.fullmatch(card)
    if not found:
        return card
    count = _COUNTS[found["word"].lower()] if found["word"] else int(found["number"])
    return f"{count}x{found['rest']}"
