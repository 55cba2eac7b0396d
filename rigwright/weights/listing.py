"""The files of a repository at one commit, as a hub lists them, each with what holds it to its content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote

from rigwright.errors import UnreadableModel
from rigwright.models.repository_files import INDEX, wanted_files
from rigwright.weights.cache import file_url, json_at
from rigwright.weights.hub import COMMIT, SHA256, hub_facts

_SIZE_LIMIT_BYTES = 10**15


class Listed(NamedTuple):
    """One file: its size, the sha256 of a large one, git's sha1 of a small one; None where the hub is silent."""

    name: str
    size_bytes: int | None = None
    sha256: str | None = None
    blob: str | None = None


class Listing(NamedTuple):
    """The files that an engine reads, config.json first, and the commit that they are of."""

    commit: str
    files: tuple[Listed, ...]


def names_at(repo: str, revision: str, hub: str) -> tuple[str, ...] | None:
    """The names of all files of a repository; None where no hub answers."""
    rows = _rows(_asked(repo, revision, hub) or {})
    return tuple(name for name, _ in rows) or None


def commit_at(repo: str, revision: str, hub: str) -> str | None:
    """The commit that a branch or a tag is at, or was when it was last asked; None where no hub says."""
    if COMMIT.fullmatch(revision):
        return revision
    commit = (_asked(repo, revision, hub) or {}).get("sha")
    return commit if isinstance(commit, str) and COMMIT.fullmatch(commit) else None


def listing_at(repo: str, commit: str, hub: str) -> Listing | None:
    """What a commit of a repository has for an engine; None where no hub answers.

    Raises:
        UnreadableModel: it has no weights that may be brought, or the hub says of one of them nothing to hold it to.
    """
    where = f"hf:{repo}@{commit[:12]}"
    answer = _asked(repo, commit, hub)
    if answer is None:
        return None
    if answer.get("sha", commit) != commit:
        raise UnreadableModel(f"{where}: the hub answers with another commit; try again, or name another mirror")
    rows = dict(_rows(answer))
    index = (
        json_at(file_url(hub, repo, revision=commit, file=INDEX), hub=hub, revision=commit) if INDEX in rows else None
    )
    if INDEX in rows and index is None:
        return None
    files = [_listed(name, rows[name]) for name in wanted_files(rows.keys(), index, where=where)]
    return Listing(commit, tuple(_known(one, repo, commit, hub) for one in files))


def _asked(repo: str, revision: str, hub: str) -> Mapping[str, Any] | None:
    """Source: the Hub API, GET /api/models/{repo}/revision/{revision}?blobs=true."""
    url = f"{hub.rstrip('/')}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
    with suppress(UnreadableModel):  # what a hub refuses it refuses of config.json too, which says so
        return json_at(url, hub=hub, revision=revision)
    return None


def _rows(answer: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    siblings = answer.get("siblings")
    for row in siblings if isinstance(siblings, Sequence) and not isinstance(siblings, str) else ():
        if isinstance(row, Mapping) and isinstance(name := row.get("rfilename"), str):
            yield name, row


def _listed(name: str, row: Mapping[str, Any]) -> Listed:
    large = row.get("lfs")
    sha256 = large.get("sha256") if isinstance(large, Mapping) else None
    size, blob = row.get("size"), row.get("blobId")
    return Listed(
        name,
        size if isinstance(size, int) and 0 <= size < _SIZE_LIMIT_BYTES else None,
        sha256 if isinstance(sha256, str) and SHA256.fullmatch(sha256) else None,
        blob if isinstance(blob, str) and COMMIT.fullmatch(blob) and not large else None,
    )


def _known(one: Listed, repo: str, commit: str, hub: str) -> Listed:
    """The file with what its own address says where the list does not."""
    if one.sha256 or one.blob:
        return one
    facts = hub_facts(file_url(hub, repo, revision=commit, file=one.name), hub=hub)
    return one._replace(sha256=facts.sha256, size_bytes=one.size_bytes or facts.size_bytes)
