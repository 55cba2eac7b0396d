"""The names of model files on rigs: whoever gives them, they stay within the directory that is meant for them."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rigwright.errors import WrongSpec
from rigwright.models.file_names import file_name_problem
from rigwright.plan.source import ModelSource
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import inspect_model, weights_path

DIRECTORY = "/var/lib/rigwright/weights"
SETTINGS = WeightsSettings(hugging_face="http://127.0.0.1:9")
HOSTILE = [
    *("", ".", "..", "-rf.gguf", ".bashrc", "a\0.gguf", "a\n.gguf", "a\x7f.gguf", "a\x85.gguf", "a\u2028.gguf"),
    *("m.gguf.part", "m.gguf.PART", "m.gguf.part.of", ".m.gguf.rigwright", "m.rigwright", "m.rigwright-new"),
    *("fugg.\u202em", "\udcff.gguf", "x" * 221, "模" * 74),
]
HARMLESS = ["m.gguf", "a b.gguf", "it's.gguf", "100%.gguf", "grün 模型 (2).gguf", "x" * 220]


@pytest.mark.parametrize("name", HOSTILE)
def test_name_that_cannot_be_is_refused_of_a_path_and_a_repository(name):
    """What a folder or a repository calls a file is no name on a rig because it is one there."""
    assert file_name_problem(name)
    # A path that ends in a slash names a directory.
    for keys in ({"path": f"/srv/{name}" if name else "/"}, {"repo": "org/m", "file": f"sub/{name}"}):
        with pytest.raises(ValidationError, match=r"cannot be a file name|no path inside|control character|unicode"):
            ModelSource(**keys)


@pytest.mark.parametrize("name", ["a/b.gguf", "/etc/passwd", "../m.gguf", "a/../../m.gguf", "m.gguf/"])
def test_path_is_no_name(name):
    """Nothing gives one today; who does tomorrow is refused."""
    assert file_name_problem(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_name_that_can_be_is_taken(name):
    """Blanks, quotes and other scripts are nothing special."""
    assert file_name_problem(name) is None
    assert ModelSource(path=f"/srv/{name}").file_name == ModelSource(repo="org/m", file=name).file_name == name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        # Unquoted after the name is cut, this would be /etc/profile.d/z.sh.
        ("https://h/x%2F..%2F..%2F..%2F..%2Fetc%2Fprofile.d%2Fz.sh", "z.sh"),
        ("https://h/a%2fm.gguf", "m.gguf"),
        ("https://h/x%20y.gguf?download=true", "x y.gguf"),
        ("https://h/%2541.gguf", "%41.gguf"),
        ("https://h/m.gguf?path=/a/b", "m.gguf"),
        ("https://h/m.gguf#/../x", "m.gguf"),
    ],
)
def test_name_of_an_address_is_its_last_part_once_unquoted(url, name):
    """Whatever an address hides behind percent signs, it is unquoted once, and then its last part is taken."""
    source = ModelSource(url=url)
    assert source.file_name == name
    assert weights_path(source, SETTINGS) == f"{DIRECTORY}/{name}"


@pytest.mark.parametrize(
    "url",
    [
        *("https://h/", "https://h", "https://h/a%2F", "https://h/%2E%2E", "https://h/%2e", "https://h/x/.."),
        *("https://h/%2Dx.gguf", "https://h/%2Ebashrc", "https://h/a%00.gguf", "https://h/a%0Ab.gguf"),
        *("https://h/m.gguf%2Epart", "https://h/a b.gguf", "https://h/a\nb.gguf"),
    ],
)
def test_address_without_a_name_that_can_be_is_refused(url):
    """Also what is hidden behind percent signs."""
    with pytest.raises(ValidationError, match=r"cannot be a file name|blank or a control|control character"):
        ModelSource(url=url)


@pytest.mark.parametrize(
    "keys",
    [
        {"repo": "../../evil", "file": "m.gguf"},
        {"repo": "org/m?x=", "file": "m.gguf"},
        {"repo": "org/m", "file": "../../../evil/m/resolve/main/m.gguf"},
        {"repo": "org/m", "revision": "../../../evil/m/resolve/main", "file": "m.gguf"},
        {"repo": "org/m", "file": "/m.gguf"},
    ],
)
def test_repository_holds_its_files(keys):
    """A name leads to no other repository."""
    with pytest.raises(ValidationError, match=r"no path inside a repository|no Hugging Face repository"):
        ModelSource(**keys)


@given(st.text(max_size=60))
def test_what_is_taken_lies_in_the_directory(text):
    """Any text at all: refused, or a single name that every file system takes."""
    for keys in ({"path": text}, {"url": f"https://h/{text}"}, {"repo": "org/m", "file": text}):
        try:
            source = ModelSource(**keys)
        except ValidationError:
            continue
        if not source.names_file:
            continue
        path = PurePosixPath(weights_path(source, SETTINGS))
        assert str(path.parent) == (f"{DIRECTORY}/org--m" if source.repo else DIRECTORY)
        assert path.name not in (".", "..")
        assert len(path.name.encode()) <= 220
        assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in path.name)


def test_what_got_around_the_wish_is_refused_where_the_path_is_made():
    """A copy of a wish is not checked anew, its path is."""
    source = ModelSource(repo="org/m", file="m.gguf").model_copy(update={"file": "sub/.."})
    with pytest.raises(WrongSpec, match=r"'\.\.' cannot be a file name on the rig"):
        weights_path(source, SETTINGS)


def test_parts_of_an_address_change_its_path_alone():
    """A query that holds the file's name stays as it is."""
    url = "http://127.0.0.1:9/a%20b/m-00001-of-00002.gguf?of=/a%20b/m-00001-of-00002.gguf"
    first, second = inspect_model(ModelSource(url=url), SETTINGS).files
    assert first.url == url
    assert second.url == url.replace("00001", "00002", 1)
    assert [file.source.file_name for file in (first, second)] == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
