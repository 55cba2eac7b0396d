"""What plans say to llama-server, said to the real one: the command line of every golden plan, on a built rig.

The build is for the CPU, which refuses the names of GPUs by design; what stands for the machine of the plan is replaced
and all else stays as planned: `_on_this_machine` names each replacement.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from pathlib import Path

import pytest

from rigwright import catalogue
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.models import read_model
from rigwright.plan.engines.llamacpp.stretching import longest_context
from rigwright.plan.wish import ServiceWish

pytestmark = pytest.mark.lab

PLANS = Path(__file__).parents[1] / "golden/plans"
SERVER = "/opt/rigwright/services/demo/current/bin/llama-server"
PORT = 18080
# Ready within this, or what it said last; SIGTERM must end it cleanly.
SERVE = f"""
{{server}} {{flags}} >/tmp/flags.log 2>&1 & pid=$!
for _ in $(seq 150); do
  kill -0 $pid 2>/dev/null || break
  [ "$(curl -s -m 5 -o /dev/null -w '%{{{{http_code}}}}' http://127.0.0.1:{PORT}/health)" = 200 ] && ready=yes && break
  sleep 0.1
done
kill $pid 2>/dev/null
wait $pid
echo "${{{{ready:-no}}}} $? $(grep -iE 'error|unknown' /tmp/flags.log | head -n1)"
"""


def golden_command_lines() -> dict[str, list[tuple[str, str | None]]]:
    """The flags of each llama.cpp service in the golden plans, by the name of the plan and the service."""
    return {
        f"{path.stem}/{service['service']}": [(flag["name"], flag["value"]) for flag in service["flags"]]
        for path in sorted(PLANS.glob("*.json"))
        for service in json.loads(path.read_text())["services"]
        if service["engine"] == "llamacpp"
    }


def _on_this_machine(flags: list[tuple[str, str | None]], *, is_served: bool) -> list[str]:
    """The words of a command line with what belongs to the planned machine replaced by what is here.

    `--device`: none, as this build has no other; --n-gpu-layers, --split-mode and --tensor-split stay, they warn only.
    The file of keys, which must be there. To serve: the model, a port; a context of 2,048 tokens a slot, two threads, a
    small prompt cache, as the lab is small; no projector, as no tiny one exists; no layers that GPUs share, as there is
    no GPU.
    """
    slots = int(next((value for name, value in flags if name == "--parallel"), None) or 1)
    drafts = any(name == "--spec-type" for name, _ in flags)
    here: dict[str, str | None] = {"--device": "none", "--api-key-file": "/tmp/keys"}
    if is_served:
        here |= {
            "--model": f"/tmp/{'drafting' if drafts else 'tiny'}.gguf", "--host": "127.0.0.1", "--port": str(PORT),
            "--ctx-size": str(2048 * slots), "--threads": "2", "--cache-ram": "64", "--split-mode": "layer",
        }  # fmt: skip
    said = [(name, here.get(name, value)) for name, value in flags if not (is_served and name == "--mmproj")]
    return [word for pair in said for word in pair if word is not None]


@pytest.fixture(scope="module")
def models(workshop, serving, tmp_path_factory) -> None:
    """Tiny models on the rig: one like those that people serve, one with a layer to draft."""
    folder = tmp_path_factory.mktemp("flags")
    for name, nextn_layers in (("tiny", 0), ("drafting", 1)):
        path = write_tiny_model(folder / f"{name}.gguf", nextn_layers=nextn_layers)
        text = base64.b64encode(path.read_bytes()).decode()
        workshop.lab.exec(serving, ["sh", "-c", f"base64 -d >/tmp/{name}.gguf"], input=text)
    workshop.on(serving, "echo secret >/tmp/keys")


def test_build_records_the_flags_that_the_catalogue_lists(workshop, serving):
    """The table for plans before any build is what the pinned release says of itself."""
    recorded = workshop.on(serving, "cat /opt/rigwright/services/demo/current/flags.txt")
    assert recorded == catalogue.load("llamacpp_flags")["help"].strip()


def test_every_golden_command_line_is_accepted(workshop, serving, models):
    """The real parser knows each flag and takes each value; --version at the end stops it before it loads."""
    lines = golden_command_lines()
    assert lines
    for name, flags in lines.items():
        words = shlex.join([*_on_this_machine(flags, is_served=False), "--version"])
        said = workshop.on(serving, f"{SERVER} {words} 2>&1; echo rc $?", check=False)
        assert said.endswith("rc 0"), (name, said)


def test_every_kind_of_golden_command_line_serves(workshop, serving, models):
    """llama-server becomes healthy with each distinct set of flags, and ends cleanly when told."""
    kinds: dict[str, str] = {}
    for name, flags in golden_command_lines().items():
        words = shlex.join(_on_this_machine(flags, is_served=True))
        kinds.setdefault(_kind(words), f"{words}\n{name}")
    for kind in kinds.values():
        words, name = kind.split("\n")
        outcome = workshop.on(serving, SERVE.format(server=SERVER, flags=words), check=False)
        assert outcome.split()[:2] == ["yes", "0"], (name, words, outcome)


@pytest.mark.parametrize(
    "stretch",
    [
        {},
        {"--rope-scaling": "yarn"},
        {"--rope-scaling": "linear", "--rope-scale": 2},
        {"--rope-scaling": "yarn", "--rope-scale": 2},
        {"--rope-scaling": "yarn", "--rope-freq-scale": 0.5, "--yarn-orig-ctx": 24576},
    ],
    ids=str,
)
def test_real_server_gives_a_slot_what_the_plan_says(workshop, serving, models, tmp_path, stretch):
    """Asked for four times what the model was trained for, it caps the slot where the plan refuses more."""
    model = read_model(write_tiny_model(tmp_path / "tiny.gguf"))
    flags = {"--model": "/tmp/tiny.gguf", "--port": PORT, "--ctx-size": 4 * model.context_train, "--parallel": 1}
    words = shlex.join(str(word) for pair in (flags | stretch).items() for word in pair)
    asking = f"&& curl -s http://127.0.0.1:{PORT}/props >/tmp/props.json && break"
    serve = SERVE.format(server=SERVER, flags=words).replace("&& break", asking)
    outcome = workshop.on(serving, serve, check=False)
    assert outcome.split()[:1] == ["yes"], outcome
    given = json.loads(workshop.on(serving, "cat /tmp/props.json"))["default_generation_settings"]["n_ctx"]
    wish = ServiceWish(name="chat", model="/tmp/tiny.gguf", flags=stretch)
    assert given == longest_context(wish, model)


def _kind(words: str) -> str:
    """Command lines that differ in a name or in a number of layers are of one kind."""
    return re.sub(r"--(alias|n-gpu-layers|n-cpu-moe|tensor-split) \S+", r"--\1", words)
