"""A rig without internet is deployed to from one file, made elsewhere; nothing of its making stays on the rig."""

from __future__ import annotations

import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rigwright.lab.tiny_model import write_tiny_model

from ..pages import page_shows
from .conftest import Workshop

pytestmark = pytest.mark.lab

NOBODY = "http://127.0.0.1:9"
# What a deploy from a bundle must leave as the rig's owner has it, and what it must take away again.
OWNERS = "find /etc/apt /var/lib/apt/lists -type f -exec sha256sum {} + | sort"
LEFT = "ls -d /var/lib/rigwright/packages-* 2>/dev/null"
BARE = "dpkg-query -W; ls -A /opt /etc /var/lib; getent passwd"


class Site(Workshop):
    """A user's directory on a machine that reaches the rigs and nobody else; it has a cache of its own."""

    @property
    def cache(self) -> Path:
        found = self.directory / "cache/rigwright"
        found.mkdir(parents=True, exist_ok=True)
        return found

    @property
    def environment(self) -> dict[str, str]:
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), NOBODY)
        return super().environment | proxies | {"no_proxy": "", "PIP_INDEX_URL": NOBODY, "HF_ENDPOINT": NOBODY}


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A model on a server that is gone when the deploy begins."""
    (tmp_path / "www").mkdir()
    write_tiny_model(tmp_path / "www/m.gguf", seed=7)
    handler = partial(_Quiet, directory=str(tmp_path / "www"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/m.gguf?sig=secret"
    server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


def lines(outcome: Any, pattern: str) -> list[str]:
    return [line for line in outcome.lines if re.search(pattern, line)]


def test_rig_without_internet_is_deployed_to_from_a_bundle(workshop: Workshop, address: str, tmp_path: Path) -> None:
    """Compilers, source and model come from the file; a second run changes nothing; other bundles are refused."""
    rig = workshop.boot("air")
    workshop.lab.fault(rig, "no-network")
    said = workshop.on(rig, "apt-get -o Acquire::Retries=0 -o Acquire::http::Timeout=2 update 2>&1", check=False)
    assert "Err:" in said
    traces, owners = workshop.traces(rig), workshop.on(rig, OWNERS)
    spec = workshop.spec(model=address)

    (tmp_path / "online").mkdir()
    online = Workshop(workshop.lab, tmp_path / "online")
    sources = online.directory / "rig.list"
    sources.write_text(workshop.on(rig, "cat /etc/apt/sources.list"))
    inventory = str(online.inventory(spec, rig))
    dry = online.rigwright("bundle", inventory, "--sources", str(sources), "--dry")
    assert dry.code == 0 and "nothing was written" in dry.output, dry.output
    page_shows("docs/air-gap.md", "model file   4.", dry.output)
    assert sorted(path.name for path in online.directory.iterdir()) == ["cache", "inventory.py", "rig.list"]
    made = online.rigwright("bundle", inventory, "--sources", str(sources), "-o", "site.tar")
    assert made.code == 0 and "secret" not in made.output, made.output
    page_shows("docs/air-gap.md", "site.tar: ", made.output)
    digest = re.findall(r'"sha256": "([0-9a-f]{64})"', made.output)[0]

    (tmp_path / "site").mkdir()
    site = Site(workshop.lab, tmp_path / "site")
    bundle = site.directory / "site.tar"
    shutil.copy(online.directory / "site.tar", bundle)
    spec |= {"bundle": {"path": str(bundle), "sha256": digest}}

    # What is damaged, and what was made for something else: one line, and the rig is as it was.
    bare = workshop.on(rig, BARE)
    damaged = bytearray(bundle.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (site.directory / "damaged.tar").write_bytes(damaged)
    refused = site.deploy(spec | {"bundle": str(site.directory / "damaged.tar")}, rig)
    assert refused.code != 0 and len(lines(refused, "in it is damaged; make it anew")) == 1, refused.output
    assert "Traceback" not in refused.output
    other = site.deploy(spec | {"services": [spec["services"][0] | {"model": f"{NOBODY}/other.gguf"}]}, rig)
    assert other.code != 0, other.output
    assert lines(other, r"site\.tar lacks other\.gguf, which this rig needs"), other.output
    assert workshop.on(rig, BARE) == bare
    old = workshop.boot("air-old", os="bookworm")
    before = workshop.on(old, BARE)
    elsewhere = site.deploy(spec, old)
    assert elsewhere.code != 0 and lines(elsewhere, r"site\.tar lacks packages of debian 12 x86_64 \("), (
        elsewhere.output
    )
    assert workshop.on(old, BARE) == before
    workshop.lab.down([old])

    first = site.deploy(spec, rig)
    assert first.code == 0, first.output
    assert {"Install packages", "Install compilers", "Build llama.cpp", "Bring m.gguf", "Serve demo"} <= first.changed
    again = site.deploy(spec, rig)
    assert (again.code, again.changed) == (0, set()), again.output
    verified = site.rigwright("verify", str(site.inventory(spec, rig)))
    assert verified.code == 0, verified.output
    # apt knows no more sources than before, and no other packages; nothing that was sent lies about.
    assert workshop.on(rig, OWNERS) == owners
    assert workshop.on(rig, LEFT, check=False) == ""
    gone = ("-y", "--data", "remove_weights=true")
    assert site.deploy(spec, rig, deploy="remove", arguments=gone).code == 0
    assert workshop.traces(rig) == traces
    workshop.lab.down([rig])
