"""What a shell offers at Tab is what the command takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from rigwright.cli import main
from rigwright.inventory.what_if import gpu_model

CAPTURES = Path(__file__).parents[1] / "captures"


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    shell = ShellComplete(main, {}, "rigwright", "_RIGWRIGHT_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("siz",), "size"),
        (("size", "qwen3.5-35"), "qwen3.5-35b-a3b"),
        (("size", "qwen3.5-35b-a3b:q4"), "qwen3.5-35b-a3b:Q4_K_M"),
        (("size", "x", "--gpu", "rtx-309"), "RTX-3090"),
        (("plan", "--with-gpu", "RTX-40"), "RTX-4090"),
        (("plan", "--gpu-model", "A100-SX"), "A100-SXM4-80GB"),
        (("recommend", "--with-gpu", ""), "RTX-3090"),
        (("plan", "--gpu", "4xRTX-309"), "4xRTX-3090"),
        (("plan", "--gpu", "4x3090", "qwen3.5-35b"), "qwen3.5-35b-a3b"),
        (("plan", "@local", "qwen3.5-35b"), "qwen3.5-35b-a3b"),
        (("recommend", "--for", "cod"), "coding"),
        (("plan", "--capture", f"{CAPTURES}/1x-rtx40"), f"{CAPTURES}/1x-rtx4080s-capture"),
        (("hardware", "--capture", f"{CAPTURES.parent}/capt"), f"{CAPTURES}/"),
    ],
)
def test_shell_offers_what_is_meant(words, found):
    """Commands, models, quants, GPUs, purposes, recorded machines and the folders on the way to them."""
    assert found in offered(*words)


def test_every_gpu_that_is_offered_is_taken():
    """No offer ends in an error."""
    names = offered("plan", "--with-gpu", "")
    assert len(names) > 90 and not any(" " in name for name in names)
    assert all(gpu_model(name) for name in names)


def test_nothing_is_offered_where_nothing_is():
    """A folder that is not there and a model that nobody knows are no errors."""
    assert offered("plan", "--capture", "/nowhere/at/all") == []
    assert offered("size", "nosuch:") == []
