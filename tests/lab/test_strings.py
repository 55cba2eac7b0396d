"""Quotes, dollars, blanks and umlauts in every string of the inventory arrive unharmed or are refused."""

from __future__ import annotations

import shutil

import pytest

pytestmark = pytest.mark.lab

HOSTILE = [
    "a b",
    "it's",
    'say "hi"',
    "$HOME `id` $(id)",
    "100%n %%",
    "back\\slash",
    "grün ✓ 模型",
    "; rm -rf /tmp/x #",
    "--help",
    "*?[a]",
]


def test_hostile_strings_reach_the_process_as_they_are(workshop, serving):
    """Alias, directory, file name and a flag, all at once, through shell, systemd and JSON, and through the checks."""
    alias = " ".join(text for text in HOSTILE if not text.startswith("--"))
    name = "mödel 'x';touch${IFS}injected;' $HOME `id`; \"q\" #1 & (2).gguf"
    shutil.copy(workshop.directory / "tiny.gguf", workshop.directory / name)
    directory = '/srv/große Modelle/it\'s; "here" & `there`'
    rig = workshop.spec(model=str(workshop.directory / name), alias=alias, weights={"directory": directory})
    outcome = workshop.deploy(rig, serving)
    assert outcome.code == 0, outcome.output
    argv = workshop.on(serving, "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID rigwright-demo)/cmdline").split("\n")
    assert argv[argv.index("--alias") + 1] == alias
    assert argv[argv.index("--model") + 1] == f"{directory}/{name}"
    assert workshop.on(serving, "systemd-analyze verify rigwright-demo.service 2>&1") == ""
    assert workshop.deploy(rig, serving).changed == set()
    checked = workshop.rigwright("verify", str(workshop.inventory(rig, serving)))
    assert checked.code == 0, checked.output
    assert workshop.on(serving, "find / -xdev -name '*injected' -o -name 'injected*'") == ""


@pytest.mark.parametrize("text", HOSTILE)
def test_flag_values_are_one_word_whatever_they_hold(workshop, serving, text):
    """A flag's value is one argument: the grammar that llama-server then rejects arrives byte for byte."""
    from rigwright.resolve.unit import quote

    # Into a file, not the journal: that gets the line at some time after the unit has ended.
    unit = (
        f"[Service]\nType=oneshot\nStandardOutput=truncate:/run/said\nExecStart=/usr/bin/printf <%%s> {quote(text)}\n"
    )
    workshop.lab.exec(serving, ["sh", "-c", "cat >/run/systemd/system/say.service"], input=unit)
    said = workshop.on(serving, "systemctl daemon-reload; systemctl start say; cat /run/said")
    assert said == f"<{text}>"
    workshop.on(serving, "rm /run/systemd/system/say.service; systemctl daemon-reload")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a;b"},
        {"name": "../x"},
        {"host": "$(id)"},
        {"alias": "two\nlines"},
        {"flags": {"--x; id": 1}},
        {"flags": {"--temp": "1\n2"}},
        {"weights": {"directory": "relative"}},
        {"weights": {"directory": "/a%n"}},
        {"llamacpp": {"ref": "--upload-pack=id"}},
        {"llamacpp": {"git": "ext::sh -c id"}},
        {"llamacpp": {"cmake_options": {"A B": "x"}}},
    ],
)
def test_strings_that_cannot_be_are_refused(workshop, serving, change):
    """What has no meaning as a name, an address or an option never reaches a rig."""
    outcome = workshop.deploy(workshop.spec(**change), serving)
    assert outcome.code != 0
    assert "serving: rig." in outcome.output
    assert "Starting operation" not in outcome.output
