"""llama.cpp's own dry run refines a plan: a card that is recorded, and a stand-in that prints what it would say of it.

The model is a header of real size with holes for weights, which lies on the rig; what serves is the real llama-server,
with the tiny model on the CPU in its place.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ..roles.test_shells import fatbin
from .conftest import wait_healthy

pytestmark = pytest.mark.lab

MODEL = "/srv/models/wide.gguf"
BUFFERS = "/var/lib/rigwright/services/demo/buffers"
# In place of llama-server: asked to serve, it serves what it can here.
SERVER = """#!/bin/sh
case " $* " in *" --port "*) ;; *) exec "$(dirname "$(readlink -f "$0")")/llama-server.real" "$@" ;; esac
while [ $# -gt 0 ]; do
  case $1 in --host) host=$2 ;; --port) port=$2 ;; esac
  shift
done
exec "$(dirname "$(readlink -f "$0")")/llama-server.real" --model /var/lib/rigwright/weights/tiny.gguf --device none \\
  --ctx-size 2048 --parallel 1 --host "$host" --port "$port"
"""
# In place of llama-fit-params: a compute buffer of so many KiB for each token of the context.
FIT = """#!/bin/sh
type=f16
while [ $# -gt 0 ]; do
  case $1 in --ctx-size) context=$2 ;; --cache-type-k) type=$2 ;; esac
  shift
