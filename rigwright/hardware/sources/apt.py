"""`apt-cache madison`, `apt-cache policy`, `apt list`: what the repositories offer, and where packages came from.

Source: apt-cache(8), printed by apt 2.4 to 3.0. `policy` is translated, so it is read by its form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import Offer, Package, PackageState, Repository
from rigwright.hardware.sources import cells, software_text

_NAME = r"[a-z0-9][a-z0-9+.-]+"
_VERSION = r"(?:[0-9]+:)?[0-9][\w.+~:-]*"
_MADISON = re.compile(rf"\s*(?P<name>{_NAME})\s*\|\s*(?P<version>{_VERSION})\s*\|\s*(?P<where>\S.*?)\s+Packages\s*")
_TITLE = re.compile(rf"(?P<name>{_NAME})(?::[a-z0-9]+)?:\s*")
_STATED = re.compile(rf"\s+\S[^:]{{0,40}}:\s*(?P<version>{_VERSION}|\([^():]{{2,30}}\))\s*")
_LISTED = re.compile(rf"\s*(?P<star>\*\*\* )?\s*(?P<version>{_VERSION})(?:\s+(?P<priority>-?[0-9]+))?(?:\s+\(.*\))?\s*")
_FROM = re.compile(r"\s*-?[0-9]+\s+(?P<where>\S.*?)\s*")
_FILE = re.compile(r"\s*-?[0-9]+\s+(?P<where>[a-z+]{2,20}:/\S*.*?)\s+Packages\s*")
_APT_LIST = re.compile(
    rf"(?P<name>{_NAME})/(?P<suites>[\w./:+,-]+)\s+(?P<version>{_VERSION})\s+[a-z0-9]+(?:\s+\[(?P<state>[^\]]+)\])?\s*"
)


@dataclass
class _Policy:
    """A package of `apt-cache policy`: its versions with where each comes from, and the one that is installed."""

    name: str
    installed: str = ""
    versions: list[tuple[str, list[str]]] = field(default_factory=list)
    priorities: list[int] = field(default_factory=list)


def read(text: str) -> Reading:
    """Offers with their origins; of what is installed the version and its origin.

    All versions of a package that is named are there, other packages are not: the offers of a paste are partial.
    """
    lines = cells.lines(text)
    policies = list(_policies(lines))
    offers = [offer for line in lines if (offer := _madison(line))]
    offers += [offer for policy in policies for offer in _offers(policy)]
    packages = [package for policy in policies if (package := _package(policy))]
    for line in lines:
        if found := _APT_LIST.fullmatch(line.rstrip()):
            if (found["state"] or "").startswith(("install", "upgrad", "residual")):
                packages.append(Package(found["name"], found["version"], _listed_state(found["state"])))
            else:
                offers.append(Offer(found["name"], found["version"], found["suites"].split(",")[0]))
    repositories = tuple(dict.fromkeys(_files(lines)))
    lists = [
        name for name, is_there in (
            ("packages", packages or policies), ("offers", offers or policies), ("repositories", repositories),
        ) if is_there
    ]  # fmt: skip
    if not lists:
        return Reading()
    # collect.sh asks for dpkg and base-files too: then all that a plan asks for was asked.
    is_whole = software_text.is_whole_list({offer.name for offer in offers} | {policy.name for policy in policies})
    return software_text.answer(
        *lists,
        partial=[name for name in lists if name in ("packages", "offers") and not (is_whole and name == "offers")],
        packages=tuple(dict.fromkeys(one for one in packages if software_text.is_relevant(one.name))),
        offers=tuple(dict.fromkeys(one for one in offers if software_text.is_relevant(one.name))),
        repositories=repositories,
        barred=tuple(policy.name for policy in policies if _is_barred(policy)),
    )


def _is_barred(policy: _Policy) -> bool:
    """Whether no version may be installed, and the distribution has one: NVIDIA's are kept away by a deploy too."""
    origins = (_origin(place) for _, places in policy.versions for place in places if not place.startswith("/"))
    is_away = bool(policy.priorities) and max(policy.priorities) < 0
    return is_away and any(software_text.NVIDIAS_REPOSITORIES not in origin for origin in origins)


def _listed_state(said: str) -> PackageState:
    return "removed" if said.startswith("residual") else "installed"


def _madison(line: str) -> Offer | None:
    found = _MADISON.fullmatch(line)
    return Offer(found["name"], found["version"], _origin(found["where"])) if found else None


def _origin(where: str) -> str:
    """The origin of `https://…/debian13/x86_64  Packages` and of `http://…/debian trixie/main amd64 Packages`."""
    url, _, suite = where.strip().removesuffix("Packages").strip().partition(" ")
    return software_text.origin(url, suite.strip().partition("/")[0])


def _policies(lines: list[str]) -> Iterator[_Policy]:
    """A title, two lines of `word: version`, then the table; whatever the language."""
    policy: _Policy | None = None
    stated = 0
    for line in lines:
        if found := _TITLE.fullmatch(line):
            if policy and stated > 1:
                yield policy
            policy, stated = _Policy(found["name"]), 0
        elif policy is None or not line.strip():
            continue
        elif line[:1] not in (" ", "\t"):
            if stated > 1:
                yield policy
            policy = None
        elif stated < 2 and (found := _STATED.fullmatch(line)):
            if not stated and not found["version"].startswith("("):
                policy.installed = found["version"]
            stated += 1
        elif row := _FROM.fullmatch(line) if policy.versions and "/" in line else None:
            policy.versions[-1][1].append(row["where"])
        elif row := _LISTED.fullmatch(line):
            policy.versions.append((row["version"], []))
            policy.priorities.append(int(row["priority"] or 0))
            if row["star"] and not policy.installed:
                policy.installed = row["version"]
    if policy and stated > 1:
        yield policy


def _offers(policy: _Policy) -> Iterator[Offer]:
    for version, places in policy.versions:
        for place in places:
            if not place.startswith("/"):
                yield Offer(policy.name, version, _origin(place))


def _package(policy: _Policy) -> Package | None:
    """What is installed, with the first repository that has this version; one that none has any more has no origin."""
    if not policy.installed:
        return None
    places = next((places for version, places in policy.versions if version == policy.installed), [])
    origin = next((_origin(place) for place in places if not place.startswith("/")), "")
    return Package(policy.name, policy.installed, origin=origin)


def _files(lines: list[str]) -> Iterator[Repository]:
    """The repositories that `apt-cache policy` lists when it is asked for no package: a release follows on each."""
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        found = _FILE.fullmatch(line)
        if found and after.strip().startswith("release "):
            url, _, rest = found["where"].partition(" ")
            suite, _, component = rest.strip().split(" ")[0].partition("/")
            url = software_text.without_credentials(url)
            yield Repository(url, suite or "/", tuple(filter(None, (component,))))
