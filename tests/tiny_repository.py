"""A tiny repository of safetensors, as a hub or a directory has it: random weights of a real structure, 60 kB."""

from __future__ import annotations

import hashlib
import json
import random
import re
import struct
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 256,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
_LAYER = {
    "input_layernorm": (32,),
    "post_attention_layernorm": (32,),
    "self_attn.q_proj": (32, 32),
    "self_attn.k_proj": (16, 32),
    "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32),
    "self_attn.q_norm": (8,),
    "self_attn.k_norm": (8,),
    "mlp.gate_proj": (64, 32),
    "mlp.up_proj": (64, 32),
    "mlp.down_proj": (32, 64),
}


def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors by name."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (256, 32), "model.norm.weight": (32,)}
    for layer in range(2):
        found |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in _LAYER.items()}
    return found


def safetensors(tensors: Mapping[str, tuple[int, ...]], *, seed: int = 0) -> bytes:
    """A file with these tensors in BF16."""
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 2
        for count in shape:
            size *= count
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + random.Random(seed).randbytes(at)


def tiny_repository(*, shards: int = 2, seed: int = 0, code: bool = False) -> dict[str, bytes]:
    """The files by name: config, tokenizer, an index, weights in shards, and what must not come to a rig."""
    names = list(shapes())
    of = [f"model-{number:05}-of-{shards:05}.safetensors" for number in range(1, shards + 1)]
    parts = {file: names[place::shards] for place, file in enumerate(of)}
    total = {"total_size": sum(2 * a * (b[0] if b else 1) for a, *b in shapes().values())}
    table = {name: file for file, own in parts.items() for name in own}
    files = {
        "config.json": json.dumps(CONFIG | ({"auto_map": {"AutoModel": "evil.Evil"}} if code else {})).encode(),
        "generation_config.json": b"{}",
        "tokenizer.json": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}',
        "tokenizer_config.json": b"{}",
        "model.safetensors.index.json": json.dumps({"metadata": total, "weight_map": table}).encode(),
        "evil.py": b"raise SystemExit",
        "pytorch_model.bin": b"pickle",
        "README.md": b"# tiny",
        "original/config.json": b"{}",
    }
    return files | {
        file: safetensors({name: shapes()[name] for name in own}, seed=seed + place)
        for place, (file, own) in enumerate(parts.items())
    }


def wanted(files: Mapping[str, bytes]) -> set[str]:
    """Those that come to a rig."""
    return {name for name in files if "/" not in name and name not in ("evil.py", "pytorch_model.bin", "README.md")}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """The files in a directory."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def blob(data: bytes) -> str:
    """What git calls a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class TinyHub:
    """A hub with `org/tiny`: its files by commit, the commit that `main` is at; it can cut an answer, and lie."""

    def __init__(self, files: dict[str, bytes], commit: str) -> None:
        self.commits = {commit: files}
        self.main = commit
        self.asked: list[tuple[str, str]] = []
        self.cut: dict[str, int] = {}
        self.wrong: dict[str, bytes] = {}

    def listing(self, commit: str) -> bytes:
        """The answer of the API, with blobs."""
        rows: list[dict[str, object]] = []
        for name, data in self.commits[commit].items():
            row: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": blob(data)}
            if name.endswith(".safetensors"):
                row["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            rows.append(row)
        return json.dumps({"id": "org/tiny", "sha": commit, "siblings": rows}).encode()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Answers as the hub's protocol has it: what is large is named by its sha256."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                path = self.path.partition("?")[0]
                hub.asked.append((self.command, path))
                if found := re.fullmatch(r"/api/models/org/tiny/revision/(\w+)", path):
                    commit = hub.main if found[1] == "main" else found[1]
                    if commit in hub.commits:
                        return self._send(hub.listing(commit), {}, path)
                if found := re.fullmatch(r"/org/tiny/resolve/(\w+)/([^/]+)", path):
                    commit = hub.main if found[1] == "main" else found[1]
                    if found[2] in hub.commits.get(commit, {}):
                        data = hub.commits[commit][found[2]]
                        etag = hashlib.sha256(data).hexdigest() if path.endswith(".safetensors") else blob(data)
                        own = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
                        if path.endswith(".safetensors"):
                            own |= {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(data))}
                        return self._send(hub.wrong.get(found[2], data), own, found[2])
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None

            def _send(self, data: bytes, headers: dict[str, str], name: str) -> None:
                first = int(found[1]) if (found := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))) else None
                rest = data[first or 0 :]
                self.send_response(200 if first is None else 206)
                if first is not None:
                    self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
                for key, value in {"Content-Length": str(len(rest)), "Accept-Ranges": "bytes", **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(rest[: hub.cut.get(name, len(rest))])
                    self.close_connection = name in hub.cut

            do_GET = do_HEAD = _answer

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler
