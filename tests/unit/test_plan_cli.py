"""`rigwright plan` and `rigwright recommend` as they are typed: one clear line for what is wrong."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from rigwright.cli import main
from rigwright.errors import UnreadableModel, WrongSpec
from rigwright.hardware.capture import folder_files, read_folder
from rigwright.inventory.live import Collected
from rigwright.inventory.what_if import gpu_model, what_if
from rigwright.models.variants import find_model, known_models
from rigwright.plan.source import ModelSource
from rigwright.spec.file import read_spec
from rigwright.units import GIB
from rigwright.view.answers.plan import Plan
from rigwright.view.answers.recommend import Ranking
from rigwright.view.answers.schema import schema
from rigwright.weights.gguf import gguf_offer
from rigwright.weights.variants import offers_for

ROOT = Path(__file__).parents[2]
CAPTURES = ROOT / "tests" / "captures"
PAIR = CAPTURES / "2x3090-nvlink-x299-lxc"
WISH = "services:\n  - name: chat\n    model: qwen3.5-35b-a3b:Q4_K_M\n    context: 32768\n"

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Types a command in an empty folder with one good spec, `ok.yml`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "ok.yml").write_text(WISH)
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


def planned(run: Run, *words: object) -> dict[str, object]:
    result = run("plan", "--capture", PAIR, "--spec", "ok.yml", "--json", *words)
    assert result.exit_code == 0, result.output
    lines: dict[str, object] = json.loads(result.stdout)
    return lines


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "for which machine? Name an inventory, @local, --capture DIR, or cards"),
        (("@local", "--capture", PAIR), "--capture and @local both name a machine; leave one of them out"),
        (("--capture", PAIR, "--spec", "ok.yml", "qwen3.5-9b"), "qwen3.5-9b and --spec both say what to serve"),
        (("@local", "--limit", "x", "--spec", "ok.yml"), "--limit chooses rigs of an inventory"),
        (("--capture", "nosuch", "--spec", "ok.yml"), "nosuch: no such folder"),
        (("--capture", PAIR, "--spec", "ok.yml", "--ram", "-5"), "--ram: '-5' is no size"),
        (("--capture", PAIR, "--spec", "ok.yml", "--ram", "0"), "--ram: 0 is nothing"),
        (("--capture", PAIR, "--spec", "ok.yml", "--alternatives", "-1"), "--alternatives"),
    ],
)
def test_what_cannot_be_meant_is_refused(run, words, says):
    """Exit code 2, and why."""
    result = run("plan", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "bad.yml: cannot be read: No such file or directory"),
        ("", "bad.yml: is empty"),
        ("# nothing\n", "bad.yml: is empty"),
        ("- a\n", "bad.yml: holds no keys"),
        ("services: [\n", "bad.yml:2: "),
        ("a: 1\n\tb: 2\n", "bad.yml:2: "),
        (
            "services:\n  - name: a\n    model: ./m.gguf\n    contxt: 5\n",
            "bad.yml:4: rig.services.0.contxt: unknown key",
        ),
        ("rig:\n  services: []\n  wieghts: {}\n", "bad.yml:3: rig.wieghts: unknown key; did you mean weights?"),
        ("rig:\n  services: []\nhosts: []\n", "bad.yml: hosts: unknown key beside rig"),
        ("services:\n - {name: a, model: nosuch-9b}\n", "rig.services.0.model: no model is called nosuch-9b"),
        ("services:\n - {name: a, model: ./m.gguf}\n", "rig.services.0.model: m.gguf: does not exist"),
        ("services:\n - {name: a, model: qwen3-8b:Q9_X}\n", "qwen3-8b:Q9_X"),
    ],
)
def test_wrong_spec_is_one_line_with_its_place(run, tmp_path, text, says):
    """File, line where there is one, what is wrong, what to do; exit code 1."""
    if text is not None:
        (tmp_path / "bad.yml").write_text(text)
    result = run("plan", "--capture", PAIR, "--spec", "bad.yml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert says in result.stderr and len(result.stderr.splitlines()) == 1


def test_binary_spec_is_one_line(tmp_path):
    """A file that is no text."""
    (tmp_path / "x.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WrongSpec, match=r"x\.yml: is no text"):
        read_spec(tmp_path / "x.yml")


def test_all_that_is_wrong_is_said_at_once(run, tmp_path):
    """Nobody mends one line to meet the next."""
    (tmp_path / "bad.yml").write_text(
        "services:\n - {name: a, model: nosuch}\n - {name: b, port: 1, model: ./m.gguf}\n"
    )
    result = run("plan", "--capture", PAIR, "--spec", "bad.yml")
    assert [".0.model" in result.stderr, ".1.model" in result.stderr] == [True, True]


def test_plan_of_a_recording_keeps_the_contract(run):
    """One object, which the published schema describes, with what the spec asked for."""
    lines = planned(run)
    jsonschema.Draft202012Validator(schema(Plan)).validate(lines)
    (chat,) = lines["services"]
    assert (lines["rig"], chat["model"], chat["quant"], chat["context_tokens"]) == (
        PAIR.name, "Qwen3.5-35B-A3B", "Q4_K_M", 32768,
    )  # fmt: skip
    assert all(flag["because"] for flag in chat["flags"])
    for gpu in lines["gpus"]:
        assert gpu["used_bytes"] == sum(use["bytes"] for use in gpu["uses"]) <= gpu["offered_bytes"]


def test_spec_may_stand_under_rig(run, tmp_path):
    """The data of an inventory, pasted as it is."""
    bare = planned(run)
    (tmp_path / "ok.yml").write_text("rig:\n" + "".join(f"  {line}\n" for line in WISH.splitlines()))
    assert planned(run) == bare


def test_page_and_reasons_are_shown(run):
    """Without --json a person reads it, with --why the flags too."""
    result = run("plan", "--capture", PAIR, "--spec", "ok.yml", "--why")
    assert result.exit_code == 0, result.output
    assert "Qwen3.5-35B-A3B Q4_K_M" in result.stdout and "--ctx-size 32768" in result.stdout


def test_what_if_another_gpu_were_there(run):
    """--with-gpu adds one, --ram replaces what was recorded, and both are said."""
    lines = planned(run, "--with-gpu", "rtx 4090", "--ram", "128G")
    assert [gpu["name"] for gpu in lines["gpus"]][2:] == ["NVIDIA GeForce RTX 4090"]
    assert lines["ram"]["bytes"] == 128 * GIB
    said = [note["choice"] for note in lines["notes"]]
    assert said[:2] == ["what if: one NVIDIA GeForce RTX 4090 more", "RAM 128 GiB"]


def test_results_that_cannot_be_read_are_named_and_left_out(run, tmp_path):
    """A folder of measurements with a broken one gives the plan all the same; a missing folder is a mistake."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "broken.json").write_text("{")
    result = run("plan", "--capture", PAIR, "--spec", "ok.yml", "--results", "results", "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["services"]
    assert "broken.json: no JSON" in result.stderr and len(result.stderr.splitlines()) == 1
    missing = run("plan", "--capture", PAIR, "--spec", "ok.yml", "--results", "nosuch")
    assert (missing.exit_code, missing.stdout) == (1, "") and "nosuch: no such folder" in missing.stderr


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("3090", "NVIDIA GeForce RTX 3090"),
        ("rtx 5060 ti 16gb", "NVIDIA GeForce RTX 5060 Ti 16GB"),
        ("A100-SXM4-80GB", "NVIDIA A100-SXM4-80GB"),
    ],
)
def test_gpus_are_found_as_people_write_them(name, found):
    """Without maker and series, in any case."""
    assert gpu_model(name).name == found


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("RTX 9090", "did you mean NVIDIA GeForce RTX"),
        ("A100", "may be NVIDIA A100"),
        ("", "is not in the catalogue"),
        ("banana", "is not in the catalogue"),
    ],
)
def test_unknown_gpu_names_what_is_near(run, name, says):
    """Nothing is guessed; near names are proposed, and no rig is asked before."""
    result = run("plan", "--capture", PAIR, "--spec", "ok.yml", "--with-gpu", name)
    assert result.exit_code == 1 and says in result.stderr and len(result.stderr.splitlines()) == 1


def test_recording_without_names_takes_the_recorders_word(tmp_path):
    """meta.json names the GPUs where no output does; --gpu-model goes before it; where outputs name them, neither."""
    matrix = CAPTURES / "4x-lmdeploy-pix-pairs"
    nameless = read_folder(matrix)
    (tmp_path / "meta.json").write_text(json.dumps({"gpus": ["NVIDIA GeForce RTX 3090"] * 4}))
    lines, notes = what_if(nameless, recording=tmp_path)
    assert {(gpu.name, gpu.vram_bytes is None) for gpu in lines.gpus} == {("NVIDIA GeForce RTX 3090", False)}
    assert "meta.json" in notes[0].because
    lines, _ = what_if(nameless, gpu="A100-SXM4-80GB", recording=tmp_path)
    assert {gpu.name for gpu in lines.gpus} == {"NVIDIA A100-SXM4-80GB"}
    named = read_folder(PAIR)
    assert what_if(named, gpu="A100-SXM4-80GB")[0] == named


@pytest.mark.parametrize("text", ["[]", "nope", '{"gpus": 5}', '{"gpus": ["RTX 3090"]}', '{"gpus": [1, 2, 3, 4]}'])
def test_odd_meta_is_no_trouble(tmp_path, text):
    """What the recorder's file holds is not trusted to be anything; one name for several GPUs is that of all."""
    nameless = read_folder(CAPTURES / "4x-lmdeploy-pix-pairs")
    (tmp_path / "meta.json").write_text(text)
    lines = what_if(nameless, recording=tmp_path)[0]
    assert ({gpu.name for gpu in lines.gpus} == {"NVIDIA GeForce RTX 3090"}) == ("RTX 3090" in text)


