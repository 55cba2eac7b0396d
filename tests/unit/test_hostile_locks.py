"""Lock files of strangers, in a pull request: whatever they hold, no line of theirs gets into a unit."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rigwright.errors import RigwrightError
from rigwright.hardware import Hardware, Link
from rigwright.lock.file import Entry, Lock, read_lock, render_lock
from rigwright.lock.values import digest
from rigwright.resolve import resolve
from rigwright.resolve.pin import pin
from rigwright.resolve.unit import quote, render_unit
from rigwright.spec.file import read_spec
from rigwright.spec.rig import RigSpec, parse_spec

# What each did to a unit of 208d973: a line of its own, another section, a comment, a continuation.
HOSTILE = (
    "b\nExecStopPost=+/bin/touch /pwned\nX",
    "b\r\nUser=root",
    "\n[Service]\nUser=root",
    "x\0y",
    "x\x0bUser=root",
    "x\x85User=root",
    "x\u2028User=root",
    "\ud800",
    "\\\nUser=root",
    "--a b\n",
    "",
    "../../../../etc/profile.d/z.gguf",
    "ext::sh -c id",
    "9" * 5000,
    "%n%H${HOME}$PATH\"'\\;#",
)


@pytest.fixture
def home(tmp_path: Path, tiny_dense: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a model, and nothing that was read before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copy(tiny_dense, tmp_path / "m.gguf")
    return tmp_path


@pytest.fixture
def machine(rig: Callable[..., Hardware]) -> Hardware:
    """Two GPUs with a link between them."""
    return replace(rig(24, 24), links=(Link(0, 1, "NV4"),), driver_version="580.95.05")


@pytest.fixture
def wished() -> RigSpec:
    return parse_spec("rig1", {"services": [{"name": "chat", "model": "m.gguf", "context": 2048}]})


@pytest.fixture
def locked(home: Path, machine: Hardware, wished: RigSpec) -> dict[str, Any]:
    """The data of a real lock file."""
    entry = Entry(*pin(resolve(wished, machine), wished, machine, rig="rig1"), wished, machine)
    data: dict[str, Any] = yaml.safe_load(render_lock(Lock(rigs={"rig1": entry.locked}), "rig.py"))
    return data


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the texts and numbers of a tree are, and its keys."""
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in rows:
        yield (*path, key)
        yield from leaves(one, (*path, key))


def with_value(data: Any, path: tuple[Any, ...], value: Any, *, is_key: bool = False) -> Any:
    """A copy with another value there, or another key."""
    found = copy.deepcopy(data)
    at = found
    for key in path[:-1]:
        at = at[key]
    if is_key:
        at[value] = at.pop(path[-1])
    else:
        at[path[-1]] = value
    return found


def write(data: Any, path: Path) -> Path:
    """As an attacker would: with a digest that fits."""
    rig = {key: value for key, value in data["rigs"]["rig1"].items() if key != "digest"}
    data["rigs"]["rig1"]["digest"] = digest(rig)
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=False))
    return path


def directives(unit: str) -> list[tuple[str, str]]:
    """A unit as systemd reads it: what ends a line there ends one here, a backslash at its end continues it."""
    found, section = [], ""
    joined = re.sub(r"\\\n", " ", unit)
    for line in re.split(r"[\n\r\0]", joined):
        if line.startswith("["):
            section = line
        elif line.strip() and not line.lstrip().startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.append((f"{section}{key.strip()}", value))
    return found


def words(line: str) -> list[str]:
    """The words of an ExecStart= line by systemd's own rules."""
    found = re.findall(r'(?:"((?:[^"\\]|\\.)*)"|(\S+))', line)
    plain = [bare or re.sub(r"\\(.)", r"\1", quoted) for quoted, bare in found]
    return [word.replace("%%", "%").replace("$$", "$") for word in plain]


def units_of(path: Path, wished: RigSpec, machine: Hardware) -> list[tuple[Any, str]]:
    """The instances that a lock makes of a wish, and their units."""
    resolved = resolve(wished, machine, read_lock(path).rigs.get("rig1"))
    return [
        (one, render_unit(one, resolved.engines[one.engine], weights={"/w/m": "ab" * 32}))
        for one in resolved.instances(wished)
    ]


def check(path: Path, wished: RigSpec, machine: Hardware, keys: list[str]) -> str:
    """Refused in a line, or units of the same directives, whose words are those of the plan. `refused`, or `used`."""
    try:
        found = units_of(path, wished, machine)
    except RigwrightError as error:
        assert all(line.isprintable() for line in error.message.splitlines()), error.message
        return "refused"
    for instance, unit in found:
        said = directives(unit)
        assert [key for key, _ in said if key != "[Service]Environment"] == keys, unit
        line = next(value for key, value in said if key == "[Service]ExecStart")
        assert words(line)[1:] == list(instance.argv)
    return "used"


@pytest.fixture
def keys(locked: dict[str, Any], home: Path, wished: RigSpec, machine: Hardware) -> list[str]:
    """The directives of the unit of an honest lock."""
    ((_, unit),) = units_of(write(locked, home / "rig.lock.yml"), wished, machine)
    return [key for key, _ in directives(unit) if key != "[Service]Environment"]


