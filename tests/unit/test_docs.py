"""What the pages say is so: keys, links, commands, examples."""

from __future__ import annotations

import ast
import configparser
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rigwright.cli import main
from rigwright.errors import WrongSpec
from rigwright.inventory.described import described
from rigwright.lab.faults import FAULTS
from rigwright.spec.cluster import memberships
from rigwright.spec.docs import spec_markdown
from rigwright.spec.file import read_spec
from rigwright.spec.rig import parse_spec

from ..pages import (
    FENCE,
    PAGES,
    READ,
    ROOT,
    Block,
    block_of,
    blocks,
    commands,
    indented,
    lines_of,
    page_shows,
    pattern_of,
    spans,
)

TESTS = ROOT / "tests"
TOY = TESTS / "lab/toy"
CAPTURE = TESTS / "captures/2x3090-nvlink-x299-lxc"
ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]
name_of = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


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


def test_accuracy_page_is_what_the_estimates_say(monkeypatch):
    """docs/accuracy.md is computed; `make accuracy` writes it."""
    monkeypatch.syspath_prepend(TESTS / "bench")
    page = importlib.import_module("accuracy")
    assert page.PAGE.read_text() == page.page().rstrip() + "\n"


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
    for span in spans(page):
        if span.startswith("lab "):
            check_rigwright(re.sub(r"[][|\\]", " ", span).split(), written)


# Of the hub's client, nvidia-smi, older llama.cpp; a section of docs/hardware.md has the options of many tools.
FOREIGN = {"--include", "--query-gpu", "--no-mmap"}
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "models"}


@cache
def our_options(command: click.Command = main) -> frozenset[str]:
    """Those of a command and of all below it."""
    names = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    if isinstance(command, click.Group):
        context = click.Context(command)
        below = filter(None, (command.get_command(context, name) for name in command.list_commands(context)))
        names = names.union(*map(our_options, below))
    return frozenset({"--help", "--version"} | names)


@pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_and_files_exist(page):
    """What stands between backticks: each option is one of ours, of pyinfra or of an engine; each file is there."""
    engines = "llamacpp", "vllm"
    flags = "\n".join((ROOT / f"rigwright/catalogue/{engine}_flags.yml").read_text() for engine in engines)
    foreign = page.read_text().partition("\n## What is read\n")[2].partition("\n## ")[0]
    for span in spans(page):
        if f"`{span}`" in foreign:
            continue
        word = re.split("[ =]", span)[0]
        if re.fullmatch("--?[a-z][a-z-]*", word) and word not in our_options() | FOREIGN | pyinfra_options():
            known = re.search(rf"(?<![\w-]){word}(?![\w-])", flags)
            assert known, f"{span}: nobody has this option; what another tool has goes into FOREIGN"
        for word in span.split():
            if re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?", word) and word.partition("/")[0] in FOLDERS:
                assert (ROOT / word.replace("NAME", "llamacpp")).exists(), span


@pytest.mark.parametrize("span", sorted({span for page in READ for span in spans(page) if re.match(r'"\w+": ', span)}))
def test_keys_of_an_inventory_are_accepted(span):
    """What stands between backticks as of an inventory is a key of the rig, of a service, or of llama.cpp."""
    said = ast.literal_eval(f"{{{span.replace('…', 'qwen3.5-9b')}}}")
    service = {"name": "chat", "model": "qwen3.5-35b-a3b"}
    places = ({"services": [service]} | said, {"services": [service | said]}, {"services": [service], "llamacpp": said})
    refused = []
    for place in places:
        try:
            parse_spec("rig1", place)
        except WrongSpec as error:
            refused.append(str(error))
    assert len(refused) < len(places), refused


def test_cards_are_taken_as_the_page_writes_them():
    """docs/plan.md, "A machine in words"."""
    section = (ROOT / "docs/plan.md").read_text().partition("\n## A machine in words\n")[2].partition("\nCARDS may")[0]
    cards = [span for span in re.findall(r"`([^`]+)`", section) if not span.startswith("rigwright ")]
    assert len(cards) > 9
    for span in cards:
        described([span.partition(" --ram")[0]], ram_bytes=None)


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


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=str)
def test_every_block_is_owned(block, monkeypatch, tmp_path):
    """Output is what came, of a command that is run here or on a rig; all else is read by what reads it."""
    monkeypatch.chdir(tmp_path)
    # Recordings of the checkout are named as a person in it does.
    (tmp_path / "tests").symlink_to(TESTS)
    assert block.language in OWNERS, (
        f"{block}: a block of output is ```text; of another language, say here what reads it"
    )
    OWNERS[block.language](block, tmp_path)


