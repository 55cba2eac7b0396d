"""What CI and `make` bring in: each package at one version and by its hashes, each action at a commit."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = [
    (Requirement(entry.split("\\")[0]), re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry))
    for entry in re.split(r"\n(?=\S)", (ROOT / "constraints.txt").read_text().strip())
]


def declared() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + [line for group in extras.values() for line in group]
    return [Requirement(line) for line in lines if not line.startswith("rigwright[")]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_each_dependency_is_pinned_within_its_bounds(python: str) -> None:
    """`make constraints` was run after the last change of a dependency, and holds for every Python that we support."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    pins = {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin, _ in PINNED
        if pin.marker is None or pin.marker.evaluate(environment)
    }
    wrong = [str(one) for one in declared() if not one.specifier.contains(pins.get(canonicalize_name(one.name), ""))]
    assert wrong == [], "run `make constraints`"


def test_every_package_has_hashes_and_no_address() -> None:
    """pip accepts nothing else than what was there then, from whichever index it is told to ask."""
    assert all(hashes and str(pin.specifier).startswith("==") and not pin.url for pin, hashes in PINNED)
    assert "://" not in (ROOT / "constraints.txt").read_text()


def test_what_is_imported_is_declared() -> None:
    """No module of ours lives on what another package happens to bring."""
    known = {canonicalize_name(one.name) for one in declared()}
    homes = {"yaml": "pyyaml", "testinfra": "pytest-testinfra", "_pytest": "pytest"}
    homes |= {"pyinfra_cli": "pyinfra", "pydantic_core": "pydantic"}
    trees = [ast.parse(path.read_text()) for place in ("rigwright", "roles") for path in (ROOT / place).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    # Scripts of the role run with vLLM's own interpreter, on rigs.
    own = {"rigwright", "roles", "vllm", *sys.stdlib_module_names}
    foreign = {name.partition(".")[0] for name in names} - own
    assert {canonicalize_name(homes.get(name, name)) for name in foreign} <= known


def test_ci_runs_actions_by_commit_and_keeps_no_token() -> None:
    """A tag may be moved; a commit is what was read. No step after the checkout can push."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert steps and all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"]) for step in steps)
    checkouts = [step for step in steps if "/checkout@" in step["uses"]]
    assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)
    assert workflow["permissions"] == {"contents": "read"}


def test_clean_keeps_the_models_of_the_owner(tmp_path: Path) -> None:
    """`make clean` takes what `make` built; in models/, the README's place for models, that is tiny.gguf alone."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "models").mkdir()
    for name in ("tiny.gguf", "mine.gguf"):
        (tmp_path / "models" / name).touch()
    subprocess.run(["make", "-s", "clean"], cwd=tmp_path, check=True)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["mine.gguf"]
    (tmp_path / "models/mine.gguf").rename(tmp_path / "models/tiny.gguf")
    subprocess.run(["make", "-s", "clean"], cwd=tmp_path, check=True)
    assert not (tmp_path / "models").exists()
