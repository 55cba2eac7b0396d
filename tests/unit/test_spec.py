"""The inventory's words: what is accepted, and how each mistake is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.errors import WrongSpec
from rigwright.plan.wish import ServiceWish
from rigwright.spec.rig import parse_spec

SERVICE = {"name": "chat", "model": "m.gguf"}


def spec(**service):
    return {"services": [{**SERVICE, **service}]}


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (None, "r: rig: missing; give the host data a key `rig` with the services of the rig"),
        (spec(engine="lamacpp"), "r: rig.services.0.engine: 'lamacpp' is no engine; did you mean llamacpp?"),
        (
            spec(allow_from=["10.0.0.1/8"]),
            "r: rig.services.0.allow_from: 10.0.0.1/8 has host bits set; write networks like 192.168.1.0/24",
        ),
        (spec(contxt=1), "r: rig.services.0.contxt: unknown key; did you mean context?"),
        ({**spec(), "lamacpp": {}}, "r: rig.lamacpp: unknown key; did you mean llamacpp?"),
        ({**spec(), "llamacpp": {"rev": "x"}}, "r: rig.llamacpp.rev: unknown key; did you mean ref?"),
        (
            spec(port="many"),
            "r: rig.services.0.port: 'many' is no whole number; write one, like 4",
        ),
        (
            {"services": [SERVICE, {**SERVICE, "name": "b"}]},
            "r: rig: two services have the port 8080; give each its own",
        ),
        (
            {"services": [SERVICE, {**SERVICE, "port": 1}]},
            "r: rig: two services have the name chat; give each its own",
        ),
        (
            spec(host="0.0.0.0"),
            "r: rig.services.0: host 0.0.0.0 is open to others; name an api_key_file, or listen on 127.0.0.1",
        ),
        (
            spec(model={"path": "a", "url": "http://b/c.gguf"}),
            "r: rig.services.0.model: give exactly one of path, path_on_rig, url, repo and name, not path and url",
        ),
        (
            spec(model="https://me:secret@host/m.gguf"),
            "r: rig.services.0.model: the address holds a password, which shows in process lists; name one without",
        ),
        (
            {**spec(), "llamacpp": {"git": "https://me:secret@host/x"}},
            "r: rig.llamacpp.git: git holds a password, which shows in process lists; use an archive, or ssh://",
        ),
        (
            spec(model="hf:onlyname"),
            "r: rig.services.0.model: 'hf:onlyname' is no Hugging Face file; write hf:org/repo@revision:file.gguf, or "
            "hf:org/repo:QUANT",
        ),
        (
            spec(flags={"--port": 1}),
            "r: rig.services.0.flags: --port is set through the service's own keys, not through flags",
        ),
        (spec(flags={"-c": 1}), "r: rig.services.0.flags: '-c' is no long flag; write it in full, like --temp"),
    ],
)
def test_spec_names_each_mistake_in_one_line(data, line):
    """Where, what is wrong, what to do."""
    with pytest.raises(WrongSpec) as caught:
        parse_spec("r", data)
    assert caught.value.message == line


def test_spec_names_all_mistakes_at_once():
    """Two mistakes are two lines, so that one run shows both."""
    with pytest.raises(WrongSpec) as caught:
        parse_spec("r", {"services": [{"name": "a b", "model": "m.gguf", "slots": 0}]})
    assert [line.split(":")[1].strip() for line in caught.value.message.splitlines()] == [
        "rig.services.0.name",
        "rig.services.0.slots",
    ]


def test_rig_may_serve_nothing():
    """A rig that only gets a driver, or that is emptied, is a rig too."""
    assert parse_spec("r", {}).services == parse_spec("r", {"services": []}).services == ()


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("a/b.gguf", "path", "a/b.gguf"),
        ("https://h/x%20y.gguf?download=true", "file_name", "x y.gguf"),
        ("hf:org/repo@abc:sub/f.gguf", "revision", "abc"),
        ("hf:org/repo:f.gguf", "revision", "main"),
        ("qwen3.6-35b-a3b:UD-Q4_K_M", "quant", "UD-Q4_K_M"),
        ("hf:org/repo@abc:sub/f.gguf", "file_name", "f.gguf"),
    ],
)
def test_model_source_reads_short_forms(text, field, value):
    """A string is enough to say where a model comes from."""
    wish = ServiceWish.model_validate({"name": "a", "model": text})
    assert getattr(wish.model, field) == value


def test_every_key_is_documented():
    """No key of the inventory is without a sentence."""
    from rigwright.spec.rig import model_in, rig_model

    def walk(model):
        for name, field in model.model_fields.items():
            yield f"{model.__name__}.{name}", field.description
            if inner := model_in(field.annotation):
                yield from walk(inner)

    assert [name for name, description in walk(rig_model()) if not description] == []


@pytest.mark.patience
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_spec_never_raises_anything_else(data):
    """Whatever the inventory holds, the answer is a spec or WrongSpec."""
    try:
        parse_spec("r", data)
    except WrongSpec as error:
        assert error.message.startswith("r: rig")


@given(st.text(max_size=30))
def test_hostile_names_are_refused_or_harmless(text):
    """A service's name becomes a unit's name: nothing but small letters, digits and dashes gets through."""
    try:
        rig = parse_spec("r", spec(name=text))
    except WrongSpec:
        return
    assert set(rig.services[0].name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
