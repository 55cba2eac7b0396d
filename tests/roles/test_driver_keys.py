"""NVIDIA's key is taken by its fingerprint alone, and nothing beside it: in every shell, and as gpg counts."""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigwright.resources import script

from . import keys
from .keys import BEGIN, END, Gpg, armored

pytestmark = [
    pytest.mark.patience,
    pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is missing"),
]
KINDS = {"rsa@x": "rsa2048", "ed@x": "ed25519", "evil@x": "ed25519"}


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    """Keys of two kinds, one of them with subkeys and many names; and a stranger's."""
    with tempfile.TemporaryDirectory(prefix="gpg-") as folder:
        gpg = Gpg.made(Path(folder) / "home")
        for name, kind in KINDS.items():
            gpg.make(name, kind)
        for usage in ("sign", "encr"):
            gpg("--quick-add-key", gpg.fingerprint("rsa@x"), "rsa2048", usage, "0")
        for name in ("Ünï <u@x>", "second <s@x>"):
            gpg("--quick-add-uid", "rsa@x", name)
        yield gpg
        gpg.close()


def take(home: Path, text: str | bytes, fingerprint: str, *, before: str = "") -> tuple[str, str]:
    """What `trusted_key` writes of a file that came, and why it refuses it."""
    (home / "came").write_bytes(text.encode() if isinstance(text, str) else text)
    given = {"REPO": "https://repo", "KEY": "k.pub", "FINGERPRINT": fingerprint}
    run = before + 'work=$PWD; get() { cp came "$2"; }\ntrusted_key out || { rm -f out; printf %s "$refusal"; }'
    done = subprocess.run(
        ["sh", "-c", script("nvidia", "key.sh", **given) + "\n" + run],
        cwd=home, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    out = home / "out"
    taken = out.read_text() if out.exists() else ""
    out.unlink(missing_ok=True)
    return taken, done.stdout


_WRITTEN = {
    "as gpg writes it": lambda key: armored(key),
    "new headers": lambda key: armored(keys.in_new_format(key)),
    "new headers, long": lambda key: armored(keys.in_new_format(key, long=True)),
    "old headers, long": lambda key: armored(keys.in_long_old_format(key)),
    "CRLF": lambda key: armored(key, end="\r\n"),
    "without its sum": lambda key: armored(key, checksum=False),
    "with a header": lambda key: armored(key).replace(BEGIN, f"{BEGIN}\nVersion: GnuPG v1\nComment: x"),
    "with words around it": lambda key: f"This is the key.\n\n{armored(key)}\nBye.\n",
}


@pytest.mark.runs("nvidia/key.sh")
@pytest.mark.parametrize("name", ["rsa@x", "ed@x"])
def test_key_is_taken_as_gpg_reads_it(each_sh, tmp_path, gpg, name):
    """Whatever its packets are wrapped in; gpg finds the same key in the text that is written."""
    fingerprint = gpg.fingerprint(name)
    for how, write in _WRITTEN.items():
        taken, refusal = take(tmp_path, write(gpg.key(name)), fingerprint)
        assert refusal == "", how
        assert taken.startswith(f"{BEGIN}\n\n") and taken.endswith(f"{END}\n"), how
        shown = gpg("--show-keys", "--with-colons", given=taken.encode()).decode()
        assert sum(line.startswith("pub:") for line in shown.splitlines()) == 1, how
        assert f":{fingerprint}:" in shown, how
    tags = [tag for tag, _ in keys.packets(gpg.key("rsa@x"))]
    assert (tags[0], tags.count(13), tags.count(14)) == (6, 3, 2)


def refused(gpg: Gpg) -> dict[str, str | bytes]:
    """What may come instead of a key, or with it."""
    good, evil = gpg.key("rsa@x"), gpg.key("evil@x")
    body = armored(good).split("\n\n")[1]
    packets = list(keys.packets(good))
    packed = zlib.compressobj(wbits=-15)
    compressed = b"\xa3\x01" + packed.compress(evil) + packed.flush()
    lines = armored(good).splitlines()
    return {
        "nothing": "",
        "a page": "<html><head><title>Sign in to the network</title></head></html>\n" * 40,
        "a page around nothing": f"<pre>{BEGIN}\n\n{END}</pre>\n",
        "words": f"{BEGIN}\n\nnot base64 at all!\n{END}\n",
        "noise": bytes(range(256)) * 50,
        "noise in its frame": armored(bytes(range(256)) * 5),
        "cut in the frame": "\n".join(lines[:-8]),
        "cut in a packet": armored(good[:-5]),
        "no line between head and body": f"{BEGIN}\n{body}",
        "two keys in one frame": armored(good + evil),
        "the other one first": armored(evil + good),
        "a secret key behind it": armored(good + gpg.secret("evil@x")),
        "a secret key": armored(gpg.secret("rsa@x")),
        "compressed ones behind it": armored(good + compressed),
        "compressed ones alone": armored(compressed),
        "a subkey's packet first": armored(_wrapped(14, packets[0][1]) + good),
        "a signature first": armored(_wrapped(2, packets[2][1]) + good),
        "an unknown packet": armored(good + _wrapped(60, b"x")),
        "partial lengths": armored(bytes([0xC6, 0xE4]) + packets[0][1][:16] + b"\x00" + good),
        "version 3": armored(_wrapped(6, b"\x03" + packets[0][1][1:])),
        "version 6": armored(_wrapped(6, b"\x06" + packets[0][1][1:])),
        "an empty packet": armored(_wrapped(6, b"") + good),
        "lengths beyond all bounds": armored(b"\xc6\xff\xff\xff\xff\xff\x04"),
        "a signed message": gpg.sign("x", "rsa@x"),
        "huge": armored(good + _wrapped(13, b"x" * 300_000)),
    }


def _wrapped(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4, "big") + body


def test_everything_else_is_refused(each_sh, tmp_path, gpg):
    """In one line, and nothing is written: who signs with a second key would be believed as well."""
    fingerprint = gpg.fingerprint("rsa@x")
    for what, text in refused(gpg).items():
        taken, refusal = take(tmp_path, text, fingerprint)
        assert taken == "", what
        assert refusal == "https://repo/k.pub is not one OpenPGP key alone; nothing was changed" or (
            refusal.startswith("https://repo/k.pub is the key ") and "\n" not in refusal
        ), (what, refusal)


def test_key_of_another_is_named(each_sh, tmp_path, gpg):
    """Both fingerprints are said."""
    wanted, came = gpg.fingerprint("rsa@x"), gpg.fingerprint("evil@x")
    taken, refusal = take(tmp_path, armored(gpg.key("evil@x")), wanted)
    expected = f"https://repo/k.pub is the key {came}, and {wanted} is the one to be trusted; nothing was changed"
    assert (taken, refusal) == ("", expected)


def test_second_key_in_the_same_text_is_not_passed_on(each_sh, tmp_path, gpg):
    """Readers go on where this one stops: at a second frame, behind a character that is none of base64."""
    good, evil = gpg.key("rsa@x"), gpg.key("evil@x")
    wanted = gpg.fingerprint("rsa@x")
    taken, refusal = take(tmp_path, armored(good) + armored(evil), wanted)
    assert (taken, refusal) == (armored(good), "")
    both = base64.b64encode(good + b"\0" * (-len(good) % 3) + evil).decode()
    cut = len(base64.b64encode(good).decode())
    for text in (
        f"{BEGIN}\n\n{both[:cut]}\n!\n{both[cut:]}\n{END}\n",
        f"{BEGIN}\n\n{base64.b64encode(good).decode()}\n={both[cut:]}\n{both[cut:]}\n{END}\n",
        f"{BEGIN}\n\n{base64.b64encode(good).decode()}\n=AAAA\n\n{base64.b64encode(evil).decode()}\n{END}\n",
    ):
        taken, _ = take(tmp_path, text, wanted)
        assert base64.b64encode(evil).decode()[:40] not in taken.replace("\n", "")


def test_what_follows_a_key_is_read_to_its_end(each_sh, tmp_path, gpg):
    """A reader that stops in the middle makes the writer complain, where nothing ends at a closed pipe."""
    key = armored(gpg.key("rsa@x"))
    late = 'trap "" PIPE\nhead() { command head "$@"; [ "$2" != 65536 ] || { sleep 0.3; echo more; }; }\n'
    assert take(tmp_path, key + "x\n" * 8000, gpg.fingerprint("rsa@x"), before=late) == (key, "")


def test_hostile_words_of_a_fetched_file_are_words(each_sh, tmp_path, gpg):
    """Nothing of it is run, or taken for a file."""
    hostile = "$(touch planted) `touch planted` ; touch planted\n* ? -n\n"
    for text in (
        hostile,
        f"{BEGIN}\n{hostile}\n{hostile}{END}\n",
        armored(gpg.key("ed@x")).replace("\n\n", f"\n{hostile}\n"),
    ):
        take(tmp_path, text, gpg.fingerprint("ed@x"))
    assert {path.name for path in tmp_path.iterdir()} <= {"came", "key", "key.bin", "key.body", "packets"}
