"""Damage headers of models as a hostile hub would, and read, size and plan them: a model or one line, in bounds.

    python tests/fuzz/headers.py --count 10000

Each input is the header of a tiny real model with one to four mutations. `--seed N --count 1` repeats the input that a
failure names. Memory is bounded by the kernel, time by a clock, both for each process.
"""

from __future__ import annotations

import io
import random
import struct
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from runner import Fuzz, main

from rigwright.errors import RigwrightError, WrongSpec
from rigwright.hardware import Cpu, Gpu, Hardware
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.models.header import parse_header
from rigwright.models.reading import model_from_stream
from rigwright.models.values import Model
from rigwright.plan.rig_plan import Request, plan_rig
from rigwright.plan.size import size
from rigwright.plan.speed import decode_speed, throughput_of
from rigwright.plan.wish import ServiceWish
from rigwright.weights.gguf import gguf_offer

RIG = Hardware(
    "debian", "13", "trixie", "6.12", "x86_64", Cpu("EPYC", 16, 32), 64 << 30,
    gpus=(Gpu(index=0, uuid="GPU-0", vendor="NVIDIA", pci_address="0000:01:00.0", name="NVIDIA GeForce RTX 3090",
              vram_bytes=24 << 30, compute_capability="8.6", state="ok"),),
    driver_version="580.178",
)  # fmt: skip
WISH = ServiceWish.model_validate({"name": "chat", "model": "m.gguf"})
NUMBERS = (0, 1, 2, 8, 31, 2**16, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)


@cache
def originals() -> tuple[bytes, ...]:
    """The headers of two real models, a dense one and a hybrid mixture, up to their weights."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [write_tiny_model(Path(folder) / f"{name}.gguf", name) for name in ("llama", "qwen35moe")]
        return tuple(path.read_bytes()[: _end(path.read_bytes())] for path in paths)


def _end(data: bytes) -> int:
    """Where the weights begin."""
    header = parse_header(data)
    return header.end_bytes - sum(tensor.size_bytes for tensor in header.tensors)


def flipped(rng: random.Random, data: bytearray) -> None:
    """A few bytes are others."""
    for _ in range(rng.randrange(1, 9)):
        data[rng.randrange(len(data))] = rng.randrange(256)


def counted(rng: random.Random, data: bytearray) -> None:
    """A count or a length is another number."""
    struct.pack_into("<Q", data, rng.randrange(len(data) - 8), rng.choice(NUMBERS))


def narrow(rng: random.Random, data: bytearray) -> None:
    """A type, or a number of dimensions."""
    struct.pack_into("<I", data, rng.randrange(len(data) - 4), rng.choice(NUMBERS) % 2**32)


def first_counts(rng: random.Random, data: bytearray) -> None:
    """How many tensors and keys there are."""
    struct.pack_into("<Q", data, rng.choice((8, 16)), rng.choice((*NUMBERS, rng.randrange(64))))


def cut(rng: random.Random, data: bytearray) -> None:
    """The file ends early."""
    del data[rng.randrange(len(data)) :]


def doubled(rng: random.Random, data: bytearray) -> None:
    """A part of it is there twice."""
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randrange(1, 4096)]


def dropped(rng: random.Random, data: bytearray) -> None:
    """A part of it is not there."""
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, 256)]


def renamed(rng: random.Random, data: bytearray) -> None:
    """A key or a tensor is called otherwise, of the same length."""
    names = b"block_count embedding_length head_count expert_count expert_used_count blk.0 blk.1 token_embd output"
    name = rng.choice([*names.split(), b"key_length", b"split.count", b"context_length", b"ffn_down"])
    at = data.find(name)
    if at >= 0:
        data[at : at + len(name)] = bytes(rng.choice(b"abcxyz_.0123456789\xff\x1b\n") for _ in name)


def hostile_number(rng: random.Random, data: bytearray) -> None:
    """The value of one of the keys that all is computed from."""
    names = (
        b"block_count embedding_length head_count head_count_kv expert_count expert_used_count key_length value_length"
    )
    more = b"context_length feed_forward_length inner_size state_size conv_kernel sliding_window alignment"
    name = rng.choice([*names.split(), *more.split()])
    at = data.find(name)
    if at >= 0 and at + len(name) + 8 <= len(data):
        struct.pack_into("<I", data, at + len(name) + 4, rng.choice((*NUMBERS, rng.randrange(300))) % 2**32)


MUTATIONS = (flipped, counted, narrow, first_counts, cut, doubled, dropped, renamed, hostile_number)


def damaged(seed: int) -> tuple[bytes, list[str]]:
    """The input of a seed, and what was done."""
    rng = random.Random(seed)
    data, done = bytearray(rng.choice(originals())), []
    for mutation in rng.choices(MUTATIONS, k=rng.choice((1, 1, 2, 3, 4))):
        if len(data) > 64:
            mutation(rng, data)
            done.append(mutation.__name__)
    return bytes(data), done


def use(model: Model) -> None:
    """What `size` and `plan` compute of a model."""
    for throughputs in ([], [throughput_of("NVIDIA GeForce RTX 3090")]):
        speed = decode_speed(model, throughputs=throughputs, depth_tokens=4096, users=4)
        if not 0 < speed.low <= speed.expected <= speed.high:
            raise AssertionError(f"a speed of {speed}")
    for engine in ("llamacpp", "vllm"):
        with suppress(WrongSpec):
            size(model, engine=engine, context_tokens=4096, slots=2, vram_bytes=(24 << 30,))
    plan_rig(RIG, [Request(WISH, (gguf_offer("m.gguf", model),), None, "/w")])


def read(data: bytes) -> tuple[str, str | None]:
    """Whether a header was read, and what is wrong with what was said of it."""
    try:
        use(model_from_stream(io.BytesIO(data).read, where="m.gguf", size_bytes=None))
    except RigwrightError as error:
        is_line = len(error.message) <= 1000 and error.message.isprintable()
        return "refused", None if is_line else f"says {error.message[:200]!r}"
    return "read", None


FUZZ = Fuzz("headers", originals, damaged, read)

if __name__ == "__main__":
    sys.exit(main(FUZZ, __doc__))
