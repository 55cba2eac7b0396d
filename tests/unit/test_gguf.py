"""The reader of GGUF headers: right on good files, one clear line on all others."""

from __future__ import annotations

import functools
import io
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gguf
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rigwright.errors import UnreadableModel
from rigwright.models import Model, read_model
from rigwright.models.parts import part_names
from rigwright.models.reading import model_from_stream
from rigwright.weights.remote import read_kept_model

Encode = Callable[..., bytes]
DENSE = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.context_length": 4096,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 2,
}


def read_bytes(data: bytes, size: int | None = None) -> Model:
    return model_from_stream(io.BytesIO(data).read, where="it", size_bytes=size)


def test_read_model_agrees_with_the_gguf_library(tiny_hybrid: Path) -> None:
    """Names, shapes, types and sizes of all tensors are those that gguf's own reader finds."""
    expected = [
        (one.name, tuple(int(size) for size in one.shape), one.tensor_type.name, int(one.n_bytes))
        for one in gguf.GGUFReader(tiny_hybrid).tensors
    ]
    assert [tuple(tensor) for tensor in read_model(tiny_hybrid).tensors] == expected


def test_read_model_reads_a_22_gb_header_fast(tmp_path: Path, header_35b: bytes) -> None:
    """A header with 248,320 tokens takes well under a second, and the file need not be read."""
    path = tmp_path / "big.gguf"
    path.write_bytes(header_35b)
    with path.open("r+b") as file:
        file.truncate(22 * 1024**3)  # a hole
    start = time.perf_counter()
    model = read_model(path)
    assert time.perf_counter() - start < 0.8
    assert (model.vocab, round(model.weights_bytes / 1024**2)) == (248320, 20743)


def test_read_model_refuses_a_missing_file(tmp_path: Path) -> None:
    """A path that leads nowhere is named."""
    with pytest.raises(UnreadableModel) as error:
        read_model(tmp_path / "no.gguf")
    assert error.value.message == f"{tmp_path}/no.gguf: does not exist on this machine; check the path of the model"


def test_read_model_refuses_a_truncated_file(tmp_path: Path, tiny_dense: Path) -> None:
    """A download that stopped early is told with both sizes."""
    data = tiny_dense.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[:-1])
    with pytest.raises(UnreadableModel) as error:
        read_model(tmp_path / "cut.gguf")
    expected = f"cut.gguf: has {len(data) - 1} bytes, its header declares {len(data)}; download it again"
    assert error.value.message.endswith(expected)


def test_read_model_refuses_a_file_cut_within_its_header(tmp_path: Path, tiny_dense: Path) -> None:
    """A file that ends within its header says so."""
    (tmp_path / "cut.gguf").write_bytes(tiny_dense.read_bytes()[:3000])
    with pytest.raises(UnreadableModel, match="ends after 3000 bytes, within its header; download it again"):
        read_model(tmp_path / "cut.gguf")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it: ends after 0 bytes"),
        (b"<!doctype html><html><head>", "it starts with '<!do', not with 'GGUF'"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "it is big-endian; convert it"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "it has GGUF version 1, not 2 or 3"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), f"it claims {2**60} tensors"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63), f"it holds a string of {2**63} bytes"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "it does not name its architecture"),
        (b"GGUF" + struct.pack("<IQQQ1sIQ3s", 3, 0, 1, 1, b"a", 8, 100, b"cut"), "ends after 48 bytes"),
    ],
)
def test_reader_names_what_is_wrong(data: bytes, message: str) -> None:
    """Each kind of wrong file has its own words."""
    with pytest.raises(UnreadableModel) as error:
        read_bytes(data)
    assert message in error.value.message and "\n" not in error.value.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"llama.block_count": 0}, "its llama.block_count is 0, not a number from 1 to 512"),
        ({"llama.block_count": "two"}, "its llama.block_count is 'two'"),
        ({"llama.attention.head_count": [2]}, "has 1 entries for 2 layers"),
        ({"general.architecture": "clip"}, "it holds no language model"),
        ({"general.alignment": 33}, "its alignment is 33, no power of two"),
        ({"llama.nextn_predict_layers": 2}, "nextn_predict_layers is 2"),
    ],
)
def test_reader_trusts_no_key(gguf_header: Encode, change: dict[str, object], message: str) -> None:
    """A key with an impossible value is named."""
    with pytest.raises(UnreadableModel) as error:
        read_bytes(gguf_header({**DENSE, **change}, []))
    assert message in error.value.message