def test_rig_without_a_plan_is_one_line(run, tmp_path):
    """Exit code 1; with --json alone there is nothing on stdout."""
    (tmp_path / "ok.yml").write_text("services:\n - {name: a, model: qwen3-235b-a22b, context: 40960}\n")
    result = run("plan", "--capture", PAIR, "--spec", "ok.yml", "--json", "--ram", "16G")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{PAIR.name}: services.a: ") and len(result.stderr.splitlines()) == 1


def test_rigs_of_an_inventory_are_told_by_name(run, monkeypatch, tmp_path):
    """A rig without a plan has its error among them; one that did not answer is said on stderr."""
    files = folder_files(PAIR)
    found = Collected({"good": files, "small": folder_files(CAPTURES / "error-no-devices")}, {"dead": "no answer"})
    monkeypatch.setattr("rigwright.inventory.rigs.collect", lambda *_, **__: found)
    (tmp_path / "ok.yml").write_text(
        "services:\n - {name: a, model: 'qwen3.5-35b-a3b:Q4_K_M', gpu: 0, context: 8192}\n"
    )
    result = run("plan", "rigs.py", "--spec", "ok.yml", "--json")
    lines = json.loads(result.stdout)
    assert (result.exit_code, list(lines)) == (1, ["good", "small"])
    assert (
        list(lines["small"]) == ["error"]
        and "the driver fails, so that no GPU is known here" in lines["small"]["error"]
    )
    assert result.stderr.splitlines()[-1] == "dead: not read: no answer"


def test_wishes_of_an_inventory_are_its_own(run, monkeypatch):
    """Each rig is planned with its own data; mistakes of all rigs come together, before any is asked."""
    rows = [
        {"name": "one", "groups": [], "data": {"rig": {"services": [{"name": "a", "model": "qwen3-8b"}]}}},
        {"name": "two", "groups": [], "data": {"rig": {"services": [{"name": "b", "model": "qwen3-8b", "contxt": 1}]}}},
        {"name": "three", "groups": [], "data": {}},
    ]
    monkeypatch.setattr("rigwright.inventory.rigs.read_rows", lambda *_, **__: rows)
    result = run("plan", "rigs.py")
    assert result.exit_code == 1
    assert "two: rig.services.0.contxt" in result.stderr and "three: rig: missing" in result.stderr
    del rows[1:]
    monkeypatch.setattr("rigwright.inventory.rigs.collect", lambda *_, **__: Collected({"one": folder_files(PAIR)}, {}))
    assert json.loads(run("plan", "rigs.py", "--json").stdout)["one"]["services"][0]["service"] == "a"


