"""llama.cpp for Vulkan: built on a rig that says it has GPUs of AMD's, and run there by Mesa's driver for CPUs.

No GPU is here: what `make lab-vulkan` cannot show is Mesa's driver of a card.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import wait_healthy

pytestmark = [pytest.mark.lab, pytest.mark.vulkan]

RELEASES = "/opt/rigwright/llamacpp/releases"
MACHINE = Path(__file__).parents[1] / "captures" / "amd-json-rx6700xt-rocm612"
# Mesa's driver for CPUs is none that llama.cpp takes by itself; it is asked for by its number.
ON_MESA = """set -e
cd {at}/bin
export GGML_VK_VISIBLE_DEVICES=0
./llama-server --list-devices >/root/devices 2>&1
./llama-server --model {weights} --port 8099 --device Vulkan0 --n-gpu-layers all --ctx-size 512 -lv 5 >/root/log 2>&1 &
server=$!
for _ in $(seq 120); do curl -sf http://127.0.0.1:8099/health >/dev/null && break; sleep 0.5; done
curl -sf http://127.0.0.1:8099/v1/completions -d '{{"prompt": "a", "max_tokens": 4}}'
kill $server
"""


def test_release_for_vulkan_is_built_and_computes(workshop: Any, trixie: Any) -> None:
    """It serves from the CPU, refuses GPUs that Vulkan does not show before anything stops, and computes by Vulkan."""
    rig = workshop.boot("vulkan-rig", from_snapshot=trixie.snapshot, hardware=str(MACHINE))
    workshop.on(rig, "groupadd -r render")  # which udev brings
    before = workshop.on(rig, f"ls {RELEASES}").split()
    for_vulkan = {"archive": "pinned", "backend": "vulkan"}
    on_cpu = workshop.spec(gpu="none", llamacpp=for_vulkan)
    first = workshop.deploy(on_cpu, rig, seconds=3 * 3600)
    assert first.code == 0, first.output
    assert {"Install packages", "Install compilers", "Build llama.cpp", "Serve demo"} <= first.changed, first.changed
    again = workshop.deploy(on_cpu, rig)
    assert (again.code, again.changed) == (0, set()), again.output
    (release,) = set(workshop.on(rig, f"ls {RELEASES}").split()) - set(before)
    at = f"{RELEASES}/{release}"
    sys.stdout.write(f"{workshop.on(rig, f'cat {at}/receipt.json; du -sh {at}')}\n")
    names = workshop.on(rig, f"ls {at}/bin").split()
    assert {"libggml-vulkan.so", "libggml-cpu-haswell.so"} <= set(names), names

    process = workshop.on(rig, "systemctl show -P MainPID rigwright-demo")
    refused = workshop.deploy(workshop.spec(llamacpp=for_vulkan), rig)
    assert refused.code != 0 and "llama.cpp finds no Vulkan0: Vulkan shows it no GPU" in refused.output, refused.output
    wait_healthy(workshop, rig)
    assert workshop.on(rig, "systemctl show -P MainPID rigwright-demo") == process

    weights = workshop.on(
        rig, "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID rigwright-demo)/cmdline | sed -n '/^--model$/{n;p}'"
    )
    answer = json.loads(workshop.on(rig, ON_MESA.format(at=at, weights=weights)))
    assert answer["usage"]["completion_tokens"] > 0
    assert "Vulkan0" in workshop.on(rig, "cat /root/devices")
    log = workshop.on(rig, "cat /root/log")
    found = re.search(r"offloaded (\d+)/(\d+) layers to GPU", log)
    assert found and found[1] == found[2], log[-3000:]
    workshop.lab.down([rig])
