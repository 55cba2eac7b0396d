"""A chat template on a real rig: one restart for each change, and a rollback brings the one before back."""

from __future__ import annotations

import json

import pytest

from .test_drain import invocation

pytestmark = pytest.mark.lab

TEXT = "{%% for message in messages %%}[%s]{{ message.content }}{%% endfor %%}"


def prompt(workshop, rig) -> str:
    """What its template makes of a message."""
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}]})
    return json.loads(workshop.on(rig, f"curl -s -d '{body}' http://127.0.0.1:8080/apply-template"))["prompt"]


def test_changed_template_restarts_once_and_goes_back_with_its_service(workshop, serving):
    """Its name is its checksum, so that the process and the way back have each its own."""
    path = workshop.directory / "own.jinja"
    rig = workshop.spec(chat_template_file=str(path))
    seen = [invocation(workshop, serving)]
    for word in ("one", "two"):
        path.write_text(TEXT % word)
        done = workshop.deploy(rig, serving)
        assert done.changed == {"Bring the chat template of demo", "Serve demo"}, done.output
        seen.append(invocation(workshop, serving))
        assert workshop.deploy(rig, serving).changed == set() and invocation(workshop, serving) == seen[-1]
        assert prompt(workshop, serving) == f"[{word}]hi"
    assert len(set(seen)) == 3
    inventory = str(workshop.inventory(rig, serving))
    assert workshop.rigwright("verify", inventory).code == 0
    assert workshop.rigwright("rollback", inventory).code == 0
    assert prompt(workshop, serving) == "[one]hi"
    assert workshop.on(serving, "stat -c %a /etc/rigwright/templates/*.jinja") == "644\n644"
    # One that does not compile: the template before comes back with what ran.
    path.write_text("{% for message in messages %}{{ nothing.")
    broken = workshop.deploy(rig, serving)
    assert broken.code == 1 and "the previous release is back and serving" in broken.output, broken.output
    assert prompt(workshop, serving) == "[one]hi"
