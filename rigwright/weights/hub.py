"""What a hub says of a file before it is fetched: its commit, checksum and size, from the headers of its answer."""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from email.message import Message
from typing import IO, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

_TIMEOUT_SECONDS = 10
_MOST_REDIRECTS = 4
_COMMIT, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")


class HubFacts(NamedTuple):
    """The commit that a branch is at, and the sha256 and size of a large file; None where the hub does not say."""

    commit: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None


class _NoRedirect(HTTPRedirectHandler):
    """The hub's own headers are on the answer that sends elsewhere; the content network behind it knows nothing."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        """Nowhere."""
        return None


def hub_facts(url: str) -> HubFacts:
    """What the host of `url` says of it; nothing where it cannot be asked.

    A redirect is followed on the same host alone: another one never sees the request.
    Source: huggingface_hub 0.34, file_download.get_hf_file_metadata: X-Repo-Commit, X-Linked-Etag, X-Linked-Size.
    """
    host = urlsplit(url).netloc
    for _ in range(_MOST_REDIRECTS):
        status, headers = _head(url)
        facts = _facts(headers, is_file=status == 200)
        target = urljoin(url, headers.get("location", ""))
        if facts.commit or facts.sha256 or not 300 <= status < 400 or urlsplit(target).netloc != host:
            return facts
        url = target
    return HubFacts()


def _head(url: str) -> tuple[int, Mapping[str, str]]:
    try:
        with build_opener(_NoRedirect).open(Request(url, method="HEAD"), timeout=_TIMEOUT_SECONDS) as answer:
            return answer.status, _lower(answer.headers)
    except HTTPError as error:
        return error.code, _lower(error.headers)
    except (OSError, http.client.HTTPException, ValueError):
        return 0, {}


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _facts(headers: Mapping[str, str], *, is_file: bool) -> HubFacts:
    commit = headers.get("x-repo-commit", "")
    linked = headers.get("x-linked-etag", "").removeprefix("W/").strip('"')
    size = headers.get("x-linked-size") or (headers.get("content-length", "") if is_file else "")
    return HubFacts(
        commit if _COMMIT.fullmatch(commit) else None,
        linked if _SHA256.fullmatch(linked) else None,
        int(size) if size.isdecimal() else None,
    )
