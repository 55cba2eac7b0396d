#!/usr/bin/python3
"""A stand-in for Ollama's program: its API and its store, with the model's words left out.

Source: the routes and answers of server/routes.go, the names of the store and what `create` does to a GGUF of Ollama at
fb3076099, the words of `--version` in cmd/cmd.go. What the real binary does was not run.
"""

import hashlib
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

VERSION, BROKEN = "@VERSION", "@BROKEN"
STORE = Path(os.environ.get("OLLAMA_MODELS", "/nonexistent"))
MANIFESTS, BLOBS = STORE / "manifests" / "registry.ollama.ai", STORE / "blobs"
LOADED = {}


def manifest(name):
    """The manifest of a model: `demo`, `rigwright/demo:tag`."""
    space, _, rest = name.rpartition("/")
    model, _, tag = rest.partition(":")
    return MANIFESTS / (space or "library") / model / (tag or "latest")


def models():
    """All models, as /api/tags lists them."""
    for path in sorted(MANIFESTS.glob("*/*/*")):
        space, model, tag = path.parts[-3:]
        name = f"{model}:{tag}" if space == "library" else f"{space}/{model}:{tag}"
        size = sum(layer["size"] for layer in json.loads(path.read_text())["layers"])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        details = {"format": "gguf", "family": "llama", "quantization_level": "F16"}
        yield {"name": name, "model": name, "modified_at": "2026-09-15T00:00:00Z", "size": size, "digest": digest,
               "details": details}  # fmt: skip


