"""What a hub says of a file: its own headers count, wherever it sends us for the content."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rigwright.weights.hub import HubFacts, hub_facts

COMMIT, SHA256 = "c" * 40, "5" * 64
Answers = dict[str, tuple[int, dict[str, str]]]


@pytest.fixture
def serve() -> Iterator[Callable[[Answers], tuple[str, list[str]]]]:
    """Starts a server: path -> status and headers; gives its address and the paths that it was asked for."""
    servers = []

    def start(answers: Answers) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                asked.append(self.path)
                status, headers = answers.get(self.path, (404, {}))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def linked(location: str) -> tuple[int, dict[str, str]]:
    """The hub's answer for a large file, as huggingface.co gives it."""
    headers = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{SHA256}"', "X-Linked-Size": "99", "Location": location}
    return 302, headers


def test_large_file_is_known_without_asking_the_content_network(serve):
    """Commit, sum and size stand on the redirect; where it leads is not asked."""
    content, asked = serve({})
    hub, _ = serve({"/m": linked(f"{content}/blob?signature=secret")})
    assert hub_facts(f"{hub}/m") == HubFacts(COMMIT, SHA256, 99)
    assert asked == []


def test_renamed_repository_is_followed_on_the_same_host(serve):
    """A redirect that says nothing itself leads to the answer."""
    hub, asked = serve({"/old": (307, {"Location": "/new"}), "/new": linked("https://elsewhere.test/blob")})
    assert hub_facts(f"{hub}/old").sha256 == SHA256
    assert asked == ["/old", "/new"]


def test_redirect_to_another_host_is_not_followed(serve):
    """Nobody else learns what is asked for."""
    other, asked = serve({"/m": linked("/")})
    hub, _ = serve({"/m": (302, {"Location": f"{other}/m"})})
    assert hub_facts(f"{hub}/m") == HubFacts()
    assert asked == []


@pytest.mark.parametrize(
    ("status", "headers", "facts"),
    [
        (200, {"Content-Length": "7"}, HubFacts(size_bytes=7)),
        (200, {"X-Repo-Commit": "main", "X-Linked-Etag": '"abc"', "Content-Length": "x"}, HubFacts()),
        (404, {"Content-Length": "9"}, HubFacts()),
    ],
)
def test_what_is_not_said_is_not_guessed(serve, status, headers, facts):
    """A plain server knows a size; a commit and a sum must look like one."""
    address, _ = serve({"/m": (status, headers)})
    assert hub_facts(f"{address}/m") == facts


def test_endless_redirects_end(serve):
    """A loop is nobody's commit."""
    address, asked = serve({"/m": (302, {"Location": "/m"})})
    assert hub_facts(f"{address}/m") == HubFacts()
    assert 1 < len(asked) < 10


def test_host_that_does_not_answer_says_nothing():
    """No connection, no facts, no error."""
    assert hub_facts("http://127.0.0.1:9/m") == HubFacts()
