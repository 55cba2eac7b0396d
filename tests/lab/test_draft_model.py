"""What drafts ahead, on a real rig: a model in a file of its own, brought and counted, and a model's own layers."""

from __future__ import annotations

import json

import pytest

from rigwright.lab.tiny_model import write_tiny_model

pytestmark = pytest.mark.lab


def drafted(workshop, rig):
    """How many tokens of an answer were drafted, and how many of these were taken."""
    body = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 32, "temperature": 0}
    ask = f"curl -sS -m 60 -d '{json.dumps(body)}' http://127.0.0.1:8080/v1/chat/completions"
    timings = json.loads(workshop.on(rig, ask))["timings"]
    return timings.get("draft_n", 0), timings.get("draft_n_accepted", 0)


def test_model_that_drafts_comes_with_its_service(workshop, serving):
    """Both files arrive by their sums, a second run changes nothing, and other contents of it mean another start."""
    model = write_tiny_model(workshop.directory / "target.gguf", "llama")
    drafter = write_tiny_model(workshop.directory / "drafter.gguf", "llama")
    wanted = workshop.spec(model=str(model), draft_model=str(drafter), draft=4)
    outcome = workshop.deploy(wanted, serving)
    assert outcome.code == 0, outcome.output
    # The same weights guess right each time.
    made, taken = drafted(workshop, serving)
    assert made and made == taken, (made, taken)
    assert workshop.deploy(wanted, serving).changed == set()
    told = workshop.rigwright("verify", str(workshop.inventory(wanted, serving)))
    assert told.code == 0, told.output
    before = workshop.on(serving, "systemctl show -P InvocationID rigwright-demo.service")
    write_tiny_model(workshop.directory / "drafter.gguf", "llama", seed=7)
    outcome = workshop.deploy(wanted, serving)
    assert outcome.code == 0 and "Serve demo" in outcome.changed, outcome.output
    assert workshop.on(serving, "systemctl show -P InvocationID rigwright-demo.service") != before
    made, taken = drafted(workshop, serving)
    assert made > taken, (made, taken)
    assert workshop.deploy(wanted, serving).changed == set()
    # What lies on the rig is another file than was brought: the checks say so.
    workshop.on(serving, "printf x | dd of=/var/lib/rigwright/weights/drafter.gguf conv=notrunc bs=1 seek=9000 2>&1")
    told = workshop.rigwright("verify", str(workshop.inventory(wanted, serving)))
    assert told.code != 0 and "test_further_files_are_whole" in told.output, told.output
    assert workshop.deploy(workshop.spec(), serving).code == 0


def test_model_that_drafts_for_itself(workshop, serving):
    """Its own layers guess what the inventory asks for; a second run changes nothing, and 0 takes that back."""
    model = write_tiny_model(workshop.directory / "nextn.gguf", nextn_layers=1)
    wanted = workshop.spec(model=str(model), draft=2)
    outcome = workshop.deploy(wanted, serving)
    assert outcome.code == 0, outcome.output
    made, _ = drafted(workshop, serving)
    assert made
    assert workshop.deploy(wanted, serving).changed == set()
    told = workshop.rigwright("verify", str(workshop.inventory(wanted, serving)))
    assert told.code == 0, told.output
    # On a CPU nothing is drafted unless that is asked for.
    plain = workshop.spec(model=str(model))
    assert workshop.deploy(plain, serving).code == 0
    assert drafted(workshop, serving) == (0, 0)
    assert workshop.deploy(workshop.spec(model=str(model), draft=0), serving).changed == set()
    assert workshop.deploy(workshop.spec(), serving).code == 0
