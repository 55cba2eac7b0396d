"""Models and rigs for tests: GGUF bytes written independently of the reader, and the dimensions of a real 35B model."""

from __future__ import annotations

import io
import socket
import struct
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigwright.hardware import Cpu, Gpu, Hardware, Link, PcieLink, models
from rigwright.hardware.capture import read_folder
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.models import Model
from rigwright.models.reading import model_from_stream
from rigwright.plan.devices import named

GIB = 1024**3


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of other machines are unknown here: what a hub would say is what the catalogue says."""
    known = socket.getaddrinfo

    def lookup(host: str | None, *arguments: Any, **options: Any) -> Any:
        if host in (None, "localhost") or str(host).startswith(("127.", "::1")):
            return known(host, *arguments, **options)
        raise socket.gaierror(socket.EAI_NONAME, "no network in these tests")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


# ggml's ids, block sizes and bytes, written down again so that the tests do not lean on the table they test.
TYPES = {"F32": (0, 1, 4), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210)}

Rows = Iterable[tuple[str, tuple[int, ...], str]]


def text(value: str | bytes) -> bytes:
    """A GGUF string."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def encode_value(value: Any) -> bytes:
    """A GGUF value with its type: bool, u32, f32, string, or an array of one of them."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    entries = [encode_value(entry) for entry in value]
    return struct.pack("<I", 9) + entries[0][:4] + struct.pack("<Q", len(entries)) + b"".join(e[4:] for e in entries)


def encode_header(metadata: Mapping[str, Any], rows: Rows, *, raw: Mapping[str, bytes] | None = None) -> bytes:
    """A GGUF file up to the start of its tensor data; `raw` are keys whose values are encoded already."""
    keys = b"".join(text(key) + encode_value(value) for key, value in metadata.items())
    keys += b"".join(text(key) + value for key, value in (raw or {}).items())
    table, offset, count = b"", 0, 0
    for name, shape, kind in rows:
        number, elements, size = TYPES[kind]
        table += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, number, offset)
        total = size
        for dimension in shape:
            total *= dimension
        offset += -(-total // elements // 32) * 32
        count += 1
    data = b"GGUF" + struct.pack("<IQQ", 3, count, len(metadata) + len(raw or {})) + keys + table
    return data + bytes(-len(data) % 32)


def rows_35b() -> Rows:
    """The tensors of Qwen3.5-35B-A3B, with a mixture of quants: 20743 MiB, as llama-fit-params reports."""
    yield from [("token_embd.weight", (2048, 248320), "Q4_K"), ("output_norm.weight", (2048,), "F32")]
    yield "output.weight", (2048, 248320), "Q6_K"
    full = {"attn_q": (2048, 8192), "attn_k": (2048, 512), "attn_v": (2048, 512), "attn_output": (4096, 2048)}
    delta = {"attn_qkv": (2048, 8192), "attn_gate": (2048, 4096), "ssm_out": (4096, 2048)}
    small = {"ssm_beta": (2048, 32), "ssm_alpha": (2048, 32)}
    shared = {"ffn_gate_shexp": (2048, 512), "ffn_up_shexp": (2048, 512), "ffn_down_shexp": (512, 2048)}
    for layer in range(40):
        is_full = layer % 4 == 3
        for name, shape in ({**full} if is_full else {**delta, **small}).items():
            yield f"blk.{layer}.{name}.weight", shape, "Q8_0"
        if is_full:
            yield from [(f"blk.{layer}.attn_{one}_norm.weight", (256,), "F32") for one in "qk"]
        else:
            yield f"blk.{layer}.ssm_conv1d.weight", (4, 8192), "F32"
            yield from [(f"blk.{layer}.{one}", (size,), "F32") for one, size in SSM_VECTORS.items()]
        for name in ("attn_norm", "post_attention_norm", "ffn_gate_inp_shexp"):
            yield f"blk.{layer}.{name}.weight", (2048,), "F32"
        yield f"blk.{layer}.ffn_gate_inp.weight", (2048, 256), "F32"
        yield f"blk.{layer}.ffn_gate_exps.weight", (2048, 512, 256), "Q4_K"
        yield f"blk.{layer}.ffn_up_exps.weight", (2048, 512, 256), "Q4_K"
        yield f"blk.{layer}.ffn_down_exps.weight", (512, 2048, 256), "Q5_K"
        for name, shape in shared.items():
            yield f"blk.{layer}.{name}.weight", shape, "Q8_0"


SSM_VECTORS = {"ssm_dt.bias": 32, "ssm_a": 32, "ssm_norm.weight": 128}

KEYS_35B = {
    "general.architecture": "qwen35moe",
    "general.name": "Qwen3.5-35B-A3B",
    "qwen35moe.block_count": 40,
    "qwen35moe.context_length": 262144,
    "qwen35moe.embedding_length": 2048,
    "qwen35moe.attention.head_count": 16,
    "qwen35moe.attention.head_count_kv": 2,
    "qwen35moe.attention.key_length": 256,
    "qwen35moe.attention.value_length": 256,
    "qwen35moe.full_attention_interval": 4,
    "qwen35moe.expert_count": 256,
    "qwen35moe.expert_used_count": 8,
    "qwen35moe.expert_feed_forward_length": 512,
    "qwen35moe.ssm.conv_kernel": 4,
    "qwen35moe.ssm.inner_size": 4096,
    "qwen35moe.ssm.state_size": 128,
    "qwen35moe.ssm.group_count": 16,
    "tokenizer.chat_template": "{{ messages }}",
}


@pytest.fixture(scope="session")
def header_35b() -> bytes:
    """The header of a 22 GB model: 248,320 tokens with scores, 247,000 merges."""
    tokens = struct.pack("<IIQ", 9, 8, 248320) + b"".join(text(f"token{i}") for i in range(248320))
    merges = struct.pack("<IIQ", 9, 8, 247000) + text("h e") * 247000
    kinds = struct.pack("<IIQ", 9, 5, 248320) + bytes(4 * 248320)
    raw = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds, "tokenizer.ggml.merges": merges}
    return encode_header(KEYS_35B, rows_35b(), raw=raw)


@pytest.fixture(scope="session")
def model_35b(header_35b: bytes) -> Model:
    """Qwen3.5-35B-A3B as a value."""
    return model_from_stream(io.BytesIO(header_35b).read, where="35b", size_bytes=None)


@pytest.fixture(scope="session")
def gguf_header() -> Callable[..., bytes]:
    """Writes a GGUF header from keys and rows."""
    return encode_header


@pytest.fixture(scope="session")
def tiny_hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny qwen35moe model."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "hybrid.gguf")


@pytest.fixture(scope="session")
def tiny_dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny llama model."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "dense.gguf", "llama")


@pytest.fixture(scope="session")
def rig() -> Callable[..., Hardware]:
    """Builds a rig: `rig(24, 12, ram=64)` has two GPUs of 24 and 12 GiB and 64 GiB of RAM."""

    def build(*vram: float, ram: float = 64, cores: int = 8, has_driver: bool = True) -> Hardware:
        gpus = tuple(
            Gpu(
                pci_address=f"0000:0{index + 1}:00.0",
                pci_id="10de:2204",
                name="RTX" if has_driver else None,
                index=index if has_driver else None,
                uuid=f"GPU-{index}" if has_driver else None,
                vram_bytes=int(size * GIB) if has_driver else None,
                state="ok" if has_driver else None,
            )
            for index, size in enumerate(vram)
        )
        cpu = Cpu(model="cpu", physical_cores=cores, logical_cores=2 * cores)
        return Hardware("debian", "13", "trixie", "6.12", "x86_64", cpu, int(ram * GIB), gpus=gpus)

    return build


CAPTURES = Path(__file__).parents[1] / "captures"


@pytest.fixture(scope="session")
def machine() -> Callable[..., Hardware]:
    """Builds a rig from the names of its parts, as the golden plans describe it."""
    return build_machine


def build_machine(
    *,
    gpus: Sequence[str] = (),
    ram_gib: int = 64,
    cores: int = 8,
    links: Mapping[str, str] | str = "PHB",
    lanes: Mapping[int, int] | None = None,
    lost: Sequence[int] = (),
    display: Sequence[int] = (),
    chip: str | None = None,
    vendor: str = "NVIDIA",
    capture: str | None = None,
    gpu: str | None = None,
) -> Hardware:
    """`links` is one class for all pairs, or classes by pair beside PHB; `capture` takes a recorded machine's links."""
    cpu = Cpu(model="cpu", physical_cores=cores, logical_cores=2 * cores)
    common = {"os_id": "debian", "os_version": "13", "architecture": "x86_64", "cpu": cpu, "ram_bytes": ram_gib * GIB}
    if capture:
        known = models.find(gpu)
        assert known
        return replace(named(read_folder(CAPTURES / capture), dict.fromkeys(range(16), known)), **common)
    if chip:
        apple = Gpu(index=0, vendor="Apple", name=chip, state="ok")
        return Hardware(**common, vendor="Apple", chip=chip, gpu_count=1, gpus=(apple,))
    cards = tuple(_card(index, name, lanes or {}, lost, display, vendor) for index, name in enumerate(gpus))
    pairs = [(a, b) for a in range(len(gpus)) for b in range(a + 1, len(gpus))]
    kinds = dict.fromkeys(pairs, links) if isinstance(links, str) else {
        pair: links.get(f"{pair[0]}-{pair[1]}", "PHB") for pair in pairs
    }  # fmt: skip
    found = tuple(Link(*pair, kind, "OK" if kind.startswith("NV") else "CNS") for pair, kind in kinds.items())
    return Hardware(**common, vendor=vendor, gpu_count=len(gpus), gpus=cards, links=found, driver_version="580.95.05")


def _card(
    index: int, name: str, lanes: Mapping[int, int], lost: Sequence[int], display: Sequence[int], vendor: str
) -> Gpu:
    known = models.find(name)
    assert known and known.vram_bytes, name
    link = PcieLink(
        gen_max=known.pcie_gen, width_current=lanes.get(index, known.pcie_lanes), width_max=known.pcie_lanes
    )
    return Gpu(
        index=index,
        uuid=f"GPU-{uuid.uuid5(uuid.NAMESPACE_OID, str(index))}",
        pci_address=f"0000:{index + 1:02x}:00.0",
        vendor=vendor,
        name=known.name,
        # A driver reports 0.2 to 4 % less than the box says: 24576 of 25769803776 bytes' worth on an RTX 3090.
        vram_bytes=int(known.vram_bytes * 0.985),
        compute_capability=known.compute_capability,
        state="lost" if index in lost else "ok",
        mig=False,
        has_display=index in display,
        pcie=link,
    )