def check_output(block: Block, _folder: Path) -> None:
    """`$ rigwright …` is run, 100 columns wide; what else was printed, a test on rigs has seen."""
    command, _, shown = block.text.partition("\n")
    if not command.startswith("$ rigwright "):
        assert is_claimed(block), f"{block}: no test prints this; begin it with its command, or call page_shows"
        return
    done = CliRunner(env={"COLUMNS": "100"}).invoke(main, shlex.split(command.removeprefix("$ rigwright ")))
    assert done.exit_code == 0, done.output
    assert re.fullmatch(pattern_of(shown), lines_of(done.stdout)), f"{block}: {command} prints\n{done.stdout}"


@cache
def claims() -> list[list[str]]:
    """What other tests have seen or run: the page and the first words of each `page_shows` and `block_of`."""
    calls = (
        node
        for path in sorted(TESTS.rglob("test_*.py"))
        if "page_shows(" in (text := path.read_text("utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("page_shows", "block_of")
    )
    words = ([str(word.value) for word in call.args[:2] if isinstance(word, ast.Constant)] for call in calls)
    return [two for two in words if len(two) == 2]


def test_what_tests_have_seen_is_on_a_page():
    """Each names one block: a page that changes its first words says so here, before any rig does."""
    for claim in claims():
        block_of(*claim)


def is_claimed(block: Block) -> bool:
    return any(block.begins(*claim) for claim in claims())


def check_python(block: Block, _folder: Path) -> None:
    """An inventory is accepted; a deploy is, word for word, one that tests run on rigs; so is what else they run."""
    statements = ast.parse(block.text).body
    if isinstance(statements[0], ast.Assign):
        hosts, data = ast.literal_eval(statements[0].value)
        parse_spec(hosts[0][0], data["rig"])
        memberships((host, data.get("cluster")) for host, _ in hosts)
        return
    run = [
        ast.parse(path.read_text()).body[1:] for path in (*(ROOT / "deploys").glob("*.py"), *TOY.glob("deploys/*.py"))
    ]
    same = any(list(map(ast.dump, one)) == list(map(ast.dump, statements)) for one in run)
    assert same or is_claimed(block), f"{block}: no test runs this"


def check_yaml(block: Block, folder: Path) -> None:
    """Wishes are accepted."""
    assert block.file, f"{block}: say which file this is"
    (folder / block.file).write_text(block.text)
    read_spec(Path(block.file))


def check_toml(block: Block, _folder: Path) -> None:
    """An entry point is that of the toy, which tests install."""
    said = configparser.ConfigParser()
    said.read(TOY / "toychat-1.0.dist-info/entry_points.txt")
    points = tomllib.loads(block.text)["project"]["entry-points"]
    assert points == {group: dict(said[group]) for group in said.sections()}


def check_template(block: Block, _folder: Path) -> None:
    """A template is that of the toy, which tests render and run."""
    assert f'"""{block.text}"""' in (TOY / "toychat/planner.py").read_text()


def check_shell(block: Block, folder: Path) -> None:
    """Pasted into bash in a new account, it works: there, in the bash that starts next, and what zsh would ask for."""
    # fish makes it when it starts for the first time.
    (folder / ".config/fish/completions").mkdir(parents=True)
    environment = {"HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    zsh = """sh -ec "$(sed 's/^eval "$(//; s/)"$//' ~/.zshrc)" >~/asked"""
    for script in (f"set -e\n{block.text}", ". ~/.bashrc; complete -p rigwright", zsh):
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), f"{block}: {done.stderr}"


OWNERS = {"text": check_output, "python": check_python, "yaml": check_yaml, "toml": check_toml, "jinja": check_template}
OWNERS |= {"bash": check_shell}


# What stands for a reader's own.
OWN = {"CARDS": "4x3090", "MODEL": "qwen3.5-35b-a3b", "DIR": "mybox", "FILE": "plan.svg", "wishes.yml": "rig.yml"}
NO_RIG = {"--gpu", "--capture", "@local", "size"}
TYPED = {
    shlex.join(OWN.get(word, word) for word in words)
    for page in PAGES
    if page.name != "seeds.md"  # tests/unit/test_claims.py types these, and reads what comes
    for words in commands(page)
    if words[0] == "rigwright" and len(words) > 2 and NO_RIG & set(words) and not words[-1].startswith("--")
}
SHOWN = {shlex.join(shlex.split(block.text.partition("\n")[0])[1:]) for block in ALL_BLOCKS if block.text[:2] == "$ "}


@pytest.mark.parametrize(
    "line",
    [pytest.param(line, marks=pytest.mark.patience if " recommend " in line else ()) for line in sorted(TYPED - SHOWN)],
)
def test_commands_without_a_rig_work(line, monkeypatch, tmp_path):
    """In a folder with a recorded machine, `mybox` or `rig1`, and the wishes of docs/plan.md."""
    monkeypatch.chdir(tmp_path)
    for name in {"mybox", "rig1"} - {line.rpartition("--record ")[2]}:
        (tmp_path / name).symlink_to(CAPTURE)
    (tmp_path / "rigwright").symlink_to(ROOT / "rigwright")
    (tmp_path / "docs").mkdir()
    (tmp_path / "rig.yml").write_text(block_of("docs/plan.md", "services:").text)
    done = CliRunner().invoke(main, shlex.split(line)[1:])
    assert done.exit_code == 0, done.output
    for drawn in (tmp_path / "docs").iterdir():
        assert drawn.read_text() == (ROOT / "docs" / drawn.name).read_text(), f"docs/{drawn.name}: {line} draws it anew"


@pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_indented_is_a_command(page):
    """Output and code stand between fences, where they have an owner."""
    for line in indented(page):
        assert re.match(r"(sudo )?(rigwright|pyinfra|make|uvx|pip|apt-get) ", line), line
        for extra in re.findall(r"\[(\w+)\]'", line) if line.startswith("pip ") else ():
            assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text(), line
        if packages := re.match(r"apt-get install (?:-y )?(.*)", line):
            known = (ROOT / "Makefile").read_text() + (ROOT / ".github/workflows/ci.yml").read_text()
            assert [name for name in packages[1].split() if name not in known.split()] == []


def test_lab_page_lists_all_commands_and_faults():
    """Neither less nor more than there are."""
    page = (ROOT / "docs/lab.md").read_text()
    group = main.get_command(click.Context(main), "lab")
    assert isinstance(group, click.Group)
    assert set(re.findall(r"^\| `lab (\w+)", page, re.MULTILINE)) == set(group.list_commands(click.Context(group)))
    faults = page.partition("\n## Faults\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([\w-]+)", faults, re.MULTILINE)) == set(FAULTS)


def test_readme_shows_a_refusal(monkeypatch, tmp_path):
    """The inventory of the README with a key that is misspelled."""
    monkeypatch.chdir(tmp_path)
    wrong = block_of("README.md", "rigs = (").text.replace('"model"', '"contxt": 4096, "model"')
    (tmp_path / "rig.py").write_text(wrong)
    done = CliRunner().invoke(main, ["plan", "rig.py"])
    assert done.exit_code == 1
    page_shows("README.md", "Error: rig1: rig.services", done.stderr)


@pytest.mark.parametrize(
    ("page", "what", "found"),
    [
        ("README.md", "plans against published", list(TESTS.glob("golden/plans/*.yml"))),
        ("docs/hardware.md", "recorded machines", list(TESTS.glob("captures/*/"))),
        ("docs/hardware.md", "pastes of the kind", json.loads((TESTS / "facts/cases.json").read_text())),
    ],
)
def test_pages_count_right(page, what, found):
    """As many as there are."""
    assert re.search(rf"(\d+) {what}", (ROOT / page).read_text())[1] == str(len(found))


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
