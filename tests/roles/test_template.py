"""A chat template of the inventory: on the rig under a name of its content, so that what runs keeps its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rigwright.errors import WrongSpec
from rigwright.spec.templates import read_template, template_path

from .machine import Machine
from .test_deploy_order import rig, run  # noqa: F401  # a fixture

TEXT = "{% for message in messages %}{{ message.content }}{% endfor %}\n"
BRING = "Bring the chat template of chat"


@pytest.fixture
def template(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """A service with a template of this text."""

    def of(text: str) -> dict[str, Any]:
        path = tmp_path / "own.jinja"
        path.write_text(text)
        return {"name": "chat", "chat_template_file": str(path)}

    return of


def test_template_is_brought_before_its_service_and_in_no_command(run, template):  # noqa: F811  # the fixture
    """Once; another text under the same name is another file, and one more switch."""
    machine = Machine()
    first = run(rig(template(TEXT), machine=machine))
    assert first.changed()[-2:] == [BRING, "Serve chat"] and not any(TEXT in one for one in first.commands())
    machine.files[template_path(TEXT)] = TEXT
    assert run(rig(template(TEXT), machine=machine)).changed() == []
    assert f"--chat-template-file {template_path(TEXT)}" in _unit(machine)
    other = TEXT.replace("content", "role")
    done = run(rig(template(other), machine=machine))
    assert done.changed() == [BRING, "Serve chat"]
    flag = f"~ chat --chat-template-file: {template_path(TEXT)} -> {template_path(other)}"
    assert flag in done.lines()
    # Somebody changed it on the rig: it is brought again, and nothing restarts.
    machine.files[template_path(other)] = "{{ changed }}"
    assert run(rig(template(other), machine=machine)).changed() == [BRING]


def _unit(machine: Machine) -> str:
    import base64

    return base64.b64decode(machine.deployed["chat"]["unit.text"]).decode()


def test_name_on_the_rig_is_the_checksum():
    """The first digits of its sha256."""
    assert template_path(TEXT) == f"/etc/rigwright/templates/{hashlib.sha256(TEXT.encode()).hexdigest()[:16]}.jinja"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory; name a Jinja template on this machine"),
        (b"\xff\xfe{", "cannot be read: not text"),
        (b"{" * 60_001, "has more than 60000 bytes; name the template, no model"),
        (b"Hello.", "is no Jinja template: nothing in it takes a message"),
        (b"{{ a }}\0", "is no Jinja template"),
        (b"", "is no Jinja template"),
    ],
)
def test_file_that_is_no_template_is_refused_in_one_line(context, tmp_path, content, said):
    """Before any rig is touched."""
    path = tmp_path / "t.jinja"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WrongSpec) as error:
        context({"name": "chat", "chat_template_file": str(path)})
    assert f"services.chat.chat_template_file: {path} {said}" in error.value.message
    assert len(error.value.message.splitlines()) == 1


def test_service_without_one_has_the_models_own(context):
    """Nothing is read, and nothing is brought."""
    found = context({"name": "chat"})
    assert found.templates == {} and read_template(found.spec.services[0]) == ""
