"""The sentences of apt, dpkg, dnf, dkms, nvcc and NVIDIA's installer that stop an installation, each by a stable code.

What the kernel's log says is read by `kernel_log`, and not said here once more.
Source: apt 2.4 to 3.0, dpkg 1.21, dnf 4.14 and 5.2, dkms 2.8 to 3.2, nvidia-installer 535 to 595, nvcc 11.8 to 13.5, as
public issues and runs on Debian 12 and 13 show them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import Failure
from rigwright.hardware.sources import cells, software_text

_LONGEST, _MOST_LINES = 400, 4000
_PACKAGE = r"[A-Za-z0-9][\w.+-]+"


@dataclass(frozen=True)
class _Sentence:
    """A code and the words that tell it; `names` are its groups. `context`: more names, from the rest of the text."""

    code: str
    pattern: re.Pattern[str]
    context: Callable[[Sequence[str]], Iterator[str]] | None = None


def _unmet(lines: Sequence[str]) -> Iterator[str]:
    """The packages of `x : Depends: y (= 1) but 2 is to be installed`: who cannot, and for want of what."""
    for line in lines:
        if found := _DEPENDS.search(line):
            yield from filter(None, (found["name"], found["other"]))


def _unfinished(lines: Sequence[str]) -> Iterator[str]:
    """The packages below `Errors were encountered while processing:`, and those that dpkg names."""
    inside = False
    for line in lines:
        if found := _DPKG_ERROR.search(line):
            yield found["name"]
        elif line.strip().startswith("Errors were encountered while processing"):
            inside = True
        elif inside and (found := re.fullmatch(rf"\s+(?P<name>{_PACKAGE})(?::[a-z0-9]+)?\s*", line)):
            yield found["name"]
        elif line.strip():
            inside = False


_DEPENDS = re.compile(
    rf"^\s*(?P<name>{_PACKAGE})(?::[a-z0-9]+)? ?: (?:Pre)?(?:Depends|Conflicts|Breaks"
    rf"|Recommends): (?P<other>{_PACKAGE})"
)
_DPKG_ERROR = re.compile(r"dpkg: error processing (?:package |archive )(?P<name>/?[\w.+~%/-]+?)(?::[a-z0-9]+)? \(--")
_KEY = re.compile(
    r"NO_PUBKEY|EXPKEYSIG|REVKEYSIG|BADSIG|KEYEXPIRED|is not bound:|SHA1 is not considered secure|is not signed\.?$"
    r"|OpenPGP signature verification failed|GPG error:|GPG check FAILED|Public key for \S+ is not installed"
    r"|GPG keys listed for the|Signature made by unknown|repomd\.xml GPG signature verification error"
)
_REPOSITORY = re.compile(r"(?P<url>https?://[^\s'\",]+)|(?:for the|repository|repo)[: ]+[\"'](?P<id>[\w.:-]+)[\"']")
_HEADS = re.compile(r"\b(?:Err|Ign|Get|Hit|OK):[0-9]+ (?P<url>https?://\S+)")
_WARNING_ONLY = re.compile(r"Policy will reject signature|^\s*Audit:")

_SENTENCES = tuple(
    _Sentence(code, re.compile(pattern), context)
    for code, pattern, context in (
        ("held_broken_packages",
         r"you have held broken packages|Unable to satisfy dependencies\. Reached two conflicting assignments"
         r"|The following packages have unmet dependencies|Unsatisfied dependencies:"
         r"|[Uu]nmet dependencies\. Try", _unmet),
        ("dpkg_interrupted", r"dpkg was interrupted, you must manually run", None),
        ("half_configured",
         r"Errors were encountered while processing|dpkg: error processing (?:package|archive)"
         r"|Sub-process /usr/bin/dpkg returned an error code", _unfinished),
        ("apt_locked", r"Could not get lock (?P<name>/var/lib/(?:dpkg|apt)/\S+?)\.?(?:\s|$)", None),
        ("filtered_by_module",
         rf"(?:package (?P<name>{_PACKAGE}\S*) from \S+ is filtered out by modular"
         rf"|filtered out by modular filtering for argument: (?P<argument>{_PACKAGE})"
         rf"|filtered out by modular filtering)",
         None),
        ("origin_conflict",
         rf"package (?P<one>{_PACKAGE}\S*) from (?P<repo>@?[\w.:-]+) (?:conflicts with|obsoletes) (?P<other>{_PACKAGE})"
         r".{0,80} provided by \S+(?: from (?P<other_repo>[\w.:-]+))?"
         rf"|file \S+ from install of (?P<file_one>{_PACKAGE}\S*) conflicts with"
         rf" file from package (?P<file_other>{_PACKAGE}\S*)"
         rf"|trying to overwrite '(?P<path>[^']+)', which is also in package (?P<owner>{_PACKAGE})", None),
        ("package_not_offered",
         rf"Unable to locate package (?P<name>{_PACKAGE})"
         rf"|Package '?(?P<gone>{_PACKAGE})'? has no installation candidate"
         rf"|Unable to find a match: (?P<match>{_PACKAGE})|No match for argument: (?P<argument>{_PACKAGE})"
         rf"|Version '(?P<version>[^']+)' for '(?P<of>{_PACKAGE})' was not found", None),
        ("sources_unreadable",
         r"Conflicting values set for option (?P<option>[\w-]+) regarding source (?P<url>[a-z+]+:/\S+)"
         r"|Malformed (?:entry|line|stanza) [0-9]+ in \w+ \w+ (?P<file>/\S+)"
         r"|Type '[^']*' is not known on (?:line|stanza) [0-9]+ in source list (?P<typed>/\S+)"
         r"|[Tt]he list of sources could not be read", None),
        ("no_repositories", r"There are no enabled repo(?:sitorie)?s\b", None),
        ("dependency_missing",
         rf"nothing provides (?P<what>\S+(?: (?:>=|=|<=|<|>) \S+)?) needed by (?P<name>{_PACKAGE}\S*)", None),
        ("headers_missing",
         r"kernel headers for (?:this )?kernel(?: (?P<kernel>[0-9][\w.+~-]*))?(?: cannot be found"
         r"| \(?\S* ?do(?:es)? not)"
         r"|build for kernel (?P<skipped>[0-9][\w.+~-]*) was skipped since"
         r"|[Pp]lease install the (?P<package>(?:linux-headers|kernel-devel)-\S+) package"
         r"|Unable to find the kernel source tree for the currently running kernel", None),
        ("dkms_build_failed",
         r"Bad return status(?: for module build on kernel: (?P<kernel>[0-9][\w.+~-]*))?"
         r"|The kernel module failed to build|Failed to run `?/usr/s?bin/dkms"
         r"|dkms (?:autoinstall|build|install) on \S+ failed"
         r"|akmods: Building rpms failed(?:.* \S*-for-(?P<akmod>[0-9]\S*?)\.failed\.log)?"
         r"|ERROR: An error occurred while performing the step: \"Building kernel modules\"",
         None),
        ("key_rejected",
         r"Key was rejected by service|Required key not available"
         r"|Loading of (?:unsigned )?module with unavailable key is rejected"
         r"|kernel module failed to load\. Secure boot is enabled|Loading of unsigned module is rejected"
         r"|Lockdown: \w+: unsigned module loading is restricted", None),
        ("fabric_manager_mismatch",
         r"interface version (?P<manager>[0-9.]+[0-9]) don.t match with driver version (?P<driver>[0-9.]+[0-9])", None),
        ("module_in_use",
         r"An NVIDIA kernel module '(?P<name>nvidia[\w-]*)' appears to already be loaded"
         r"|(?:rmmod|modprobe): (?:ERROR|FATAL): Module (?P<module>nvidia\w*) is in use", None),
        ("packaged_driver_present", r"alternate method of installing the NVIDIA driver was detected", None),
        ("nouveau_in_use",
         r"Nouveau kernel driver is currently in use|already bound to nouveau"
         r"|Nouveau.{0,60}must be disabled before", None),
        ("no_space",
         r"(?:[\s'\"`(](?P<path>/[^\s'\":]+)['\":].{0,40})?No space left on device"
         r"|You don't have enough free space in (?P<cache>/\S+?)\.?(?:\s|$)"
         r"|more space needed on the (?P<place>/\S*) filesystem|not enough (?:free )?(?:disk )?space", None),
        ("installer_cleanup_failed",
         r"nvidia-installer-cleanup .{0,80}(?:script|maintscript).{0,60}(?:error exit status (?P<rc>[0-9]+)|failed)"
         r"|error processing package nvidia-installer-cleanup", None),
        ("unsupported_arch_nvcc",
         r"Unsupported gpu architecture '(?P<arch>(?:compute|sm)_[0-9]{2,3}[a-z]?)'"
         r"|Value '(?P<value>(?:compute|sm)_[0-9]{2,3}[a-z]?)' is not defined for option", None),
        ("glibc_math_conflict",
         r"exception specification is incompatible with that of previous function \"(?P<name>\w+)\"", None),
        ("compiler_too_new_for_nvcc",
         r"unsupported (?:GNU|clang) version!.{0,40}(?:gcc|clang) versions? (?:later"
         r"|newer) than (?P<version>[0-9.]+)", None),
        ("legacy_driver_only",
         r"only supported (?:up to|by) the (?:Tesla )?(?P<branch>[0-9]{3})(?:\.xx)? (?:legacy )?drivers?", None),
        ("not_supported_by_driver",
         r"do not appear to have an NVIDIA GPU supported by the (?P<version>[0-9.]+[0-9])"
         r"|no NVIDIA GPU installed in this system is supported by this", None),
        ("needs_open_modules",
         r"(?:ERROR|WARNING): .*\b(?:requires?|must) (?:the )?use(?: of)? the (?:NVIDIA )?open (?:GPU )?kernel modules"
         r"|not supported by the proprietary (?:NVIDIA )?kernel modules?", None),
        ("firmware_missing",
         r"(?:[Cc]annot|[Cc]ould not|[Ff]ailed to) (?:find|load|open) firmware (?P<file>\S*gsp\S*)", None),
    )
)  # fmt: skip
_VERDICT = re.compile(r"\s*(?:E|Error|ERROR): ")
_NEVRA_END = re.compile(r"-(?:[0-9]+:)?[0-9][\w.+~^]*-[\w.+~^]+\.(?:x86_64|noarch|aarch64|i[3-6]86|ppc64le)$")
_BUILT_BY = re.compile(r"The kernel was built by:?\s*(?P<compiler>\S.*)")
_USING = re.compile(r"You are using:?\s*(?P<compiler>\S.*)")
_CC_CHECK = re.compile(
    r"unrecognized command[- ]line option .{1,3}-(?P<option>f\S+?)['\u2019\u2018`]|Compiler version check failed"
)
_MAJOR = re.compile(r"(?:version |\) )(?P<major>[0-9]{1,2})\.[0-9]")
_BUILD_ERROR = re.compile(
    r"(?:\bfatal )?\berror: |^make.*\*\*\* |(?:ERROR|FATAL): modpost|: No such file or directory$"
)
_NO_RULE = re.compile(r"^make.*\*\*\* ")
_MAKE_LOG = re.compile(
    r"(?:DKMS )?make\.log for (?P<module>[\w.+-]+?)[-/](?P<version>[0-9][\w.]*) for kernel (?P<kernel>\S+)"
)
_MODULE = re.compile(r"/var/lib/dkms/(?P<module>[\w.+-]+)/(?P<version>[\w.+~]+)/build")
_KERNEL_LOG = re.compile(r"NVRM:|^\s*(?:<[0-9]+>)?\[ *[0-9]+\.[0-9]+\]|\bkernel: ")


def read(text: str) -> Reading:
    """What failed, each code once with all that it names; of a build that failed the first error of the compiler."""
    lines = [line[:_LONGEST].rstrip() for line in cells.lines(text)]
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES // 4], *lines[-_MOST_LINES * 3 // 4 :]]
    found: dict[str, tuple[str, list[str]]] = {}
    for line in lines:
        for sentence in _SENTENCES:
            match = sentence.pattern.search(line)
            if match and not (sentence.code in _KERNELS and _KERNEL_LOG.search(line)):
                said, names = found.setdefault(sentence.code, (line.strip(), []))
                names += [_NEVRA_END.sub("", name.rstrip(".,")) for name in match.groups() if name]
                if _VERDICT.match(line) and not _VERDICT.match(said):
                    found[sentence.code] = (line.strip(), names)
    for sentence in _SENTENCES:
        if sentence.context and sentence.code in found:
            found[sentence.code][1].extend(sentence.context(lines))
    _add_keys(lines, found)
    _add_build(lines, found)
    _add_compiler(lines, found)
    failures = tuple(Failure(code, said, tuple(dict.fromkeys(names))) for code, (said, names) in found.items())
    return software_text.answer("failures", partial=["failures"], failures=failures) if failures else Reading()


# The kernel's log has these sentences too, as findings with a card's address.
_KERNELS = ("legacy_driver_only", "not_supported_by_driver", "needs_open_modules", "firmware_missing")


def _add_keys(lines: Sequence[str], found: dict[str, tuple[str, list[str]]]) -> None:
    """A repository whose key is refused: its address stands on the line, or on that of `Err:` before it."""
    last = ""
    for line in lines:
        if head := _HEADS.search(line):
            last = head["url"]
        if not _KEY.search(line) or _WARNING_ONLY.search(line):
            continue
        place = _REPOSITORY.search(line)
        name = software_text.without_credentials((place["url"] or place["id"]) if place else last)
        _, names = found.setdefault("repository_key_refused", (line.strip(), []))
        name = re.sub(r"/dists/.*$", "", name.rstrip(":.,")).rstrip("/")
        names += [name] if name else []


def _add_build(lines: Sequence[str], found: dict[str, tuple[str, list[str]]]) -> None:
    """The modules whose build failed, and the compiler's word for it."""
    log = next((match for line in lines if (match := _MAKE_LOG.search(line))), None)
    errors = [line.strip() for line in lines if _BUILD_ERROR.search(line)]
    spoken = [line for line in errors if not _NO_RULE.search(line)]
    if "dkms_build_failed" not in found and not (log and errors):
        return
    said, names = found.get("dkms_build_failed", ("", []))
    places = [match for line in lines if (match := _MODULE.search(line))]
    modules = [f"{one['module']}/{one['version']}" for one in [*places, *([log] if log else [])]]
    kernels = [log["kernel"]] if log else []
    last = (spoken or errors or [said])[-1]
    found["dkms_build_failed"] = (last, [*modules, *names, *kernels])


def _add_compiler(lines: Sequence[str], found: dict[str, tuple[str, list[str]]]) -> None:
    """A compiler that is not the kernel's: of another major version, or one that refuses the kernel's options."""
    built = next((match["compiler"] for line in lines if (match := _BUILT_BY.search(line))), "")
    used = next((match["compiler"] for line in lines if (match := _USING.search(line))), "")
    refused = next((line.strip() for line in lines if _CC_CHECK.search(line)), "")
    majors = [match["major"] for one in (built, used) if (match := _MAJOR.search(one))]
    differs = len(majors) == 2 and majors[0] != majors[1]
    if refused or differs:
        said = refused or f"The kernel was built by: {built}. You are using: {used}"
        found["compiler_differs"] = (said, [one for one in (built, used) if one])
