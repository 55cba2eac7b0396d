"""dnf and rpm over a list of packages: what the scripts of the role tell them, and what these answer."""

from __future__ import annotations

import json
import sys
from typing import Any

from .driver_box import KERNEL, DriverBox

# Sources: dnf 4.14 of Rocky 9 (tables, versionlock, messages), dnf 5.2 of Fedora 42 (versionlock).
_DNF = f"""#!{sys.executable} -I
import json, os, subprocess, sys
home = "@HOME@"
state = json.load(open(home + "/dnf.json"))
words = sys.argv[1:]
open(home + "/did", "a").write("dnf " + " ".join(words) + "\\n")
names = [word for word in words if not word.startswith("-")]
command, names = names[0], names[1:]
offered, there = state["offered"], state["there"]

def end(code, *lines):
    json.dump(state, open(home + "/dnf.json", "w"))
    print("\\n".join(lines), file=sys.stderr if code else sys.stdout)
    sys.exit(code)

def hook(kind, name, version):
    for text in state["hooks"].get(kind + " " + name, []):
        subprocess.run(["sh", "-c", text.replace("VERSION", version)], check=False)

if command == "makecache":
    broken = [repo for repo in state["broken"]]
    if broken:
        end(1, *(f"Errors during downloading metadata for repository '{{one}}':" for one in broken),
            f"Error: Failed to download metadata for repo '{{broken[0]}}': Cannot download repomd.xml")
    end(0)
if command == "install":
    coming, erased = {{}}, []
    todo = list(names)
    while todo:
        name = todo.pop()
        version = None
        if name.endswith(".rpm"):
            name, version = json.load(open(name))
        if name.endswith(".*") and offered.get(name[:-2].rpartition("-")[0], {{"version": ""}})["version"].startswith(
            name[:-1].rpartition("-")[2]
        ):
            name = name.rpartition("-")[0]
        row = offered.get(name)
        if row is None:
            end(1, f"Error: Unable to find a match: {{name}}")
        version = version or row["version"]
        if name in coming or there.get(name) == version:
            continue
        coming[name] = version
        todo += row.get("requires", [])
        clash = [one for one in row.get("conflicts", []) if one in there]
        if clash and "--allowerasing" not in words:
            end(1, "Error: ", f" Problem: problem with installed package {{clash[0]}}")
        erased += clash
    if "--assumeno" in words:
        row = " {{:30}} x86_64  1  nvidia  1 k".format
        end(1, "Dependencies resolved.", "Installing:", *(row(name) for name in coming),
            *(["Removing:", *(row(name) for name in erased)] if erased else []),
            "", "Transaction Summary", "Operation aborted.")
    if any(name in state["failing"] for name in coming):
        end(1, "Error: Transaction test error:", "  file /usr/bin/x conflicts between attempted installs")
    for name in erased:
        hook("remove", name, there.pop(name))
    for name, version in coming.items():
        there[name] = version
        hook("install", name, version)
    end(0, "Complete!")
if command == "remove":
    missing = [name for name in names if name not in there]
    if missing:
        end(1, f"No match for argument: {{missing[0]}}", "Error: No packages marked for removal.")
    for name in names:
        hook("remove", name, there.pop(name))
    end(0)
if command == "download":
    folder = words[words.index("--destdir") + 1]
    for nevra in names:
        if nevra == folder:
            continue
        name, version = nevra.rsplit("-", 2)[0], nevra.rsplit("-", 2)[1]
        if version in state["lost"]:
            end(1, f"No package {{nevra}} available.", "Error: No packages marked for download")
        json.dump([name, version], open(f"{{folder}}/{{nevra}}.rpm", "w"))
    end(0)
if command == "versionlock":
    kind, names = names[0], names[1:]
    locks = state["locks"]
    if kind == "list" and state["is_dnf5"]:
        text = "# Added by 'versionlock add' command on 2026-11-29\\nPackage name: {{}}\\nevr = 3:1-1.fc42"
        end(0, *(text.format(one) for one in locks))
    if kind == "list":
        end(0, *(f"{{one}}-3:1-1.el9.*" for one in locks))
    if kind == "add":
        state["locks"] = sorted({{*locks, *names}})
    else:
        state["locks"] = [one for one in locks if one not in names]
    end(0)
if command in ("module", "repoquery"):
    end(0, *(there if command == "repoquery" else ()))
end(64, "unknown: " + command)
"""
_RPM = f"""#!{sys.executable} -I
import json, sys
there = json.load(open("@HOME@/dnf.json"))["there"]
words = sys.argv[1:]
if words[0] == "-qa":
    print("\\n".join(there))
elif words[0] == "-q":
    lacking = [name for name in words[1:] if name not in there]
    for name in words[1:]:
        print(f"{{name}}-{{there[name]}}-1.el9.x86_64" if name in there else f"package {{name}} is not installed")
    sys.exit(bool(lacking))
elif words[:2] == ["-e", "--test"]:
    pass
else:
    sys.exit(64)
"""