def test_keys_that_a_deploy_would_refuse_are_refused(run, monkeypatch, tmp_path):
    """With the line of the deploy, before any rig is asked."""
    service = {"name": "a", "model": "qwen3-8b", "host": "0.0.0.0", "api_key_file": str(tmp_path / "keys")}
    rows = [{"name": "one", "groups": [], "data": {"rig": {"services": [service]}}}]
    monkeypatch.setattr("rigwright.inventory.rigs.read_rows", lambda *_, **__: rows)
    result = run("plan", "rigs.py")
    wrong = f"Error: one: rig.services.0.api_key_file: {tmp_path}/keys cannot be read: No such file or directory; "
    assert result.exit_code == 1 and result.stderr == f"{wrong}write one API key per line into it\n"


def test_local_file_is_its_own_offer(tiny_dense):
    """A GGUF file tells its dimensions itself, and its name its quant."""
    (variant,) = offers_for(ModelSource(path=str(tiny_dense)))
    assert (variant.format, variant.file_bytes) == ("gguf", tiny_dense.stat().st_size)
    assert variant.header is not None and variant.model.layers == variant.header.layers


def test_file_out_of_reach_is_what_the_catalogue_says():
    """A name that the catalogue lists stands in for the header; any other leaves its memory open."""
    listed = gguf_offer("Qwen3.5-35B-A3B-Q4_K_M.gguf", None)
    assert (listed.name, listed.quant) == ("Qwen3.5-35B-A3B Q4_K_M", "Q4_K_M") and listed.file_bytes > 20e9
    assert "could not be read from here" in listed.notes
    unknown = gguf_offer("my-own-merge.Q5_K_M.gguf", None)
    assert (unknown.known, unknown.quant, unknown.file_bytes) == (None, "Q5_K_M", 0)


def test_repository_out_of_reach_is_refused(monkeypatch):
    """Without config.json and without a row in the catalogue nothing can be computed."""
    monkeypatch.setattr("rigwright.weights.repository.json_at", lambda *_, **__: None)
    with pytest.raises(UnreadableModel, match=r"config\.json cannot be read from here"):
        offers_for(ModelSource(repo="nobody/nothing"))


def test_auto_leaves_the_model_to_the_plan():
    """No file is looked at."""
    assert offers_for(ModelSource(name="auto")) == ()


@pytest.fixture
def few_models(monkeypatch):
    """A small, a middling and a huge model are enough of the catalogue."""
    few = tuple(find_model(key) for key in ("qwen3-8b", "qwen3.5-35b-a3b", "qwen3-235b-a22b"))
    monkeypatch.setattr("rigwright.plan.recommend.known_models", lambda: few)


def test_ranking_is_shown_with_its_spec_line(run, few_models):
    """A person reads the first rows, and the line that asks for the best."""
    page = run("recommend", "--capture", PAIR, "--top", "1", "--ram", "16G").stdout
    assert "the best first" in page and "and 1 more: --top 2" in page
    assert "what does not fit" in page and "Qwen3-235B-A22B" in page and "short by" in page
    assert '"services": [{"name": "chat", "model": "qwen3' in page


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_ranking_keeps_its_rows_whole(run, monkeypatch, few_models, width):
    """A model is one line of figures; what the terminal has no room for is in the line below."""
    monkeypatch.setenv("COLUMNS", str(width))
    page = run("recommend", "--capture", PAIR).stdout
    rows = [line.split() for line in page.splitlines() if re.match(r" +\d+  Qwen", line)]
    head = next(line.split() for line in page.splitlines() if line.split()[:1] == ["model"])
    assert len(rows) == 2 and {"tok/s", "context"} <= set(head)
    told = " ".join(page.split())
    assert re.search(r"\d\.\d GB", told) and re.search("top|strong|good|basic", told) and "score" in told


