"""Files of repositories: `deb` lines, deb822, `.repo`; several in one text as head, tail and `grep -r` print them.

Source: sources.list(5) of apt 2.6; dnf.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import Repository
from rigwright.hardware.sources import cells, software_text

_TITLE = re.compile(
    r"\s*(?:==> (?P<head>/\S+) <==|::+\s*(?P<more>/\S+)\s*::+|#+ (?P<hash>/etc/\S+\.(?:list|sources|repo)):?)\s*"
)
_GREPPED = re.compile(
    r"(?P<file>/?[\w][\w./+-]*\.(?:list|sources|repo)(?:\.[\w-]{1,40})?)[:-](?:[0-9]+[:-])?(?P<rest>.*)"
)
_ONE_LINE = re.compile(
    r"\s*(?P<off>#+\s*)?deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<url>[a-z+]{2,20}:/\S+)\s+(?P<suite>\S+)(?P<rest>[^#]*)(?:#.*)?"
)
_SIGNED_BY = re.compile(r"(?i)\bsigned-by=(?P<file>\S+)")
_FIELD = re.compile(r"(?P<key>[A-Z][A-Za-z-]*):\s*(?P<value>.*)")
_SECTION = re.compile(r"\s*\[(?P<id>[^\]\s]+)\]\s*")
_SETTING = re.compile(r"\s*(?P<key>[a-z_]+)\s*=\s*(?P<value>.*?)\s*")
_NO = ("0", "no", "false", "off")
_REPOLIST = re.compile(r"\s*repo id\s+repo name(?P<status>\s+status)?\s*")


def read(text: str) -> Reading:
    """The repositories, those that are switched off too. A file of comments alone holds none."""
    found: list[Repository] = []
    for file, lines in _files(cells.lines(text)):
        here = [
            *_of_lines(lines, file),
            *(one for stanza in _stanzas(lines) for one in _of_stanza(stanza, file)),
            *(one for key, section in _sections(lines) if (one := _of_section(key, section, file))),
            *_of_repolist(lines),
        ]
        # apt and dnf pass over `cuda.list.disabled`.
        is_read = not file or file.endswith((".list", ".sources", ".repo"))
        found += here if is_read else [replace(one, is_enabled=False) for one in here]
    return software_text.answer("repositories", repositories=tuple(dict.fromkeys(found))) if found else Reading()


def _files(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each file with its lines, "" for what no file is named for."""
    files: dict[str, list[str]] = {}
    file = ""
    for line in lines:
        if title := _TITLE.fullmatch(line):
            file = title["head"] or title["more"] or title["hash"]
        elif grepped := _GREPPED.fullmatch(line):
            files.setdefault(grepped["file"], []).append(grepped["rest"])
        else:
            files.setdefault(file, []).append(line)
    yield from files.items()


def _of_lines(lines: list[str], file: str) -> Iterator[Repository]:
    for line in lines:
        if found := _ONE_LINE.fullmatch(line):
            url, components = software_text.without_credentials(found["url"]), tuple(found["rest"].split())
            key = _SIGNED_BY.search(found["options"] or "")
            signed_by = key["file"] if key else ""
            yield Repository(url, found["suite"], components, file, is_enabled=not found["off"], signed_by=signed_by)


def _stanzas(lines: list[str]) -> Iterator[Mapping[str, str]]:
    """The paragraphs of deb822; a line that begins with a blank goes on with its field."""
    fields: dict[str, str] = {}
    key = ""
    for line in [*lines, ""]:
        if not line.strip():
            if fields:
                yield fields
            fields, key = {}, ""
        elif found := _FIELD.fullmatch(line):
            key = found["key"].lower()
            if key in fields:  # `grep .` leaves no blank line between paragraphs
                yield fields
                fields = {}
            fields.setdefault(key, found["value"].strip())
        elif key and line[:1] in (" ", "\t") and len(fields[key]) < 2000:
            fields[key] += " " + line.strip()


def _of_stanza(stanza: Mapping[str, str], file: str) -> Iterator[Repository]:
    if "deb" not in stanza.get("types", "").split():
        return
    for url in stanza.get("uris", "").split():
        for suite in stanza.get("suites", "/").split():
            yield Repository(
                software_text.without_credentials(url),
                suite,
                tuple(stanza.get("components", "").split()),
                file,
                is_enabled=stanza.get("enabled", "yes").lower() not in _NO,
                signed_by=_key_of(stanza.get("signed-by")),
            )


def _key_of(value: str | None) -> str:
    """A path, or the key itself, of which a filter of lines may have left nothing."""
    return "" if value is None else value if value.startswith("/") else "a key"


def _sections(lines: list[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    key, section = "", dict[str, str]()
    for line in lines:
        if found := _SECTION.fullmatch(line):
            if key:
                yield key, section
            key, section = found["id"], {}
        elif key and (found := _SETTING.fullmatch(line)):
            section.setdefault(found["key"], found["value"])
    if key:
        yield key, section


def _of_section(key: str, section: Mapping[str, str], file: str) -> Repository | None:
    url = next((section[name] for name in ("baseurl", "metalink", "mirrorlist") if section.get(name)), "")
    if not url:
        return None
    return Repository(
        software_text.without_credentials(url.split()[0]),
        file=file,
        name=key,
        is_enabled=section.get("enabled", "1").lower() not in _NO,
        has_module_hotfixes=section.get("module_hotfixes", "0").lower() not in _NO,
    )


def _of_repolist(lines: list[str]) -> Iterator[Repository]:
    """`dnf repolist`: identifiers, with `--all` whether each is enabled."""
    starts = [number for number, line in enumerate(lines) if _REPOLIST.fullmatch(line)]
    for line in lines[starts[0] + 1 :] if starts else []:
        words = line.split()
        if len(words) < 2 or software_text.is_prompt(line):
            return
        yield Repository("", name=words[0], is_enabled=words[-1] != "disabled")
