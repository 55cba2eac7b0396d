"""`plan --command` and `plan --svg`: a line to paste, a picture for light and dark."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from rigwright.cli import main

CAPTURES = Path(__file__).parents[1] / "captures"
PAIR = CAPTURES / "2x3090-nvlink-x299-lxc"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Types `plan` for the recorded pair with one service."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def typed(wish: str, *words: str) -> Result:
        (tmp_path / "w.yml").write_text(f"services:\n - {{name: chat, {wish}}}\n")
        return CliRunner().invoke(main, ["plan", "--capture", str(PAIR), "--spec", "w.yml", *words])

    return typed


WISHES = [
    "model: qwen3.5-35b-a3b",
    "model: qwen3.5-35b-a3b, replicas: 2, engine: llamacpp",
    "model: qwen3.5-35b-a3b, engine: vllm",
    "model: qwen3.5-35b-a3b, engine: ollama",
    'model: qwen3-8b, gpu: none, alias: "it\'s $HOME; rm -rf `pwd`"',
]


@pytest.mark.parametrize("wish", WISHES)
def test_command_line_is_what_a_shell_hands_to_the_engine(run, wish, tmp_path):
    """Pasted into sh, program, flags and environment of each copy are those of the JSON, whatever is in a value."""
    result = run(wish, "--command")
    assert result.exit_code == 0, result.output
    copies = [
        (service["engine"], copy)
        for service in json.loads(run(wish, "--json").stdout)["services"]
        for copy in service["replicas"]
    ]
    programs = {"llamacpp": ["llama-server"], "vllm": ["vllm", "serve"], "ollama": ["ollama"]}
    fake = (
        "#!/usr/bin/env python3\nimport json, os, sys\n"
        "print(json.dumps([sys.argv[1:], dict(os.environ)]), file=open(os.environ['SEEN'], 'a'))\n"
    )
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("llama-server", "vllm", "ollama"):
        (folder / name).write_text(fake)
        (folder / name).chmod(0o755)
    seen = tmp_path / "seen"
    environment = {"PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin", "SEEN": str(seen)}
    subprocess.run(["sh", "-c", result.stdout], env=environment, cwd=tmp_path, check=True)
    calls = [json.loads(line) for line in seen.read_text().splitlines()]
    served = [call for call in calls if call[0][:1] != ["create"]]
    assert len(served) == len(copies)
    for (argv, variables), (engine, copy) in zip(served, copies, strict=True):
        assert argv == [*programs[engine][1:], *copy["argv"]]
        assert variables.items() >= copy["environment"].items()


def test_command_has_no_key_and_no_secret(run, tmp_path):
    """The API key is a file beside the shell; the query of an address is not there."""
    (tmp_path / "keys").write_text("sk-secret\n")
    (tmp_path / "keys").chmod(0o600)
    text = run(f"model: qwen3-8b, host: 0.0.0.0, api_key_file: {tmp_path}/keys", "--command").stdout
    assert "--api-key-file ./api-key" in text and "CREDENTIALS" not in text and "sk-secret" not in text
    url = "https://user:pw@example.org/m.gguf?X-Amz-Signature=SECRET123"
    for words in ((), ("--command",), ("--json",), ("--why",)):
        shown = run(f"model: '{url}'", *words)
        assert not any(secret in shown.output for secret in ("SECRET123", "user:pw")), words


@pytest.mark.parametrize(
    ("address", "is_secret"),
    [
        ("https://u:p@example.org/x", True),
        ("https://example.org/x?X-Amz-Signature=abc", True),
        ("https://example.org/x?sv=2&sp=0123456789012345678901234567", True),
        ("https://example.org/x?token=a", True),
        ("https://example.org/x?download=true", False),
        ("https://example.org/x", False),
        ("/models/x.gguf", False),
    ],
)
def test_flag_with_a_secret_in_its_address_is_refused(run, address, is_secret):
    """It would stand in the unit and in process lists; the refusal does not show it either."""
    result = run(f"model: qwen3-8b, flags: {{'--mmproj-url': '{address}'}}")
    assert ("holds an address with a secret" in result.output) == is_secret
    assert not is_secret or (result.exit_code == 1 and address not in result.output)


def test_differences_show_no_secret_of_what_an_older_version_left():
    """On the page, in JSON and in the lines of a lock."""
    import io

    from rich.console import Console

    from rigwright.plan.changes import Change
    from rigwright.view.answers.plan import Difference
    from rigwright.view.changes import _section

    change = Change("~", "chat --mmproj-url", "https://u:p@example.org/a?sig=SECRET", "https://example.org/b")
    page = io.StringIO()
    _section(Console(file=page), "differences", [change])
    assert "SECRET" not in page.getvalue() and "u:p" not in page.getvalue() and "example.org/a" in page.getvalue()
    assert Difference.of(change).old == "https://example.org/a"


def test_svg_follows_light_and_dark(run, tmp_path):
    """Every class of the page has a rule for each, and nothing is fetched from elsewhere."""
    result = run("model: qwen3.5-35b-a3b, engine: llamacpp", "--svg", "plan.svg")
    assert result.exit_code == 0 and "chat" in result.stdout
    text = (tmp_path / "plan.svg").read_text()
    ElementTree.fromstring(text)
    day, night = text.split("@media (prefers-color-scheme: dark)")
    used = set(re.findall(r'class="(page-(?:c\d+|ground|title))"', text))
    for name in used:
        rules = [re.search(rf"\.{name} \{{ (.*?) \}}", side) for side in (day, night)]
        assert all(rules) and rules[0][1] != rules[1][1], name
    assert "http" not in re.sub(r"http://www\.w3\.org/\S+|https://www\.textualize\.io", "", text)
    said = " ".join(text_of(text).split())
    assert "134 tokens/s" in said and "Qwen3.5-35B-A3B" in said


def text_of(svg: str) -> str:
    return " ".join(node.text or "" for node in ElementTree.fromstring(svg).iter() if node.text).replace("\xa0", " ")


@pytest.mark.parametrize(("file", "says"), [("plan.png", "name it plan.svg"), ("no/where.svg", "cannot be written")])
def test_svg_goes_nowhere_else(run, file, says):
    """A name that promises another format is refused, and so is a folder that is not there."""
    result = run("model: qwen3-8b", "--svg", file)
    assert result.exit_code == 1 and says in result.output


def test_shlex_reads_the_command_back(run):
    """One flag on each line, each line goes on."""
    text = run("model: qwen3.5-35b-a3b, engine: llamacpp", "--command").stdout
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(line.endswith(" \\") for line in lines[:-1]) and not lines[-1].endswith("\\")
    assert "llama-server" in shlex.split(text.replace("\\\n", " "), comments=True)