def test_no_value_of_a_lock_makes_a_line_of_a_unit(home, locked, wished, machine, keys):
    """Each leaf and each key of a lock, replaced by each hostile text, digest recomputed: refused, or one word."""
    outcomes = {"refused": 0, "used": 0}
    engine = list(leaves(locked["rigs"]["rig1"], ("rigs", "rig1")))
    for path in engine:
        for text in HOSTILE:
            for is_key in (False, True) if isinstance(path[-1], str) else (False,):
                attacked = with_value(locked, path, text, is_key=is_key)
                if "rig1" not in attacked["rigs"]:
                    continue
                outcomes[check(write(attacked, home / "rig.lock.yml"), wished, machine, keys)] += 1
    assert outcomes["refused"] > 500, outcomes


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("replicas", 0, "environment"), {"A\nExecStopPost=+/bin/touch /pwned\nX": "b"}),
        (("replicas", 0, "environment"), {"CUDA_VISIBLE_DEVICES": "b\nExecStopPost=+/bin/touch /pwned2\nX"}),
        (("replicas", 0, "environment"), {"LD_PRELOAD": "/tmp/evil.so"}),
        (("flags",), ["--temp 0.5\nExecStopPost=+/bin/touch /pwned"]),
        (("flags",), ["ExecStopPost=+/bin/touch"]),
        (("replicas",), []),
        (("engine",), "nosuch"),
        (("model", "files", 0, "name"), "../../etc/m.gguf\nx"),
    ],
)
def test_attacks_of_the_review_are_refused(home, locked, path, value):
    """The texts that became root's commands, and the loader's own variables: a line each, that names the place."""
    service = locked["rigs"]["rig1"]["services"]["chat"]
    locked["rigs"]["rig1"]["services"]["chat"] = with_value(service, path, value)
    with pytest.raises(RigwrightError, match=r"^\S+rig\.lock\.yml: rigs\.rig1\.services\.chat\.") as found:
        read_lock(write(locked, home / "rig.lock.yml"))
    assert "\n" not in found.value.message


@pytest.mark.parametrize(
    ("key", "value"),
    [("git", "--upload-pack=touch /pwned"), ("git", "ext::sh -c id"), ("ref", "--output=/etc/x"), ("ref", "a\nb"),
     ("commit", "v1"), ("commit", "-" + "a" * 39),
     ("git", "https://me:secret@host/x"), ("git", None), ("evil", "x")],
)  # fmt: skip
def test_source_of_a_build_is_held_to_the_rules_of_inventories(home, locked, key, value):
    """Git would take it for an option or a program: refused as the inventory's own would be."""
    build = locked["rigs"]["rig1"]["builds"]["llamacpp"]
    build[key] = value
    if value is None:
        del build[key]
    with pytest.raises(RigwrightError, match=rf"rigs\.rig1: (?:builds: )?{key}: "):
        read_lock(write(locked, home / "rig.lock.yml"))


@given(text=st.text(max_size=60))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_one_word_or_refused(text):
    """quote: one line and one word of it, or a refusal."""
    try:
        quoted = quote(text)
    except RigwrightError:
        assert re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", text)
        return
    assert len(quoted.splitlines()) == 1
    assert words(f"/bin/x {quoted} end")[1:] == [text, "end"]


@pytest.mark.parametrize("field", ["host", "allow_from"])
@pytest.mark.parametrize("text", ["::1%\nRestart=no\nUser=root", "fe80::%\n/128", "fe80::1%eth0", "::1%25"])
def test_address_with_a_scope_is_refused(field, text):
    """What follows the percent sign is free text to Python, and stood in units of 208d973."""
    value: Any = [text] if field == "allow_from" else text
    wish = {"name": "chat", "model": "m.gguf", "host": "0.0.0.0", "api_key_file": "k", field: value}
    with pytest.raises(RigwrightError, match=f"rig.services.0.{field}: ") as found:
        parse_spec("rig1", {"services": [wish]})
    assert "\n" not in found.value.message


BOMB = "version: 2\nrigs:\n" + "".join(
    f"  r{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'lol'}]\n" for n in range(10)
)


@pytest.mark.parametrize(
    "program",
    [
        "from rigwright.lock.file import read_lock as read",
        "from rigwright.spec.file import read_spec as read",
    ],
)
@pytest.mark.parametrize(
    "text", [BOMB, "version: 2\nrigs: &x {a: *x}\n", "a: &x {b: 1}\nc:\n  <<: *x\n"], ids=["bomb", "self", "merge"]
)
def test_aliases_are_refused_before_they_grow(tmp_path, program, text):
    """A billion laughs in 600 bytes: one line, in 512 MiB and ten seconds of processor."""
    file = tmp_path / "rig.lock.yml"
    file.write_text(text)
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, (512 << 20,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
from pathlib import Path
from rigwright.errors import RigwrightError
{program}
try:
    read(Path({str(file)!r}))
except RigwrightError as error:
    print(error.message)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert "alias" in line


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{a: " * 50_000, "- " * 20_000, "version: " + "9" * 5000, "version: 2\nrigs: {r: {d: 2001-99-99}}",
     "version: 2\nrigs: {r: {digest: 1, d: 2001-01-01}}", "version: 2\nrigs: {r: {d: !!python/object:os.system x}}",
     "version: 2\nrigs: {r: !!set {a}}", "version: [2]\nrigs: {}", "version: {}\nrigs: {}", "? [a]\n: b", "\x00",
     "2: 3"],
)  # fmt: skip
def test_yaml_that_is_no_lock_is_one_line(tmp_path, text):
    """Nested a hundred thousand deep, numbers of 5000 digits, dates, objects: refused, never a traceback."""
    file = tmp_path / "rig.lock.yml"
    file.write_text(text)
    for read in (read_lock, read_spec):
        with pytest.raises(RigwrightError) as found:
            read(file)
        assert len(found.value.message) < 1000