def test_reader_refuses_a_gap_between_tensors(gguf_header: Encode) -> None:
    """Tensors lie one after the other, as llama.cpp demands: an offset that does not follow is damage."""
    good = gguf_header(DENSE, [("a", (32,), "F32"), ("b", (32,), "F32")])
    with pytest.raises(UnreadableModel, match="the tensor 'b' lies at 160, not at 128"):
        read_bytes(good.replace(struct.pack("<IQ", 0, 128), struct.pack("<IQ", 0, 160)))


def test_reader_knows_layers_with_a_window(gguf_header: Encode) -> None:
    """Gemma 3 attends to everything in every sixth layer, Gemma 4 says it in its header."""
    keys = {key.replace("llama", "gemma3"): value for key, value in DENSE.items()}
    keys |= {"general.architecture": "gemma3", "gemma3.block_count": 7, "gemma3.attention.sliding_window": 1024}
    row = ("blk.0.attn_norm.weight", (32,), "F32")
    assert read_bytes(gguf_header(keys, [row])).swa_layers == (0, 1, 2, 3, 4, 6)
    keys["gemma3.attention.sliding_window_pattern"] = [True, True, False, True, False, False, False]
    assert read_bytes(gguf_header(keys, [row])).swa_layers == (0, 1, 3)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_reader_survives_any_damage(gguf_header: Encode, data: st.DataObject) -> None:
    """Whatever bytes change, the reader returns a model or raises UnreadableModel, nothing else."""
    keys = {**DENSE, "llama.rope.sections": [1, 2], "tokenizer.ggml.tokens": ["a", "b"], "llama.swa": [True]}
    good = bytearray(gguf_header(keys, [("token_embd.weight", (64, 2), "Q8_0"), ("blk.0.a", (32,), "F32")]))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(good) - 1))
        good[position] = data.draw(st.sampled_from([0, 1, 2, 7, 8, 9, 0x7F, 0x80, 0xFF]))
    end = data.draw(st.integers(0, len(good)))
    try:
        read_bytes(bytes(good[:end] if end % 3 == 0 else good))
    except UnreadableModel as error:
        assert "\n" not in error.message


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
@example(struct.pack("<QIIQ", 0, 9, 10, 2**64 - 1))
@example(struct.pack("<QIIQ", 0, 9, 8, 2**64 - 1))
def test_reader_survives_garbage(tail: bytes) -> None:
    """Random bytes after a valid start are refused in bounded time and memory."""
    for start in (b"", b"GGUF" + struct.pack("<IQQ", 3, 1, 2)):
        with pytest.raises(UnreadableModel):
            read_bytes(start + tail)


