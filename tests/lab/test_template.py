"""A chat template on a real rig: one restart for each change, and a rollback brings the one before back."""

from __future__ import annotations

import json

import pytest

from .conftest import wait_healthy
from .test_drain import invocation

pytestmark = pytest.mark.lab

TEXT = "{%% for message in messages %%}[%s]{{ message.content }}{%% endfor %%}"


def prompt(workshop, rig, **more) -> str:
    """What its template makes of a message."""
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], **more})
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


# As Qwen3.5 has it, whose template thinks unless it is told not to.
SWITCHED = """
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% else %}<think>
{% endif %}"""


def test_thinking_is_switched_as_the_inventory_says(workshop, serving):
    """The prompt of a request that says nothing; one that does has its way; verify sees a server told otherwise."""
    path = workshop.directory / "switched.jinja"
    path.write_text(SWITCHED)
    ends = {"on": "<think>\n", "off": "<think>\n\n</think>\n\n"}
    for thinking in (*ends, "per-request"):
        rig = workshop.spec(chat_template_file=str(path), thinking=thinking)
        done = workshop.deploy(rig, serving)
        assert done.code == 0 and "Serve demo" in done.changed, done.output
        assert workshop.deploy(rig, serving).changed == set()
        if thinking in ends:
            assert prompt(workshop, serving).endswith(f"assistant\n{ends[thinking]}")
        for word, end in ends.items():
            asked = prompt(workshop, serving, chat_template_kwargs={"enable_thinking": word == "on"})
            assert asked.endswith(f"assistant\n{end}")
        checked = workshop.rigwright("verify", str(workshop.inventory(rig, serving)))
        assert checked.code == 0, checked.output
    rig = workshop.spec(chat_template_file=str(path), thinking="off")
    assert workshop.deploy(rig, serving).code == 0
    unit = "/etc/systemd/system/rigwright-demo.service"
    workshop.on(
        serving, f"cp {unit} /root/; sed -i 's/--reasoning off/--reasoning on/' {unit}; systemctl daemon-reload"
    )
    workshop.on(serving, "grep -q -e '--reasoning on' /etc/systemd/system/rigwright-demo.service")
    workshop.on(serving, "systemctl restart rigwright-demo")
    wait_healthy(workshop, serving)
    told = workshop.rigwright("verify", str(workshop.inventory(rig, serving)))
    assert told.code == 1 and "test_thinks_as_wished" in told.output, told.output
    workshop.on(
        serving, f"mv /root/rigwright-demo.service {unit}; systemctl daemon-reload; systemctl restart rigwright-demo"
    )
