"""Headers of models by strangers: whatever they claim, reading one takes bounded memory and time."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from rigwright.cli.plan import plan
from rigwright.cli.size import size
from rigwright.errors import UnreadableModel
from rigwright.models import read_model
from rigwright.models.header import MAX_TENSORS, Corrupt, Header
from rigwright.models.parts import joined, part_names
from rigwright.models.values import Tensor
from rigwright.plan.engines.llamacpp.placement import Room, place
from rigwright.plan.memory import Load

Encode = Callable[..., bytes]
MODEL = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.embedding_length": 32,
    "llama.attention.head_count": 4,
    "llama.context_length": 2048,
}


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name.encode()) + struct.pack("<I", kind) + value


def header(*keys: bytes, tensors: bytes = b"", count: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, count, len(keys)) + b"".join(keys) + tensors


def small_arrays() -> bytes:
    """59 MiB of lists of 4096 bytes: each became 4096 objects, 1.46 GB and 27 s in all with the reader of 208d973."""
    return header(*(key(f"k{n}", 9, struct.pack("<IQ", 0, 4096) + bytes(4096)) for n in range(15_000)))


def wide_texts() -> bytes:
    """60 MiB of text that is four times as large in memory."""
    wide = "𝔊".encode() * (1 << 20)
    return header(*(key(f"k{n}", 8, text(wide)) for n in range(15)))


def long_keys() -> bytes:
    """Keys of a megabyte."""
    return header(*(key(f"{n:04}" * (1 << 18), 7, b"\1") for n in range(60)))


def empty_strings() -> bytes:
    """Eight million strings of nothing."""
    return header(key("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, (60 << 20) // 8) + bytes(60 << 20)))


def endless_strings() -> bytes:
    """2^64 - 1 strings."""
    return header(key("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2**64 - 1) + bytes(60 << 20)))


def many_keys() -> bytes:
    """As many keys as are allowed, with nothing in them."""
    return header(*(key(f"k{n}", 7, b"\1") for n in range(100_000)))


def many_tensors() -> bytes:
    """As many tensors as are allowed, with long names."""
    rows = b"".join(text(b"%0255d" % n) + struct.pack("<I4QIQ", 4, 32, 1, 1, 1, 0, 128 * n) for n in range(100_000))
    return header(tensors=rows, count=100_000)


def nested_arrays() -> bytes:
    """Lists of lists of lists."""
    return header(key("k", 9, struct.pack("<IQ", 9, 1) * 1_000_000))


BOMBS = (small_arrays, wide_texts, long_keys, empty_strings, endless_strings, many_keys, many_tensors, nested_arrays)


@pytest.mark.patience
@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_header_costs_no_more_than_its_own_size(tmp_path, bomb):
    """At most 320 MiB of memory and 20 s of processor for a header of 60 MiB, whatever it says, and then one line."""
    path = tmp_path / "m.gguf"
    path.write_bytes(bomb())
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from pathlib import Path
from rigwright.errors import UnreadableModel
from rigwright.models import read_model
try:
    read_model(Path({str(path)!r}))
except UnreadableModel as error:
    print(error.message)
# Of this program alone: the figure of getrusage begins with the memory of who started it.
print(next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    line, mebibytes = done.stdout.splitlines()
    assert line.startswith(f"{path}: ")
    assert len(line) < 400
    assert int(mebibytes) < 320


def test_parts_together_are_bounded_too():
    """A name says 1000 parts; 100,000 tensors in all is what one file may have."""
    names = part_names("m-00001-of-01000.gguf")
    read: list[str] = []

    def part(name: str) -> Header:
        read.append(name)
        tensors = tuple(Tensor(f"{name}{n}", (32,), "F32", 128) for n in range(30_000))
        return Header({"split.count": 1000, "split.no": len(read) - 1}, tensors, 1)

    with pytest.raises(Corrupt, match=f"its parts hold more than {MAX_TENSORS} tensors"):
        joined(names, part)
    assert len(read) == 4


@pytest.mark.parametrize(
    ("change", "rows", "says"),
    [
        ({}, [], "its layers hold no weights, so that it cannot answer"),
        ({}, [("token_embd.weight", (32, 8), "F32")], "its layers hold no weights"),
        ({}, [("blk.7.ffn_up.weight", (32, 8), "F32")], "its layers hold no weights"),
        ({}, [("blk.0.ffn_up_exps.weight", (32, 8), "F32")], "its layers hold no weights"),
        ({"llama.expert_count": 8}, [("blk.0.attn_q.weight", (32, 8), "F32")], "it uses 0 of its 8 experts"),
        (
            {"llama.expert_count": 8, "llama.expert_used_count": 9},
            [("blk.0.attn_q.weight", (32, 8), "F32")],
            "it uses 9 of its 8 experts",
        ),
    ],
)
def test_model_that_cannot_answer_is_one_line(tmp_path, gguf_header: Encode, monkeypatch, change, rows, says):
    """llama.cpp ships vocabularies as GGUF files: `plan` and `size` divided by the time that their weights take."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(gguf_header({**MODEL, **change}, rows) + bytes(4096))
    with pytest.raises(UnreadableModel, match=says):
        read_model(path)
    wish = tmp_path / "rig.yml"
    wish.write_text(f"services: [{{name: chat, model: {path}}}]\n")
    what_if = ["--gpu", "1x RTX 3090", "--spec", str(wish)]
    for command, arguments in ((size, [str(path), "--speed", "--gpu", "RTX 3090"]), (plan, what_if)):
        done = CliRunner().invoke(command, arguments)
        assert done.exit_code == 1, (done.output, done.exception)
        assert says in done.output
        assert not isinstance(done.exception, ZeroDivisionError)


def test_tensor_of_nothing_is_refused(tmp_path, gguf_header: Encode):
    """A dimension of zero: no bytes, no weights."""
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_header(MODEL, [("blk.0.attn_q.weight", (0, 8), "F32")]))
    with pytest.raises(UnreadableModel, match="cannot have the shape"):
        read_model(path)


@pytest.mark.parametrize("ram_bytes", [0, 1 << 40])
def test_more_gpus_than_layers_is_no_placement(tiny_dense, ram_bytes):
    """Four layers that do not fit sixteen GPUs: none is looked for beyond the last."""
    room = Room((1 << 20,) * 16, ram_bytes)
    assert place(read_model(tiny_dense), Load(context_tokens=4096), room) is None
