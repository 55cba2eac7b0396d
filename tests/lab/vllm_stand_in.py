"""A wheel called vllm of a few kB: its own parser knows the recorded flags, `vllm serve` speaks the same paths by HTTP.

What depends on time or on a model is not in it: tests/lab/test_vllm_cpu.py serves with the real one.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

from rigwright.catalogue import load

VERSION = "0.33.0"

_MAIN = """
import json, os, signal, socket, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION, WORDS = "@VERSION@", "@WORDS@"
running = 0

def meet(asked):
    # The connections of several rigs, at the head; the others meet it there, and answer what they are sent.
    count = int(asked.nnodes or 1)
    if count == 1:
        return []
    place = asked.master_addr, int(asked.master_port)
    if not asked.headless:
        door = socket.create_server(place)
        return [door.accept()[0] for _ in range(count - 1)]
    while True:
        try:
            own = socket.create_connection(place, 5)
            break
        except OSError:
            time.sleep(0.5)
    own.settimeout(None)
    threading.Thread(target=lambda: [own.sendall(one) for one in iter(lambda: own.recv(1), b"")], daemon=True).start()
    return [own]

def main():
    if sys.argv[1:] == ["--version"]:
        print(VERSION)
        return
    if @BROKEN@:
        sys.exit("RuntimeError: the stand-in cannot start")
    from vllm.entrypoints.common.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    asked = make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[2:])
    keys = asked.api_key or list(filter(None, [os.environ.get("VLLM_API_KEY")]))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/v1/") and not self.is_known():
                return
            model = {"id": asked.served_model_name, "root": asked.model_tag, "max_model_len": int(asked.max_model_len)}
            pages = {
                "/health": "", "/version": json.dumps({"version": VERSION}),
                "/v1/models": json.dumps({"object": "list", "data": [model]}),
                "/metrics": 'vllm:num_requests_running{engine="0",model_name="a b"} %.1f\\n'
                            'vllm:num_requests_waiting{engine="0",model_name="a b"} 0.0\\n'
                            'vllm:generation_tokens_total{engine="0"} 8.0\\n' % running,
            }
            self.say(200 if self.path in pages else 404, pages.get(self.path, ""))

        def do_POST(self):
            global running
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.is_known():
                return
            running += 1
            time.sleep(body.get("seconds", 0))
            for one in group:  # without one of its rigs no answer ever comes
                one.settimeout(600)
                one.sendall(b"1")
                while not one.recv(1):
                    time.sleep(60)
            text = {"role": "assistant", "content": WORDS}
            self.say(200, json.dumps({"choices": [{"message": text}], "usage": {"completion_tokens": 3}}))
            running -= 1

        def is_known(self):
            if not keys or self.headers.get("Authorization", "").removeprefix("Bearer ") in keys:
                return True
            self.say(401, json.dumps({"error": "Unauthorized"}))

        def say(self, status, text):
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    print("INFO GPU KV cache size: 4,096 tokens", flush=True)
    group = meet(asked)
    if asked.headless:
        while True:
            time.sleep(60)  # a worker lives on when its head has gone
    server = ThreadingHTTPServer((asked.host, int(asked.port)), Handler)

    def stop(*_):
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever()
    while running:
        time.sleep(0.05)
"""

_ARGS = """
KNOWN = @KNOWN@

def make_arg_parser(parser):
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--api-key", nargs="*")
    for name in KNOWN["bare"]:
        parser.add_argument(name, action="store_true")
    for name in KNOWN["valued"]:
        if name != "--api-key":
            parser.add_argument(name, choices=KNOWN["choices"].get(name))
    return parser

def validate_parsed_serve_args(asked):
    if asked.enable_auto_tool_choice and not asked.tool_call_parser:
        raise TypeError("Error: --enable-auto-tool-choice requires --tool-call-parser")

def validate_api_server_args(asked):
    pass
"""

_PARSERS = """
class ReasoningParserManager:
    @staticmethod
    def list_registered():
        return @PARSERS@
"""


def write_wheel(directory: Path, *, words: str = "Hello from vLLM.", is_broken: bool = False) -> Path:
    """A wheel that answers with these words, or does not start; and beside it `lock.txt`, which pins it."""
    row = load("vllm_flags")[VERSION]
    known = {key: row[key] for key in ("bare", "valued", "choices")}
    filled = {
        "@VERSION@": VERSION, "@WORDS@": words, "@BROKEN@": str(is_broken), "@KNOWN@": repr(known),
        "@PARSERS@": repr(row["reasoning_parsers"]),
    }  # fmt: skip
    texts = {
        "vllm/__init__.py": "",
        "vllm/entrypoints/__init__.py": "",
        "vllm/entrypoints/cli/__init__.py": "",
        "vllm/entrypoints/cli/main.py": _MAIN,
        "vllm/entrypoints/cli/serve.py": "from vllm.entrypoints.common.cli_args import make_arg_parser\n",
        "vllm/entrypoints/common/__init__.py": "",
        "vllm/entrypoints/common/cli_args.py": _ARGS,
        "vllm/utils/__init__.py": "",
        "vllm/utils/argparse_utils.py": "from argparse import ArgumentParser as FlexibleArgumentParser\n",
        "vllm/reasoning.py": _PARSERS,
        f"vllm-{VERSION}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}\n",
        f"vllm-{VERSION}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"vllm-{VERSION}.dist-info/entry_points.txt": "[console_scripts]\nvllm = vllm.entrypoints.cli.main:main\n",
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"vllm-{VERSION}-py3-none-any.whl"
    rows = []
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in texts.items():
            for place, value in filled.items():
                text = text.replace(place, value)
            # Not the time of the day: the same words are the same wheel.
            wheel.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            rows.append(f"{name},sha256={digest},{len(text.encode())}")
        record = f"vllm-{VERSION}.dist-info/RECORD"
        wheel.writestr(zipfile.ZipInfo(record, (2026, 1, 1, 0, 0, 0)), "\n".join([*rows, f"{record},,", ""]))
    write_lock(directory)
    return path


def write_lock(directory: Path, **sums: str) -> Path:
    """`lock.txt`, with the sum of the wheel that lies there, or another one."""
    path = directory / f"vllm-{VERSION}-py3-none-any.whl"
    digest = sums.get("vllm") or hashlib.sha256(path.read_bytes()).hexdigest()
    lock = directory / "lock.txt"
    lock.write_text(f"# a comment\nvllm=={VERSION} \\\n    --hash=sha256:{digest}\n")
    return lock


def settings(directory: Path) -> dict[str, str]:
    """`rig.vllm` for a directory with a wheel."""
    return {"lock": str(directory / "lock.txt"), "wheels": str(directory), "device": "cpu"}


def service(model: Path, **changes: object) -> dict[str, object]:
    """A service of it."""
    row = {"name": "talk", "engine": "vllm", "gpu": "none", "model": str(model), "port": 8000, "context": 512}
    return row | changes
