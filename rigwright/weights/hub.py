"""The facts of a file on a hub before it is read: commit, checksum, size, place, and whether this user may have it.

huggingface_hub asks, as its own downloads do. It is imported when a hub is asked, and not before: it costs 0.1 s.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from rigwright import __version__
from rigwright.errors import UnreadableModel
from rigwright.shown import without_secrets

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_TIMEOUT_SECONDS = 10
# What says more, or less than nothing, says no size.
_SIZE_LIMIT_BYTES = 10**15
COMMIT, SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_GET_TOKEN = "set HF_TOKEN to a token of yours, or run `hf auth login`"


class HubFacts(NamedTuple):
    """The commit that a branch is at, and the sha256 and size of a large file; None where the hub does not say.

    `etag` changes with the content. `location` is where the content lies; None where the hub cannot be asked.
    """

    commit: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    etag: str | None = None
    location: str | None = None


def hub_facts(url: str, *, hub: str) -> HubFacts:
    """What the host of `url` says of it.

    Raises:
        UnreadableModel: the hub says that there is no such file, or that this user may not have it.
    """
    from httpx2 import HTTPError, InvalidURL  # what huggingface_hub lets through
    from huggingface_hub import constants, get_hf_file_metadata
    from huggingface_hub.errors import HfHubHTTPError

    constants.HF_HUB_DISABLE_TELEMETRY = True  # it would ask huggingface.co which programs to look for, and tell it
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings are the server's own words
    token = authorization(url, hub=hub)
    try:
        with _token_stays_at(url):
            found = get_hf_file_metadata(
                url,
                token=False,
                headers=token,
                timeout=_TIMEOUT_SECONDS,
                library_name="rigwright",
                library_version=__version__,
            )
        location = urljoin(url, found.location)
    except HfHubHTTPError as error:
        if problem := _problem(error, url, hub, has_token=bool(token)):
            raise UnreadableModel(f"{without_secrets(url)}: {problem}") from None
        return HubFacts(location=url)
    except (HTTPError, InvalidURL, OSError, ValueError):  # no answer in time, none in HTTP, or HF_HUB_OFFLINE
        return HubFacts()
    etag = found.etag or ""
    return HubFacts(
        found.commit_hash if COMMIT.fullmatch(found.commit_hash or "") else None,
        etag if SHA256.fullmatch(etag) else None,
        found.size if found.size is not None and 0 <= found.size < _SIZE_LIMIT_BYTES else None,
        etag if re.fullmatch(r"[\x21-\x7e]{1,200}", etag) else None,
        location,
    )


def authorization(url: str, *, hub: str) -> dict[str, str]:
    """The header with the user's token for an address of the hub; none for any other, and none without a token.

    It is the token of HF_TOKEN, or of the file that `hf auth login` writes.
    """
    if not is_of(url, hub):
        return {}
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import OIDCError

    try:
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    except (OSError, ValueError, OIDCError):
        return {}
    return {"Authorization": f"Bearer {token}"} if token else {}


def needed_token(url: str, *, hub: str) -> str | None:
    """The user's token, where the hub gives this file to nobody without one; None where a rig needs none.

    What a rig does not need it is not given. Hubs hide what is private as if it were not there.
    """
    given = authorization(url, hub=hub).get("Authorization", "").removeprefix("Bearer ")
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", given):
        return None
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Stay(HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            """A renamed repository is followed; where the content lies is not asked: the hub has answered."""
            return super().redirect_request(req, fp, code, msg, headers, newurl) if is_of(newurl, url) else None

    try:
        build_opener(Stay).open(Request(url, method="HEAD"), timeout=_TIMEOUT_SECONDS).close()
    except HTTPError as error:
        return given if error.code in (401, 403, 404) else None
    except (OSError, HTTPException, ValueError):
        return None
    return None


def is_of(url: str, hub: str) -> bool:
    """True for an address on the hub: the same scheme, host and port."""
    return bool(hub) and _origin(url) == _origin(hub)


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", url, None


@contextmanager
def _token_stays_at(url: str) -> Iterator[None]:
    """Takes the token off each request to another origin: huggingface_hub 2.4 takes it along from a mirror to its own.

    Source: huggingface_hub 2.4, utils/_http.py, _HUB_ORIGINS.
    """
    from huggingface_hub import get_session

    hooks = get_session().event_hooks["request"]
    origin = _origin(url)

    def take_off(request: object) -> None:
        if _origin(str(request.url)) != origin:  # type: ignore[attr-defined]  # an httpx.Request, which we do not import
            request.headers.pop("Authorization", None)  # type: ignore[attr-defined]  # the same

    hooks.append(take_off)
    try:
        yield
    finally:
        hooks.remove(take_off)


def _problem(error: HfHubHTTPError, url: str, hub: str, *, has_token: bool) -> str | None:
    """What is wrong and what to do; None where the answer does not decide whether the file can be read."""
    repo, _, rest = url.removeprefix(hub.rstrip("/")).strip("/").partition("/resolve/")
    code, terms = error.response.status_code, f"{hub.rstrip('/')}/{repo}"
    of_class = {
        "GatedRepoError": (
            f"{repo} is gated, and there is no token here; accept its terms, then {_GET_TOKEN}: {terms}",
            f"{repo} is gated, and your token may not read it; accept its terms with the token's own account: {terms}",
        ),
        "RepositoryNotFoundError": (
            f"the hub knows no repository {repo}, or it is private; check the name, or {_GET_TOKEN}",
            f"the hub knows no repository {repo}, or your token may not see it; check both",
        ),
        "RevisionNotFoundError": (
            f"{repo} has no revision {rest.partition('/')[0]}; name a branch, a tag or a commit that it has",
        ),
        "DisabledRepoError": (f"the hub has disabled {repo}; name another repository",),
        "RemoteEntryNotFoundError": (f"there is no such file ({code}); check the repository",),
    }
    if texts := of_class.get(type(error).__name__):
        return texts[-1] if has_token else texts[0]
    return f"the hub refuses your token ({code}); {_GET_TOKEN}" if has_token and code in (401, 403) else None
