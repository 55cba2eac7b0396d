"""shellcheck on every shell script as it runs: behind the prelude, its parameters, and the scripts before it.

`make check` runs it. A finding is mended, or disabled in the script on its own line with the reason behind it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rigwright.hardware import collection
from rigwright.roles.base.probe import Probe

ROOT = Path(__file__).parents[1]
PRELUDE = "base/prelude.sh"
# Scripts that run as one: what comes first defines what the later ones call. Every other one follows the prelude alone.
_REMOVAL = (
    *("base/ours.sh", "base/drain.sh", "base/remove-unit.sh", "base/removal.sh"),
    *("base/owner.sh", "base/remove-own.sh", "base/remove.sh"),
)
JOINED = [
    ("base/manager.sh", "base/apt.sh", "base/bring.sh", "base/packages.sh"),
    ("base/manager.sh", "base/dnf.sh", "base/bring.sh", "base/packages.sh"),
    ("base/manager.sh", "base/apt.sh", "base/bring.sh", "base/sent.sh"),
    ("base/manager.sh", "base/apt.sh", *_REMOVAL),
    ("base/manager.sh", *_REMOVAL),
    *(
        ("base/manager.sh", f"base/{tool}.sh", "base/bring.sh", "nvidia/driver.sh", f"nvidia/driver-{tool}.sh", *names)
        for tool in ("apt", "dnf")
        for names in (
            *((f"nvidia/{name}.sh",) for name in ("mend", "install", "rebuild", "keep", "load", "prove")),
            ("nvidia/key.sh", f"nvidia/source-{tool}.sh", "nvidia/repository.sh"),
        )
    ),
    ("base/manager.sh", "base/apt.sh", "nvidia/key.sh", "nvidia/source-apt.sh", "nvidia/ask.sh"),
    ("base/owner.sh", "base/drain.sh", "base/remove-unit.sh", "base/remove-service.sh"),
    ("base/drain.sh", "nvidia/reboot.sh"),
    ("base/own-unit.sh", "nvidia/power-set.sh"),
    ("base/own-unit.sh", "base/remove-unit.sh", "nvidia/power-remove.sh"),
    ("base/own-unit.sh", "service/tune.sh"),
    ("base/own-unit.sh", "lmstudio/serve.sh"),
    ("base/own-unit.sh", "base/remove-unit.sh", "service/untune.sh"),
    ("base/owner.sh", "service/key.sh"),
    ("llamacpp/settle.sh", "llamacpp/build.sh"),
    ("llamacpp/settle.sh", "llamacpp/fatbins.sh", "llamacpp/proof.sh", "llamacpp/receive.sh"),
    ("base/manager.sh", "base/apt.sh", "base/bring.sh", "llamacpp/offered.sh", "llamacpp/choose.sh"),
    (
        *("base/manager.sh", "base/apt.sh", "base/bring.sh"),
        *(f"llamacpp/{name}.sh" for name in ("settle", "fatbins", "proof", "offered", "unpack")),
    ),
    ("cuda/prove.sh", "cuda/try.sh"),
    ("cuda/prove.sh", "cuda/install.sh"),
    ("base/owner.sh", "base/remove-unit.sh", "service/watch-set.sh", "service/record.sh"),
    ("service/answer.sh", "service/group.sh", "service/watch.sh"),
    (
        "base/owner.sh",
        "base/drain.sh",
        "base/remove-unit.sh",
        "service/watch-set.sh",
        "service/hold.sh",
        "service/swap.sh",
        "weights/place.sh",
        "service/answer.sh",
        "service/sandbox.sh",
        "llamacpp/estimate.sh",
        "service/switch.sh",
    ),
    *(("weights/place.sh", "weights/accept.sh", f"weights/{name}.sh") for name in ("adopt", "install", "link")),
    ("weights/place.sh", "weights/accept.sh", "weights/config.sh", "weights/download.sh"),
    ("llamacpp/settle.sh", "ollama/unpack.sh"),
]
# Questions to a rig: put together by the code that asks them.
ASKED = {"service/tuning-state.sh", "base/deployed.sh", "hardware/collect.sh", "hardware/software.sh"}
# Of the prelude's functions, and of those that a script is joined with, each script uses some.
EXCLUDED = "SC2329"


def scripts() -> Iterator[tuple[str, str]]:
    """Name and text of all that is checked."""
    yield "a probe", "#!/bin/sh\n" + Probe(services=("chat",)).script()
    yield "hardware/collect.sh", "#!/bin/sh\n" + collection.script(everything=True, with_software=True)
    found = {str(path.relative_to(ROOT / "roles")) for path in (ROOT / "roles").rglob("*.sh")}
    alone = found - ASKED - {PRELUDE} - {name for names in JOINED for name in names}
    for names in [*JOINED, *((name,) for name in sorted(alone))]:
        yield " + ".join(names), _with_parameters([(ROOT / "roles" / name).read_text() for name in (PRELUDE, *names)])
    for place in ("rigwright/lab", "tests/engines"):
        for path in sorted((ROOT / place).glob("*.sh")):
            yield str(path.relative_to(ROOT)), path.read_text()
    for path in sorted((ROOT / "tests/lab/driver_files").iterdir()):
        if (text := path.read_text()).startswith("#!"):
            yield str(path.relative_to(ROOT)), text
    yield ".ci/run", (ROOT / ".ci/run").read_text()


def check(text: str) -> str:
    """What shellcheck finds; empty where it is content."""
    # The one of the development packages, whatever the system has.
    program = str(Path(sys.executable).with_name("shellcheck"))
    command = [program, "--color=never", f"--exclude={EXCLUDED}", "--wiki-link-count=0", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr)
    return done.stdout.strip()


def _with_parameters(texts: list[str]) -> str:
    """As `resources.script` does: the values that the controller gives stand between prelude and script."""
    whole = "\n".join(texts)
    used = dict.fromkeys(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", whole))
    assigned = set(re.findall(r"\b([A-Z][A-Z0-9_]*)=", whole))
    given = [f"{name}='given'" for name in used if name not in assigned]
    return "\n".join(["#!/bin/sh", texts[0], *given, *texts[1:]])


def main() -> int:
    """Print all findings; 1 where there is one."""
    found = {name: said for name, text in scripts() if (said := check(text))}
    for name, said in found.items():
        sys.stdout.write(f"== {name}\n{said}\n\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