def test_models_that_lack_the_same_stand_together(run):
    """One line for each reason, and the longest context that there could be; it was the same 29 times."""
    result = run("recommend", "--gpu", "4x3090", "--ram", "128G", "--context", "2M")
    lacking = result.stdout.partition("what does not fit")[2]
    assert result.exit_code == 1 and len(lacking.splitlines()) < 40
    natives = sorted({known.native_context_tokens for known in known_models()}, reverse=True)
    assert [f"trained for {tokens:,} tokens" in lacking for tokens in natives] == [True] * len(natives)
    assert lacking.count("lower context") == len(natives)
    assert all(known.name in " ".join(lacking.split()) for known in known_models())
    assert "the longest context here is 1,048,576 tokens, with " in result.stderr


def test_plan_of_any_model_with_too_long_a_context_says_so(run):
    """No rig with more memory would have it."""
    refused = run("plan", "--gpu", "4x3090", "--context", "2M", "auto")
    said = (
        "no model of the catalogue has 2,097,152 tokens of context; most are trained for 262,144 tokens; lower context"
    )
    assert refused.exit_code == 1 and said in refused.stderr and "more memory" not in refused.stderr


@pytest.mark.parametrize(("cards", "ram"), [("3060", "16G"), ("none", "8G")])
def test_longest_context_that_is_named_can_be_had(run, cards, ram):
    """What the error says to write gets an answer."""
    refused = run("recommend", "--gpu", cards, "--ram", ram, "--context", "1M")
    named = re.search(r"with (.+): --context (\d+)$", refused.stderr.strip())
    assert named, refused.stderr
    answer = run("recommend", "--gpu", cards, "--ram", ram, "--context", named[2], "--json")
    assert named[1] in [one["model"] for one in json.loads(answer.stdout)["recommendations"]]


def test_models_that_are_too_large_stand_together_the_nearest_first(run, few_models):
    """What the rig offers is said once, beside each model what it lacks."""
    lacking = run("recommend", "--gpu", "none", "--ram", "4G").stdout.partition("what does not fit")[2]
    words = " ".join(lacking.split())
    assert words.startswith(
        "too large: this rig offers 3.0 GiB of RAM; short by Qwen3-8B 2.2 GiB, Qwen3.5-35B-A3B 7.3 GiB"
    )
    assert lacking.count("offers") == 1


@pytest.mark.parametrize(
    ("command", "where"), [("plan", "error-no-devices: services.chat: "), ("recommend", "error-no-devices: ")]
)
def test_driver_that_fails_is_told_of_a_name_that_was_typed(run, command, where):
    """No service `model` is anywhere but in the program."""
    refused = run(command, "--capture", CAPTURES / "error-no-devices")
    assert refused.stderr.startswith(f"{where}the driver fails")


def test_ranking_ends_with_a_command_that_plans_the_first(run, few_models):
    """Whoever has no inventory yet can look at it all the same."""
    asked = ("--gpu", "2x3090:nvlink", "--ram", "64G", "--context", "32768")
    page = run("recommend", *asked, "--top", "1").stdout
    command = shlex.split(page.strip().splitlines()[-1].partition(": ")[2])
    assert command[:2] == ["rigwright", "plan"] and set(asked) <= set(command)
    assert f"── {page.split('planned: ')[1].partition(' on ')[0]} ──" in run(*command[1:]).stdout


def test_recommendations_are_ranked_and_keep_the_contract(run, few_models):
    """The best first, each with the words that an inventory needs to get it."""
    result = run("recommend", "--capture", PAIR, "--for", "coding", "--json")
    assert result.exit_code == 0, result.output
    lines = json.loads(result.stdout)
    jsonschema.Draft202012Validator(schema(Ranking)).validate(lines)
    scores = [one["score"] for one in lines["recommendations"]]
    assert scores == sorted(scores, reverse=True)
    first = lines["recommendations"][0]
    assert first["spec"] == f"{first['key']}:{first['quant']}"
    assert all(other["why"] for other in lines["not_recommended"])


def test_recommend_refuses_what_it_does_not_know(run):
    """A purpose and a GPU that nobody has heard of."""
    assert run("recommend", "--capture", PAIR, "--for", "fame").exit_code == 2
    assert run("recommend", "--capture", PAIR, "--with-gpu", "RTX 9090").exit_code == 1
    assert run("recommend").exit_code == 2
