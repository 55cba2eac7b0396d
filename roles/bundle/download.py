"""A model file from its address to this machine: by the same script that downloads on rigs."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

from rigwright.bundle.archive import Say
from rigwright.errors import RigwrightError
from rigwright.resources import role_text
from rigwright.shown import printable, redacted, without_secrets
from rigwright.units import format_bytes
from rigwright.weights.hub import HubFacts, hub_facts, is_of, needed_token
from rigwright.weights.local import LocalModel

_SPARE_BYTES = 1 << 30
# Address and token come on standard input: a command line is for everybody to read.
_SCRIPT = """IFS= read -r URL; IFS= read -r TOKEN || TOKEN=
{config}
CONFIG=$(config "$URL")
config() {{ printf '%s\\n' "$CONFIG"; }}
{fetch}"""


def facts_of(local: LocalModel, hub: str) -> HubFacts:
    """What a hub says of a file, or its server: sum and size, where it does.

    Raises:
        UnreadableModel: there is no such file, or it is not for this user.
    """
    url = local.url or ""
    if is_of(url, hub):
        return hub_facts(url, hub=hub)
    from http.client import HTTPException
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(url, method="HEAD"), timeout=20) as answer:
            length = answer.headers.get("Content-Length") or ""
            etag = answer.headers.get("ETag") or ""
    except (URLError, HTTPException, OSError, ValueError):
        return HubFacts()
    is_strong = len(etag) > 2 and etag[0] == etag[-1] == '"' and etag.isascii() and etag.isprintable()
    return HubFacts(size_bytes=int(length) if length.isdecimal() else None, etag=etag if is_strong else None)


def download(local: LocalModel, facts: HubFacts, part: Path, *, hub: str, say: Say) -> None:
    """The file into `part`; what an earlier run left there is continued, where its sum is known.

    Raises:
        RigwrightError: it did not come.
    """
    url = local.url or ""
    if not shutil.which("curl"):
        raise RigwrightError(f"{local.source}: this machine has no curl; install it")
    if not (local.sha256 or facts.sha256):
        part.unlink(missing_ok=True)
    part.touch()
    free = shutil.disk_usage(part.parent).free - _SPARE_BYTES + part.stat().st_size
    if facts.size_bytes and facts.size_bytes > free:
        raise RigwrightError(
            f"{local.source}: {format_bytes(facts.size_bytes)} do not fit {part.parent}; free some of its disk"
        )
    most = min(free, facts.size_bytes or local.most_bytes or free)
    text = _SCRIPT.format(config=role_text("weights", "config.sh"), fetch=role_text("weights", "fetch.sh"))
    size = str(facts.size_bytes) if facts.size_bytes is not None else ""
    given = {"SIZE": size, "NEAR": "", "IF_RANGE": "" if facts.sha256 else facts.etag or ""}
    token = needed_token(url, hub=hub) or ""
    with part.open("ab") as out, subprocess.Popen(
        ["sh", "-c", text],
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=subprocess.PIPE,
        env=os.environ | given,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    ) as process:  # fmt: skip
        said = _followed(
            process, f"{url}\n{token}\n".encode(), part, name=local.source.file_name, size=facts.size_bytes, say=say
        )
    if process.returncode:
        reason = next((line for line in reversed(said.splitlines()) if line.startswith("curl:")), "it broke off")
        shown = redacted(printable(reason))[:300]
        raise RigwrightError(f"{without_secrets(url)}: {shown}; run again, it continues there")


def _followed(
    process: subprocess.Popen[bytes], given: bytes, part: Path, *, name: str, size: int | None, say: Say
) -> str:
    """What it said; how far it is shows every five seconds."""
    spoke, feed = time.monotonic(), given
    while True:
        try:
            _, err = process.communicate(feed or None, timeout=0.5)
            return err.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            feed = b""
            if time.monotonic() - spoke > 5:
                spoke, there = time.monotonic(), part.stat().st_size
                of = f"{there * 100 // max(1, size)} % of {format_bytes(size)}" if size else format_bytes(there)
                say(f"{name}: {of}")