class Dnf:
    """The packages of a rig."""

    def __init__(self, box: DriverBox, **state: Any) -> None:
        self.box = box
        empty: dict[str, Any] = {"offered": {}, "there": {}, "hooks": {}, "broken": [], "failing": [], "lost": []}
        self.write({**empty, "locks": [], "is_dnf5": False, **state})
        for name, text in {"dnf": _DNF, "rpm": _RPM}.items():
            file = box.home / "bin" / name
            file.write_text(text.replace("@HOME@", str(box.home)))
            file.chmod(0o755)

    @property
    def state(self) -> dict[str, Any]:
        """All that is known."""
        found: dict[str, Any] = json.loads((self.box.home / "dnf.json").read_text())
        return found

    def write(self, state: dict[str, Any]) -> None:
        """All that is known, anew."""
        (self.box.home / "dnf.json").write_text(json.dumps(state))

    def change(self, **state: Any) -> None:
        """Some of it."""
        self.write(self.state | state)

    def offer_driver(self, version: str, *, breaks: str = "") -> None:
        """A driver of NVIDIA's repository for EL: its libraries, and modules that dkms compiles."""
        home = self.box.home
        requires = ["kmod-nvidia-open-dkms", "nvidia-driver-libs"]
        added = f"echo 'nvidia/VERSION: added' >{home}/dkms"
        module, library = f"{home}/lib/modules/{KERNEL}/nvidia.ko", f"{home}/usr/lib/libcuda.so"
        built = f"echo 'nvidia/VERSION, {KERNEL}, x86_64: installed' >{home}/dkms; echo VERSION >{module}"
        link = f"mkdir -p {home}/usr/lib; touch {library}.VERSION; ln -sf libcuda.so.VERSION {library}.1"
        if breaks:
            (home / "broken").touch()
            folder = f"{home}/var/lib/dkms/nvidia/VERSION/build"
            added += f"; mkdir -p {folder}; echo 'x.c: error: y' >{folder}/make.log"
        state = self.state
        state["offered"] |= {
            "nvidia-open": {"version": version, "requires": requires},
            "nvidia-driver-libs": {"version": version},
            "kmod-nvidia-open-dkms": {"version": version, "conflicts": ["kmod-nvidia-latest-dkms"]},
            "kernel-devel": {"version": "6.12"},
        }
        state["hooks"] |= {
            "install nvidia-driver-libs": [link],
            "remove nvidia-driver-libs": [f"rm -f {home}/usr/lib/libcuda*"],
            "install kmod-nvidia-open-dkms": [
                f"case VERSION in {version}) {added if breaks else built} ;; *) {built} ;; esac"
            ],
            "remove kmod-nvidia-open-dkms": [f"rm -f {home}/dkms {home}/lib/modules/{KERNEL}/nvidia.ko"],
        }
        self.write(state)

    def install(self, **packages: str) -> None:
        """What is there already."""
        state = self.state
        for name, version in packages.items():
            state["there"][name.replace("_", "-")] = version
        self.write(state)
