"""What upstream's host says of a release: its sums are believed once and kept, and nothing else is taken."""

from __future__ import annotations

import hashlib

import pytest

from rigwright.errors import RigwrightError
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.roles.llamacpp import published
from rigwright.weights.kept import kept

from .releases import releases

NAME = "llama-b11434-bin-ubuntu-x64.tar.gz"
CONTENT = b"an archive"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def api():
    with releases({NAME: CONTENT}) as found:
        yield found


@pytest.fixture(autouse=True)
def _asked_anew():
    """Each test is a run of its own."""
    new_run()


def new_run():
    published._releases.clear()
    published._silent.clear()


def settings_of(api, **given):
    return LlamacppSettings(releases=api.address, **given)


def test_sums_are_asked_once_and_kept_by_this_machine(api):
    """Each rig is told the same, also by a later run, and whatever the host says then."""
    assert published.published_sums(settings_of(api), [NAME]) == {NAME: DIGEST}
    new_run()
    api.assets = {NAME: b"another archive"}
    assert published.published_sums(settings_of(api), [NAME]) == {NAME: DIGEST}
    assert len(api.asked) == 1
    # What is fetched is held to it before anything is fetched.
    with pytest.raises(RigwrightError, match=rf"today, {DIGEST} was given or told before; nothing is taken"):
        published.downloads(settings_of(api), {NAME: DIGEST})


def test_sum_of_the_inventory_goes_before_what_is_told(api):
    """Nobody is asked."""
    assert published.published_sums(settings_of(api, binaries={NAME: "a" * 64}), [NAME]) == {NAME: "a" * 64}
    assert api.asked == []


def test_archive_is_where_the_release_says(api):
    """Its address may be on another host; its sum is the one that is known."""
    api.said = {NAME: {"browser_download_url": "https://files.example/x", "digest": None}}
    (found,) = published.downloads(settings_of(api), {NAME: DIGEST})
    assert (found.url, found.sha256) == ("https://files.example/x", DIGEST)


def test_damaged_memory_is_asked_anew(api):
    """A file that was cut short says nothing."""
    published.published_sums(settings_of(api), [NAME])
    (stamp,) = kept("prebuilt").glob("*.sum")
    stamp.write_text(DIGEST[:20])
    assert published.published_sums(settings_of(api), [NAME]) == {NAME: DIGEST}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ((404, {}, b""), "answers 404: it has no such release; set source to build, or name the archives in prebuilt"),
        ((403, {}, b""), "answers 403: it wants one to wait"),
        ((500, {}, b""), "answers 500: Internal Server Error"),
        ((200, {}, b"<html>"), "does not answer like GitHub's API"),
        ((200, {}, b"[]"), "does not answer like GitHub's API"),
        ((200, {}, b'{"assets": 3}'), "does not answer like GitHub's API"),
        ((200, {}, b'{"assets": [3, {"name": 3}, null]}'), f"has no {NAME}; set source to build"),
        ((200, {}, b"[" * 100_000), "does not answer like GitHub's API"),
        ((200, {}, b'{"assets": [' + b" " * (5 << 20) + b"]}"), "does not answer like GitHub's API"),
    ],
)
def test_answer_that_is_none_is_refused_in_one_line(api, wrong, said):
    """Whatever it is that answers: a proxy's page, a limit, nonsense without an end."""
    api.wrong = wrong
    with pytest.raises(RigwrightError, match=said) as error:
        published.published_sums(settings_of(api), [NAME])
    assert error.value.message.startswith("rig.llamacpp.source: http://127.0.0.1:") and "\n" not in error.value.message


def test_newest_release_is_what_its_host_calls_so(api):
    """Asked once, with all that it has: its own page is not asked for."""
    api.name = "b11500"
    assert published.newest(settings_of(api, ref="latest")) == "b11500"
    assert published.published_sums(settings_of(api, ref="b11500"), [NAME]) == {NAME: DIGEST}
    assert [path.rpartition("/")[2] for path in api.asked] == ["latest"]


@pytest.mark.parametrize("name", [None, "", "v1.2.3", "b", "b1\n", "b11500/../x", "b" + "1" * 99, "b١١٤٣٤"])
def test_newest_release_of_another_name_is_none(api, name):
    """Whatever the host calls it, it is no part of an address or of a file's name before it was looked at."""
    api.name = name
    with pytest.raises(published.Unavailable, match="which is no release like b11434") as error:
        published.newest(settings_of(api, ref="latest"))
    assert "\n" not in error.value.message


def test_archive_that_nobody_gives_is_known_before_it_is_wanted(api):
    """A byte is asked for, once for all rigs of a run."""
    sums = published.published_sums(settings_of(api), [NAME])
    published.reach(settings_of(api), sums)
    assert [path.rpartition("/")[2] for path in api.asked] == ["b11434", NAME]
    new_run()
    api.gives = False
    for _ in range(2):
        with pytest.raises(published.Unavailable, match=f"{NAME} answers 404: Not Found; set source to build"):
            published.reach(settings_of(api), sums)
    assert len(api.asked) == 4
    new_run()
    api.gives, api.assets = True, {NAME: b""}
    with pytest.raises(published.Unavailable, match=f"{NAME} answers with nothing"):
        published.reach(settings_of(api), {NAME: hashlib.sha256(b"").hexdigest()})


@pytest.mark.parametrize("digest", [None, "", "sha1:aa", "sha256:" + "g" * 64, 7, f"sha256:{DIGEST}\n"])
def test_release_that_tells_no_sum_is_not_believed(api, digest):
    """Older ones have none: it is for the inventory to say."""
    api.said = {NAME: {"digest": digest}}
    with pytest.raises(RigwrightError, match=f"names no sha256 of {NAME}; write it into rig.llamacpp.binaries"):
        published.published_sums(settings_of(api), [NAME])


@pytest.mark.parametrize("url", [None, "file:///etc/passwd", "", "ftp://x/y"])
def test_address_that_is_none_is_refused(api, url):
    """Nothing but http and https is fetched."""
    api.said = {NAME: {"browser_download_url": url}}
    with pytest.raises(RigwrightError, match=f"has no address of {NAME} to download it from"):
        published.downloads(settings_of(api), {NAME: DIGEST})


def test_host_that_is_silent_is_refused(api):
    """The line says where, and what to do instead."""
    with pytest.raises(RigwrightError, match=r"http://127.0.0.1:9/\S+ cannot be asked: .*; set source to build"):
        published.published_sums(LlamacppSettings(releases="http://127.0.0.1:9/repos/x/y"), [NAME])


def test_redirect_away_from_https_is_not_followed():
    """The answer is believed: it has to be that of the host, also at the second address."""
    from urllib.error import URLError
    from urllib.request import Request

    handler, request = published.SameSafety(), Request("https://api.example/x")
    with pytest.raises(URLError, match="it redirects from https to http://"):
        handler.redirect_request(request, None, 302, "Found", {}, "http://api.example/x")
    assert handler.redirect_request(request, None, 302, "Found", {}, "https://other.example/x")