def keep(content):
    """A blob, and its digest."""
    digest = hashlib.sha256(content).hexdigest()
    BLOBS.mkdir(parents=True, exist_ok=True)
    (BLOBS / f"sha256-{digest}").write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def prune():
    """What no manifest names goes when a server starts."""
    if os.environ.get("OLLAMA_NOPRUNE"):
        return
    named = "".join(path.read_text() for path in MANIFESTS.glob("*/*/*"))
    for blob in BLOBS.glob("sha256-*"):
        if blob.name.removeprefix("sha256-") not in named:
            blob.unlink()


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"

    def answer(self, value, status=200, kind="application/json; charset=utf-8"):
        body = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def lines(self, request, values):
        """One after another, or the last alone where no stream is asked for."""
        if request.get("stream") is False:
            self.answer(values[-1], 500 if "error" in values[-1] else 200)
            return
        self.answer(b"".join(json.dumps(one).encode() + b"\n" for one in values), kind="application/x-ndjson")

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_HEAD(self):
        if self.path.startswith("/api/blobs/"):
            digest = self.path.rpartition(":")[2]
            self.answer(b"", 200 if (BLOBS / f"sha256-{digest}").exists() else 404)
        else:
            self.do_GET()

    def do_GET(self):
        if self.path == "/":
            self.answer(b"Ollama is running", kind="text/plain")
        elif self.path == "/api/version":
            self.answer({"version": VERSION})
        elif self.path == "/api/status":
            self.answer({"cloud": {"disabled": bool(os.environ.get("OLLAMA_NO_CLOUD")), "source": "env"}})
        elif self.path == "/api/tags":
            self.answer({"models": list(models())})
        elif self.path == "/api/ps":
            self.answer({"models": list(LOADED.values())})
        elif self.path == "/v1/models":
            self.answer({"object": "list", "data": [{"id": one["name"], "object": "model"} for one in models()]})
        else:
            self.answer(b"404 page not found", 404, "text/plain")

    def do_DELETE(self):
        request = json.loads(self.body())
        path = manifest(request.get("model") or request.get("name"))
        if path.exists():
            path.unlink()
            self.answer(b"")
        else:
            self.answer({"error": f"model '{request.get('model')}' not found"}, 404)

    def do_POST(self):
        content = self.body()
        if self.path.startswith("/api/blobs/"):
            found = keep(content)["digest"]
            wrong = found != self.path.removeprefix("/api/blobs/")
            self.answer({"error": "digest mismatch"} if wrong else b"", 400 if wrong else 201)
            return
        request = json.loads(content)
        route = self.path.removeprefix("/api/").replace("/", "_")
        if not hasattr(self, f"on_{route}"):
            self.answer(b"404 page not found", 404, "text/plain")
            return
        name = request.get("model", request.get("source", ""))
        if route not in ("create", "pull") and not manifest(name).exists():
            self.answer({"error": f"model '{name}' not found"}, 404)
            return
        getattr(self, f"on_{route}")(request, name)

    def on_create(self, request, name):
        """Each GGUF is written anew, so that its sum is another than that of what was sent."""
        layers = []
        for digest in request.get("files", {}).values():
            blob = BLOBS / digest.replace(":", "-")
            if not blob.exists():
                self.answer({"error": f"blob {digest} not found"}, 400)
                return
            content = blob.read_bytes()
            if content[:4] != b"GGUF":
                self.lines(request, [{"status": "parsing GGUF"}, {"error": "invalid file magic"}])
                return
            layers.append(keep(content + b"ordered") | {"mediaType": "application/vnd.ollama.image.model"})
        known = {"num_ctx", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "repeat_penalty", "num_gpu"}
        if wrong := [one for one in request.get("parameters", {}) if one not in known]:
            self.lines(request, [{"error": f"unknown parameter '{wrong[0]}'"}])
            return
        parameters = json.dumps(request.get("parameters", {})).encode()
        layers.append(keep(parameters) | {"mediaType": "application/vnd.ollama.image.params"})
        keys = ("renderer", "parser", "template", "system")
        config = keep(json.dumps({key: request[key] for key in keys if key in request}).encode())
        path = manifest(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"schemaVersion": 2, "config": config, "layers": layers}))
        steps = ("parsing GGUF", "using existing layer", "writing manifest", "success")
        self.lines(request, [{"status": one} for one in steps])

    def on_copy(self, request, name):
        path = manifest(request["destination"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(manifest(name).read_bytes())
        self.answer(b"")

    def on_show(self, request, name):
        found = json.loads(manifest(name).read_text())
        [params] = [one for one in found["layers"] if one["mediaType"].endswith("params")]
        values = json.loads((BLOBS / params["digest"].replace(":", "-")).read_text())
        text = "\n".join(f"{key:<30} {value}" for key, value in values.items())
        config = json.loads((BLOBS / found["config"]["digest"].replace(":", "-")).read_text())
        details = {"format": "gguf", "family": "llama", "quantization_level": "F16"}
        self.answer({"modelfile": "", "parameters": text, "template": "{{ .Prompt }}", "details": details,
                     "model_info": {}, "capabilities": ["completion"], **config})  # fmt: skip

    def load(self, name):
        [row] = [one for one in models() if one["name"] in (name, f"{name}:latest")]
        vram = 0 if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1" else row["size"]
        forever = os.environ.get("OLLAMA_KEEP_ALIVE") == "-1"
        until = (
            "2318-12-01T00:00:00Z" if forever else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 300))
        )
        LOADED[row["digest"]] = {**row, "size_vram": vram, "expires_at": until,
                                 "context_length": int(os.environ.get("OLLAMA_CONTEXT_LENGTH", "4096"))}  # fmt: skip
        del LOADED[row["digest"]]["modified_at"]

    def on_generate(self, request, name):
        if BROKEN == "load":
            self.answer({"error": "timed out waiting for llama runner to start"}, 500)
            return
        self.load(name)
        done = "stop" if request.get("prompt") else "load"
        self.answer({"model": name, "response": "Hello" if done == "stop" else "", "done": True, "done_reason": done})

    def on_chat(self, request, name):
        self.load(name)
        self.answer({"model": name, "created_at": "2026-09-15T00:00:00Z", "done": True, "done_reason": "stop",
                     "message": {"role": "assistant", "content": "Hello"}})  # fmt: skip

    def on_embed(self, request, name):
        self.answer({"model": name, "embeddings": [[0.5, 0.5]]})

    def on_pull(self, request, name):
        self.lines(request, [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}])

    def on__v1_chat_completions(self, request, name):
        if BROKEN == "answers":
            self.answer({"error": {"message": "llama runner process has terminated"}}, 500)
            return
        self.load(name)
        words = {"role": "assistant", "content": "Hello"}
        choices = [{"index": 0, "message": words, "finish_reason": "stop"}]
        self.answer({"id": "chatcmpl-1", "object": "chat.completion", "model": name, "choices": choices})

    def log_message(self, *_):
        pass


def main():
    """`ollama --version`, `ollama serve`."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write("Warning: could not connect to a running Ollama instance\n")
        sys.stdout.write(f"Warning: client version is {VERSION}\n")
    elif sys.argv[1:] == ["serve"]:
        if BROKEN == "starts":
            sys.exit("Error: listen tcp: it ended")
        host, _, port = os.environ["OLLAMA_HOST"].rpartition(":")
        prune()
        ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
    else:
        sys.exit(f"Error: unknown command {sys.argv[1:]}")


if __name__ == "__main__":
    main()