class Server(ThreadingHTTPServer):
    """Serves `data`, then zeroes up to `size`; counts what it managed to send."""

    data = b""
    size = 0
    has_ranges = True
    sent = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if not self.path.startswith("/model.gguf"):
            self.send_error(404 if self.path == "/gone.gguf" else 403)
            return
        end = self.server.size
        if self.server.has_ranges:
            end = min(end, int(self.headers["Range"].partition("-")[2]) + 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-{end - 1}/{self.server.size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(end))
        self.end_headers()
        self._send(end)

    def _send(self, end: int) -> None:
        try:
            self.wfile.write(self.server.data[:end])
            self.server.sent = len(self.server.data[:end])
            while self.server.sent < end:
                self.server.sent += self.wfile.write(bytes(min(2**16, end - self.server.sent)))
        except OSError:
            pass  # the reader hung up, as it should

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def address(server: Server, path: str = "/model.gguf") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def read_remote_model(url: str) -> Model | None:
    """The model at an address, where nothing can be kept."""
    return read_kept_model(url, Path(os.devnull) / "kept", is_pinned=False)


@pytest.mark.parametrize("has_ranges", [True, False])
def test_remote_reads_only_the_start(server: Server, header_35b: bytes, has_ranges: bool) -> None:
    """A 22 GB model costs tens of MB, from a server with ranges and from one that ignores them."""
    server.data, server.size, server.has_ranges = header_35b, 22 * 1024**3, has_ranges
    model = read_remote_model(address(server))
    assert model and model.name == "Qwen3.5-35B-A3B"
    assert server.sent < 32 * 1024**2


def test_remote_refuses_a_truncated_file(server: Server, tiny_dense: Path) -> None:
    """The size that the server names is compared with the header's."""
    server.data = tiny_dense.read_bytes()[:-10]
    server.size = len(server.data)
    with pytest.raises(UnreadableModel, match=f"has {server.size} bytes, its header declares {server.size + 10}"):
        read_remote_model(address(server))


def test_remote_refuses_what_is_no_model(server: Server) -> None:
    """A login page is no model; the message hides the query, which may hold a token."""
    server.data = b"<!doctype html>"
    server.size = len(server.data)
    with pytest.raises(UnreadableModel) as error:
        read_remote_model(address(server, "/model.gguf?token=secret"))
    assert error.value.message.startswith(f"{address(server)}: it starts with '<!do'")


def test_remote_says_what_is_not_there(server: Server) -> None:
    """404 is an error at once; 403 may mean that only the rig has access."""
    with pytest.raises(UnreadableModel, match="there is no such file \\(404\\)"):
        read_remote_model(address(server, "/gone.gguf"))
    assert read_remote_model(address(server, "/private.gguf")) is None


def test_remote_is_none_when_out_of_reach() -> None:
    """An address that does not answer is no error: the rig may reach it."""
    assert read_remote_model("http://127.0.0.1:9/model.gguf") is None


def split_files(folder: Path, encode: Encode, *, count: int = 3, tensors: int | None = None) -> list[Path]:
    """A model in parts, as llama-gguf-split writes it: all keys in the first, a few tensors in each."""
    paths = []
    for number in range(count):
        keys = {"split.no": number, "split.count": count, "split.tensors.count": tensors or count}
        rows = [("token_embd.weight" if not number else f"blk.{number - 1}.ffn_up.weight", (64, 32), "Q8_0")]
        data = encode(keys | (DENSE if not number else {}), rows)
        paths.append(folder / f"m-{number + 1:05}-of-{count:05}.gguf")
        paths[-1].write_bytes(data + bytes(64 * 34))  # 64 × 32 weights: 64 blocks of 34 bytes
    return paths


def test_parts_are_one_model(tmp_path: Path, gguf_header: Encode) -> None:
    """Whichever part is named, the model has the tensors of all, and their sizes are summed."""
    paths = split_files(tmp_path, gguf_header)
    for path in paths:
        model = read_model(path)
        assert [tensor.name for tensor in model.tensors] == [
            "token_embd.weight",
            "blk.0.ffn_up.weight",
            "blk.1.ffn_up.weight",
        ]
        assert model.file_bytes == sum(one.stat().st_size for one in paths)


def test_missing_part_is_named(tmp_path: Path, gguf_header: Encode) -> None:
    """A part that is not there is one clear line."""
    paths = split_files(tmp_path, gguf_header)
    paths[1].unlink()
    with pytest.raises(UnreadableModel) as error:
        read_model(paths[0])
    assert error.value.message == f"{paths[1]}: part 2 of 3 is not beside {paths[0].name}; download it too"


def test_cut_part_is_named(tmp_path: Path, gguf_header: Encode) -> None:
    """A part that stopped early is told with both sizes."""
    paths = split_files(tmp_path, gguf_header)
    size = paths[2].stat().st_size
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    with pytest.raises(UnreadableModel, match=f"00003-of-00003.gguf: has {size - 1} bytes, its header declares {size}"):
        read_model(paths[0])


def test_parts_of_another_model_are_refused(tmp_path: Path, gguf_header: Encode) -> None:
    """Parts must number themselves as they are named, and hold as many tensors as the first one says."""
    paths = split_files(tmp_path, gguf_header)
    paths[1].write_bytes(paths[2].read_bytes())
    with pytest.raises(UnreadableModel, match=r"m-00002-of-00003\.gguf says that it is part 2, not 1"):
        read_model(paths[0])
    with pytest.raises(UnreadableModel, match="its parts hold 3 tensors, its first one says 9"):
        read_model(split_files(tmp_path, gguf_header, tensors=9)[0])


def test_remote_parts_are_one_model(tmp_path: Path, gguf_header: Encode) -> None:
    """The parts at an address are read by range, beside the one that is named, and kept one by one."""
    paths = split_files(tmp_path, gguf_header)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    files = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=files.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    url, kept = f"http://127.0.0.1:{files.server_port}/{paths[0].name}", tmp_path / "cache" / "head"
    assert read_remote_model(url) == read_model(paths[0])
    assert read_kept_model(url, kept, is_pinned=True) == read_model(paths[0])
    paths[1].rename(tmp_path / "away")
    with pytest.raises(UnreadableModel, match=r"00002-of-00003.gguf: there is no such file \(404\)"):
        read_remote_model(url)
    files.shutdown()
    files.server_close()
    assert read_kept_model(url, kept, is_pinned=True) is not None


def test_kept_header_answers_when_the_address_does_not(tmp_path, tiny_hybrid):
    """The same rig is planned the same way when the hub is out of reach; a pinned file is not even asked for."""
    (tmp_path / "m.gguf").write_bytes(tiny_hybrid.read_bytes())
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    url, kept = f"http://127.0.0.1:{server.server_port}/m.gguf", tmp_path / "cache" / "head"
    fresh = read_kept_model(url, kept, is_pinned=True)
    server.shutdown()
    server.server_close()
    assert fresh is not None
    assert read_kept_model(url, kept, is_pinned=True) == fresh
    assert read_kept_model(url, kept, is_pinned=False) == fresh
    assert read_kept_model(url, tmp_path / "none", is_pinned=False) is None


def test_renamed_part_is_no_whole_model(tmp_path: Path, gguf_header: Encode) -> None:
    """The first part under another name holds a third of the model, and is not taken for it."""
    (first, *_) = split_files(tmp_path, gguf_header)
    with pytest.raises(UnreadableModel, match="it says that it is one of 3 files, its name says 1; "):
        read_model(first.rename(tmp_path / "m.gguf"))


def test_first_part_may_hold_the_keys_alone(tmp_path: Path, gguf_header: Encode) -> None:
    """llama-gguf-split --no-tensor-first-split leaves the first part without tensors, and without padding."""
    paths = split_files(tmp_path, gguf_header, tensors=2)
    keys = {"split.no": 0, "split.count": 3, "split.tensors.count": 2}
    paths[0].write_bytes(gguf_header(keys | DENSE, []).rstrip(b"\0") + bytes(4))
    assert [tensor.name for tensor in read_model(paths[1]).tensors] == ["blk.0.ffn_up.weight", "blk.1.ffn_up.weight"]


def test_parts_do_not_repeat_tensors(tmp_path: Path, gguf_header: Encode) -> None:
    """Parts that fit in number but hold the same tensor are of different models."""
    paths = split_files(tmp_path, gguf_header)
    paths[2].write_bytes(paths[2].read_bytes().replace(b"blk.1.", b"blk.0."))
    with pytest.raises(UnreadableModel, match="a tensor appears twice in it; its parts are of different models"):
        read_model(paths[0])


@pytest.mark.parametrize("odd", ["x\n\x1b[31m", [1, 2], 7])
def test_odd_part_number_stays_on_one_line(tmp_path: Path, gguf_header: Encode, odd: object) -> None:
    """What a part says of itself may be anything; a message shows it on one line."""
    paths = split_files(tmp_path, gguf_header)
    row = ("blk.0.ffn_up.weight", (64, 32), "Q8_0")
    data = gguf_header({"split.no": odd, "split.count": 3, "split.tensors.count": 3}, [row])
    paths[1].write_bytes(data + bytes(64 * 34))
    with pytest.raises(UnreadableModel) as error:
        read_model(paths[0])
    assert "m-00002-of-00003.gguf says that it is part" in error.value.message and error.value.message.isprintable()


@pytest.mark.parametrize("name", ["m-00004-of-00003.gguf", "m-00000-of-00003.gguf", "m-00001-of-99999.gguf"])
def test_name_of_no_part_is_a_plain_name(name: str) -> None:
    """A number beyond the count, or a count beyond all reason, makes no parts."""
    assert part_names(name) == (name,)


def test_damaged_kept_header_is_read_anew(tmp_path: Path, tiny_dense: Path) -> None:
    """What is kept of a pinned file and was cut short by a full disk is fetched again."""
    files = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(SimpleHTTPRequestHandler, directory=str(tiny_dense.parent))
    )
    threading.Thread(target=files.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    (tmp_path / "kept").write_bytes(b"GGUF")
    url = f"http://127.0.0.1:{files.server_port}/{tiny_dense.name}"
    assert read_kept_model(url, tmp_path / "kept", is_pinned=True) == read_model(tiny_dense)
    files.shutdown()
    files.server_close()
    assert read_kept_model(url, tmp_path / "kept", is_pinned=True) == read_model(tiny_dense)


def test_cache_that_cannot_be_written_costs_nothing(server: Server, tmp_path: Path, tiny_dense: Path) -> None:
    """A file where the folder of the cache should be does not stop a reading."""
    server.data = tiny_dense.read_bytes()
    server.size = len(server.data)
    (tmp_path / "file").write_bytes(b"")
    assert read_kept_model(address(server), tmp_path / "file" / "kept", is_pinned=False) == read_model(tiny_dense)
