"""modprobe, rmmod, lsmod and modinfo of a simulated driver: what is not about it goes to kmod."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rigwright.lab.simulated.kernel import Kernel, Refused
from rigwright.lab.simulated.modules import NEEDS, Module, loaded_name, on_disk, plain

KMOD = "/usr/bin/kmod"
# Options of modprobe and modinfo that have a value. Source: modprobe(8), modinfo(8) of kmod 34.
_VALUED = ("-S", "--set-version", "-d", "--dirname", "-C", "--config", "-k", "-F", "--field", "-b", "--basedir")
_SIZES = {
    "nvidia": 104157184,
    "nvidia_modeset": 1839104,
    "nvidia_uvm": 2068480,
    "nvidia_drm": 139264,
    "nouveau": 3608576,
}
_NOUVEAU = {"license": "GPL and additional rights", "description": "NVIDIA Riva/TNT/GeForce/Quadro/Tesla/Tegra"}


def modprobe(kernel: Kernel, arguments: Sequence[str]) -> int:
    """Load or unload modules."""
    flags, values, names = _split(arguments, "rnqvaiDbfswR")
    is_removal = bool(flags & {"r", "--remove"})
    if not is_removal and not flags & {"a", "--all"}:
        names = names[:1]  # what follows are the module's parameters
    if not any(loaded_name(name) for name in names):
        return _kmod("modprobe", arguments)
    is_quiet = bool(flags & {"q", "--quiet"})
    is_dry = bool(flags & {"n", "--dry-run", "--show", "D", "--show-depends"})
    release = values.get("-S") or values.get("--set-version") or kernel.release
    code = 0
    for name in names:
        try:
            if loaded_name(name) is None:
                code |= _kmod("modprobe", [one for one in arguments if one not in names or one == name])
            elif is_dry:
                _say("".join(f"insmod {_file(kernel, one, release)} \n" for one in [name]))
            elif is_removal:
                _remove(kernel, name)
            else:
                kernel.load(name)
        except Refused as refusal:
            code = 1
            if not (is_quiet and "FATAL" in str(refusal)):
                sys.stderr.write(f"{refusal}\n")
    return code


def _remove(kernel: Kernel, name: str) -> None:
    """`modprobe -r`: it goes by the files on disk, and takes what is not needed any more along."""
    module = loaded_name(name) or name
    if module not in kernel.modules:
        _file(kernel, name, kernel.release)
        return
    if module != "nouveau":
        _file(kernel, name, kernel.release)
    try:
        kernel.unload(module)
    except Refused as refusal:
        said = str(refusal)
        raise Refused(f"modprobe: FATAL: {said.partition(' by: ')[0].removesuffix('.')}.") from None
    for needed in NEEDS[module]:
        if needed in kernel.modules and not kernel.users(needed) and not kernel.opened(needed):
            _remove(kernel, needed)


def rmmod(kernel: Kernel, arguments: Sequence[str]) -> int:
    """Unload modules, each by itself."""
    _, _, names = _split(arguments, "fsvw")
    if not any(loaded_name(name) for name in names):
        return _kmod("rmmod", arguments)
    code = 0
    for name in names:
        module = plain(name)
        try:
            if module not in kernel.modules:
                raise Refused(f"Module {module} is not currently loaded")
            kernel.unload(module)
        except Refused as refusal:
            code = 1
            sys.stderr.write(f"rmmod: ERROR: {refusal}\n")
    return code


def lsmod(kernel: Kernel, arguments: Sequence[str]) -> int:
    """What is loaded, the last first."""
    done = subprocess.run(["lsmod", *arguments], executable=KMOD, capture_output=True, text=True, check=False)
    header, _, rest = done.stdout.partition("\n")
    rows = []
    for name in reversed(kernel.modules):
        users = kernel.users(name)
        uses = len(users) + kernel.opened(name)
        rows.append(f"{name:<19} {_SIZES.get(name, 16384):8d}  {uses} {','.join(users)}".rstrip() + "\n")
    _say(f"{header or 'Module                  Size  Used by'}\n{''.join(rows)}{rest}")
    return 0  # kmod fails where the kernel has no modules at all


def modinfo(kernel: Kernel, arguments: Sequence[str]) -> int:
    """What the files on disk say of modules."""
    flags, values, names = _split(arguments, "nadlp0")
    if not any(loaded_name(Path(name).name.partition(".ko")[0]) for name in names):
        return _kmod("modinfo", arguments)
    release = values.get("-k") or values.get("--set-version") or kernel.release
    field = values.get("-F") or values.get("--field")
    letters = {"n": "filename", "a": "author", "d": "description", "l": "license", "p": "parm"}
    field = next((letters[flag] for flag in flags if flag in letters), field)
    code = 0
    for name in names:
        if name.startswith("/") and loaded_name(Path(name).name.partition(".ko")[0]):
            name, release = Path(name).name.partition(".ko")[0], _release(name) or release
        if loaded_name(name) is None:
            code |= _kmod("modinfo", [one for one in arguments if one not in names or one == name])
            continue
        found = _told(kernel, name, release)
        if found is None:
            sys.stderr.write(f"modinfo: ERROR: Module {name} not found.\n")
            code = 1
        elif field:
            _say(f"{found[field]}\n" if field in found else "")
        else:
            _say("".join(f"{key + ':':<16}{value}\n" for key, value in found.items()))
    return code


def _told(kernel: Kernel, name: str, release: str) -> dict[str, str] | None:
    """What modinfo prints of a module."""
    vermagic = f"{release} SMP preempt mod_unload modversions "
    if name == "nouveau":
        fields = {"filename": f"/lib/modules/{release}/kernel/drivers/gpu/drm/nouveau/nouveau.ko.xz"} | _NOUVEAU
        return fields | {"name": "nouveau", "vermagic": vermagic}
    module = on_disk(kernel.root, release)
    stem = _stem(module)
    wanted = plain(name)
    if module is None or wanted not in {stem, f"{stem}{(loaded_name(name) or '').removeprefix('nvidia')}"}:
        return None
    part = (loaded_name(name) or "").removeprefix("nvidia")
    rest = {"name": wanted, "vermagic": vermagic} | module.fields
    return (
        {"filename": _beside(kernel, module, part)}
        | module.fields
        | {key: value for key, value in rest.items() if key not in module.fields}
    )


def _file(kernel: Kernel, name: str, release: str) -> str:
    """The file of a module.

    Raises:
        Refused: there is none.
    """
    module = on_disk(kernel.root, release)
    part = loaded_name(name)
    if part == "nouveau":
        return f"/lib/modules/{release}/kernel/drivers/gpu/drm/nouveau/nouveau.ko.xz"
    if module is None:
        raise Refused(f"modprobe: FATAL: Module {name} not found in directory /lib/modules/{release}")
    return _beside(kernel, module, (part or "").removeprefix("nvidia"))


def _beside(kernel: Kernel, module: Module, part: str) -> str:
    """The file of one of a driver's modules: those that have none of their own lie beside the first."""
    file = module.file or Path("nvidia.ko")
    stem, suffix, packed = file.name.partition(".ko")
    inside = file.parent.relative_to(kernel.root) if file.is_absolute() else file.parent
    return f"/{inside}/{stem}{part.replace('_', '-')}{suffix}{packed}"


def _release(path: str) -> str:
    """The kernel whose module a file is."""
    return path.partition("/lib/modules/")[2].partition("/")[0]


def _stem(module: Module | None) -> str:
    return plain(module.file.name.partition(".ko")[0]) if module and module.file else ""


def _split(arguments: Sequence[str], letters: str) -> tuple[set[str], dict[str, str], list[str]]:
    """Flags, options with values, and the rest; letters may stand together: `-qr`."""
    flags: set[str] = set()
    values: dict[str, str] = {}
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        key, _, value = word.partition("=")
        if word in _VALUED and words:
            values[word] = words.pop(0)
        elif key in _VALUED and value:
            values[key] = value
        elif word.startswith("--"):
            flags.add(word)
        elif word.startswith("-") and set(word[1:]) <= set(letters):
            flags |= set(word[1:])
        elif word.startswith("-"):
            flags.add(word)
        else:
            rest.append(word)
    return flags, values, rest


def _kmod(tool: str, arguments: Sequence[str]) -> int:
    sys.stdout.flush()
    return subprocess.run([tool, *arguments], executable=KMOD, check=False).returncode


def _say(text: str) -> None:
    sys.stdout.write(text)
