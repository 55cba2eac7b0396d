"""What the pages say is so: keys, links, commands, examples."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner

from rigwright.cli import main
from rigwright.spec.docs import spec_markdown
from rigwright.spec.rig import parse_spec

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"^(?:\$ )?(?:sudo )?((?:pyinfra|rigwright|make) .*)$")
FENCE = re.compile(r"^```(\S*) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
name_of = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


class Block(NamedTuple):
    """A code block of a page; `file` is the name that the reader gives it, where the page says one."""

    language: str
    file: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(page.read_text())]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command of ours in code: fenced blocks, indented blocks, spans between backticks."""
    text = page.read_text()
    code = [line for block in blocks(page) for line in block.text.splitlines() if not block.file]
    prose = FENCE.sub("", text)
    code += [line.strip() for line in prose.splitlines() if line.startswith("    ")]
    code += re.findall(r"`([^`\n]+)`", prose)
    for line in code:
        if found := COMMAND.match(line.strip()):
            yield shlex.split(found[1], comments=True)


def anchors(page: Path) -> set[str]:
    """The names that a forge gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def pyinfra_options() -> set[str]:
    """From its own help: importing its command line would patch the sockets of this process."""
    command = [sys.executable, "-m", "pyinfra", "--help"]
    help_text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", help_text))


def test_spec_page_is_what_the_models_say(request):
    """docs/spec.md is generated; `make golden` writes it."""
    page = ROOT / "docs" / "spec.md"
    if request.config.getoption("--renew-golden"):
        page.write_text(spec_markdown())
    assert spec_markdown() == page.read_text()


@name_of
def test_links_resolve(page):
    """Every relative link names a file that is there, every anchor a heading."""
    prose = re.sub(r"`[^`\n]+`", "code", FENCE.sub("", page.read_text()))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


@name_of
def test_commands_exist(page):
    """Every command on the pages can be typed: its subcommand, options, files and targets exist."""
    written = {block.file for block in blocks(page) if block.file}
    for words in commands(page):
        {"make": check_make, "pyinfra": check_pyinfra, "rigwright": check_rigwright}[words[0]](words[1:], written)


def check_make(words: list[str], written: set[str]) -> None:
    assert [word for word in words if "=" not in word and word not in make_targets()] == [], words


def check_pyinfra(words: list[str], written: set[str]) -> None:
    options = {word for word in words if word.startswith("-")}
    assert options - pyinfra_options() == set(), words
    check_files(words, written)


def check_rigwright(words: list[str], written: set[str]) -> None:
    command: click.Command = main
    for word in words:
        if not isinstance(command, click.Group) or word.startswith(("-", "[")):
            break
        found = command.get_command(click.Context(command), word)
        assert found is not None, words
        command = found
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
    ours = words[: words.index("--")] if "--" in words else words
    assert {word.partition("=")[0] for word in ours if word.startswith("--")} - known == set(), words
    check_files(ours, written)


def check_files(words: list[str], written: set[str]) -> None:
    """Inventories and deploys are in the checkout, or the page has the reader write them."""
    for word in words:
        if word.endswith(".py"):
            assert word in written or (ROOT / word).is_file(), words


def test_readme_examples_work():
    """The inventory of the README is accepted, and its deploys import what exists."""
    examples = {block.file: ast.parse(block.text) for block in blocks(ROOT / "README.md") if block.file}
    inventory = examples.pop("rig.py")
    hosts, data = ast.literal_eval(next(node.value for node in inventory.body if isinstance(node, ast.Assign)))
    assert parse_spec(hosts[0][0], data["rig"]).services[0].name == "chat"
    assert set(examples) == {"deploy.py", "remove.py"}
    for tree in examples.values():
        statement = tree.body[0]
        assert isinstance(statement, ast.ImportFrom) and statement.module
        assert hasattr(importlib.import_module(statement.module), statement.names[0].name)


@name_of
def test_output_in_the_pages_is_what_comes(page, monkeypatch, tmp_path):
    """A block that begins with `$ rigwright …` is what that prints, 100 columns wide; `...` leaves lines out."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        command, _, shown = block.text.partition("\n")
        if not command.startswith("$ rigwright "):
            continue
        done = CliRunner().invoke(main, shlex.split(command.removeprefix("$ rigwright ")))
        assert done.exit_code == 0, done.output
        printed = "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines())
        pattern = ".*".join(re.escape(part) for part in re.split(r"^\.\.\.$", shown.rstrip(), flags=re.MULTILINE))
        assert re.fullmatch(pattern, printed, re.DOTALL), f"{page.name}: {command} prints\n{printed}"


def test_readme_is_short():
    """A person reads it to the end."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_claims_of_security_name_tests_that_exist() -> None:
    """docs/security.md says which test would fail if a claim were no longer true."""
    claimed = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/security.md").read_text("utf-8")))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text("utf-8"))
    }
    assert len(claimed) > 30 and claimed - there == set()