done
[ $type = f16 ] && each=8192 || each=4352
echo "CUDA0 7600 $((context * each / 65536)) $((context * KIB / 1024))"
echo "Host 500 0 20"
"""


def write_wide_model(path: Path) -> int:
    """The header of a llama of 8B parameters whose weights are 8 bits each; its whole size."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("wide")
    for add, value in (
        (writer.add_block_count, 32), (writer.add_context_length, 131072), (writer.add_embedding_length, 4096),
        (writer.add_feed_forward_length, 14336), (writer.add_head_count, 32), (writer.add_head_count_kv, 8),
        (writer.add_vocab_size, 128256),
    ):  # fmt: skip
        add(value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_chat_template("{{ messages }}")
    kind = gguf.GGMLQuantizationType.Q8_0

    def add_tensor(name: str, columns: int, rows: int) -> int:
        shape, size = gguf.quant_shape_to_byte_shape((rows, columns), kind), columns * rows * 34 // 32
        writer.add_tensor_info(name, shape, numpy.dtype("uint8"), size, kind)
        return -(-size // 32) * 32

    import numpy

    total = add_tensor("token_embd.weight", 4096, 128256) + add_tensor("output.weight", 4096, 128256)
    for layer in range(32):
        for name, columns, rows in (
            ("attn_q", 4096, 4096), ("attn_k", 4096, 1024), ("attn_v", 4096, 1024), ("attn_output", 4096, 4096),
            ("ffn_gate", 4096, 14336), ("ffn_up", 4096, 14336), ("ffn_down", 14336, 4096),
        ):  # fmt: skip
            total += add_tensor(f"blk.{layer}.{name}.weight", columns, rows)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return -(-path.stat().st_size // 32) * 32 + total


@pytest.fixture(scope="module")
def rig(workshop: Any, trixie: Any) -> Any:
    """A rig with two recorded RTX 3090, on which a large model lies."""
    name = workshop.boot("fits", from_snapshot=trixie.snapshot, hardware="2x-rtx3090")
    wait_healthy(workshop, name)
    path = workshop.directory / "wide.gguf"
    size = write_wide_model(path)
    command = f"mkdir -p /srv/models && cat >{MODEL} && truncate -s {-(-size // 4096) * 4096} {MODEL}"
    subprocess.run(workshop.lab.enter(name, ["sh", "-c", command]), input=path.read_bytes(), check=True)
    yield name
    workshop.lab.down([name])


@pytest.fixture(scope="module")
def wanted(workshop: Any, rig: str) -> dict[str, Any]:
    """The large model on one card, with as much context as fits; buffers take 64 KiB for each token."""
    found: dict[str, Any] = workshop.spec(llamacpp=_binaries(workshop, rig, 64), model={"path_on_rig": MODEL}, gpu=0)
    del found["services"][0]["context"]
    return found


def _binaries(workshop: Any, rig: str, kib: int) -> dict[str, Any]:
    """The release of the rig with the stand-ins, in the form of upstream's archives."""
    path = workshop.directory / f"llama-{kib}.tar"
    workshop.on(
        rig,
        "rm -rf /root/standins; cp -a $(ls -d /opt/rigwright/llamacpp/releases/*/bin | head -n1) /root/standins;"
        " cd /root/standins; [ -e llama-server.real ] || mv llama-server llama-server.real; rm llama-fit-params",
    )
    for file, text in (("llama-server", SERVER), ("llama-fit-params", FIT.replace("KIB", str(kib)))):
        workshop.lab.exec(rig, ["sh", "-c", f"cat >/root/standins/{file}; chmod 755 /root/standins/{file}"], input=text)
    # What says that there is code for the card; nothing loads it.
    put = ["sh", "-c", "cat >/root/standins/libggml-cuda.so"]
    subprocess.run(workshop.lab.enter(rig, put), input=fatbin((2, 86)), check=True)
    command = ["tar", "-cf", "-", "-C", "/root/standins", "--transform", "s,^\\.,llama-b1,", "."]
    with path.open("wb") as file:
        subprocess.run(workshop.lab.enter(rig, command), stdout=file, check=True)
    with path.open("rb") as file:
        return {"prebuilt": {"path": str(path), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}}


def planned(workshop: Any, rig: str, wanted: dict[str, Any], *options: str) -> Any:
    done = workshop.rigwright("plan", str(workshop.inventory(wanted, rig)), *options)
    assert done.code == 0, done.output
    return done


def test_refused_deploy_is_followed_by_one_that_fits(workshop: Any, rig: str, wanted: dict[str, Any]) -> None:
    """What llama.cpp says counts from the next plan on, and what is deployed then stays."""
    serving = workshop.on(rig, "systemctl show -P MainPID rigwright-demo")
    first = workshop.deploy(wanted, rig)
    assert first.code == 1, first.output
    assert "as its compute buffer is " in first.output and "the next deploy plans with it" in first.output, first.output
    assert workshop.on(rig, "systemctl show -P MainPID rigwright-demo") == serving, "what serves goes on"
    assert len(workshop.on(rig, f"cat {BUFFERS}").splitlines()) == 1
    why = planned(workshop, rig, wanted, "--why")
    assert "as llama.cpp's own dry run on this rig says" in " ".join(why.output.split()), why.output
    assert "as llama.cpp's own dry run on this rig says" in " ".join(planned(workshop, rig, wanted).output.split())
    dry = workshop.deploy(wanted, rig, arguments=("--dry",))
    second = workshop.deploy(wanted, rig)
    assert second.code == 0, second.output
    flags = json.loads(workshop.on(rig, "cat /etc/rigwright/demo.json"))["flags"]
    context = next(flag["value"] for flag in flags if flag["name"] == "--ctx-size")
    assert f"--ctx-size {context}" in why.output
    assert "Serve demo" in dry.output
    for _ in range(2):
        again = workshop.deploy(wanted, rig)
        assert (again.code, again.changed) == (0, set()), again.output
    assert len(workshop.on(rig, f"cat {BUFFERS}").splitlines()) == 1


def test_lock_says_the_same(workshop: Any, rig: str, wanted: dict[str, Any]) -> None:
    """What is locked is what runs, and would be planned anew; without what was said a new plan would do otherwise."""
    lock = workshop.directory / "inventory.lock.yml"
    assert not lock.exists()
    planned(workshop, rig, wanted, "--write")
    assert lock.exists(), sorted(workshop.directory.iterdir())
    locked = workshop.deploy(wanted, rig)
    assert (locked.code, locked.changed) == (0, set()), locked.output
    held = planned(workshop, rig, wanted).output
    workshop.on(rig, f"mv {BUFFERS} /root/buffers")
    forgotten = planned(workshop, rig, wanted).output
    workshop.on(rig, f"mv /root/buffers {BUFFERS}")
    lock.unlink()
    assert "--ctx-size:" not in held and re.search(r"--ctx-size: \d+ -> 98304", forgotten), forgotten
