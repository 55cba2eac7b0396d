"""What a release of llama-server accepts, and one meaning in the words of several releases."""

from __future__ import annotations

from typing import Any

import pytest

from rigwright import catalogue
from rigwright.errors import WrongSpec
from rigwright.plan.engines.installed import Installed
from rigwright.plan.engines.llamacpp.capabilities import (
    USUAL_KV_PAIRS,
    Capabilities,
    kv_pairs_of,
    pinned_capabilities,
    read_capabilities,
)
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.engines.llamacpp.spelling import check_flags, spelled
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag

# Lines of `llama-server --help` from before the changes of 2025 and 2026: bare -fa, no --fit, no --load-mode.
OLDER = """\
----- common params -----

-t,    --threads N                      number of threads to use during generation (default: -1)
-c,    --ctx-size N                     size of the prompt context (default: 4096, 0 = loaded from model)
-fa,   --flash-attn                     enable Flash Attention (default: disabled)
--mlock                                 force system to keep model in RAM rather than swapping or compressing
--no-mmap                               do not memory-map model (slower load but may reduce pageouts if not
                                        using mlock)
-ngl,  --gpu-layers, --n-gpu-layers N   number of layers to store in VRAM
-sm,   --split-mode {none,layer,row}    how to split the model across multiple GPUs, one of:
                                        - none: use one GPU only
                                        - layer (default): split layers and KV across GPUs
-dev,  --device <dev1,dev2,..>          comma-separated list of devices to use for offloading (none = don't
                                        offload)
-ctk,  --cache-type-k TYPE              KV cache data type for K
                                        allowed values: f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1
--no-webui                              Disable the Web UI (default: enabled)
--chat-template-kwargs STRING           sets additional params for the json template parser
--draft-max, --draft, --draft-n N       number of tokens to draft for speculative decoding (default: 16)
"""


@pytest.fixture(scope="module")
def older() -> Capabilities:
    return read_capabilities(OLDER, "b5000")


@pytest.fixture(scope="module")
def pinned() -> Capabilities:
    return pinned_capabilities()


def flag(name: str, value: str | None = None) -> Flag:
    choice = name if value is None else f"{name} {value}"
    return Flag(name=name, value=value, reason=Reason(choice=choice, because="of a reason"))


def test_pinned_table_is_that_of_the_pinned_release() -> None:
    """Whoever raises the release renews the table of its flags too."""
    assert catalogue.load("llamacpp_flags")["ref"] == catalogue.load("engines")["llamacpp"]["ref"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("--metrics", None, True),
        ("--metrics", "1", False),
        ("--flash-attn", "on", True),
        ("--flash-attn", "1", True),
        ("--flash-attn", "maybe", False),
        ("--flash-attn", None, False),
        ("--n-gpu-layers", "all", True),
        ("--n-gpu-layers", "33", True),
        ("--n-gpu-layers", "most", False),
        ("--load-mode", "none", True),
        ("--load-mode", "slow", False),
        ("--split-mode", "layer", True),
        ("--split-mode", "rows", False),
        ("--cache-type-v", "q5_1", True),
        ("--cache-type-v", "q6_0", False),
        ("--spec-type", "draft-mtp,ngram-mod", True),
        ("--spec-type", "draft-magic", False),
        ("--temp", "0.6", True),
        ("--fim-qwen-1.5b-default", None, True),
        ("--no-mmap", None, False),
        ("--draft-max", "3", False),
    ],
)
def test_pinned_release_takes(pinned: Capabilities, name: str, value: str | None, expected: bool) -> None:
    """As llama-server b11434 itself does: each row was tried on it."""
    assert pinned.takes(name, value) is expected


def test_number_is_read_whole_or_not_at_all(pinned: Capabilities) -> None:
    """llama-server takes `--ctx-size 64k` for 64 tokens."""
    assert pinned.takes("--ctx-size", "65536") and not pinned.takes("--ctx-size", "64k")


def test_names_of_one_option_belong_together(pinned: Capabilities) -> None:
    """A flag is known under all its names."""
    assert {"--gpu-layers", "--n-gpu-layers"} <= set(pinned.names("--gpu-layers"))
    assert {"--ui", "--no-webui"} <= set(pinned.names("--webui"))
    assert pinned.names("--nothing-like-it") == ("--nothing-like-it",)


@pytest.mark.parametrize(
    ("said", "then"),
    [
        (("--load-mode", "none"), ("--no-mmap", None)),
        (("--flash-attn", "on"), ("--flash-attn", None)),
        (("--flash-attn", "auto"), ("--flash-attn", None)),
        (("--reasoning", "off"), ("--chat-template-kwargs", '{"enable_thinking":false}')),
        (("--spec-draft-n-max", "3"), ("--draft-max", "3")),
        (("--n-gpu-layers", "all"), ("--n-gpu-layers", "999")),
        (("--split-mode", "layer"), ("--split-mode", "layer")),
        (("--fit", "on"), ("--n-gpu-layers", "999")),
        (("--no-ui", None), ("--no-webui", None)),
    ],
)
def test_older_release_hears_its_own_words(older: Capabilities, said: Any, then: Any) -> None:
    """The same meaning, spelled as that release spells it; the reason names the newer words."""
    flags, unsaid = spelled([flag(*said)], older)
    assert [(one.name, one.value) for one in flags] == [then] and unsaid == []
    assert said == then or " ".join(filter(None, said)) in flags[0].reason.because


def test_pinned_release_hears_the_words_of_the_plan(pinned: Capabilities) -> None:
    """Nothing is respelled for the release that the plan is written for."""
    plan = [flag("--load-mode", "none"), flag("--flash-attn", "auto"), flag("--fit", "off"), flag("--reasoning", "on")]
    assert spelled(plan, pinned) == (plan, [])


def test_what_an_older_release_cannot_say_is_told(older: Capabilities) -> None:
    """A flag that has no older words is left out and named; what is the default anyway is left out silently."""
    plan = [flag("--kv-unified"), flag("--load-mode", "mmap"), flag("--flash-attn", "off"), flag("--fit", "off")]
    flags, unsaid = spelled(plan, older)
    assert flags == []
    assert [reason.choice for reason in unsaid] == ["no --kv-unified"]
    assert "b5000 does not know it" in unsaid[0].because


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"--no-mmap": True}, "s.flags: --no-mmap was removed; write --load-mode none"),
        ({"--draft-max": 3}, "s.flags: --draft-max was removed; write --spec-draft-n-max"),
        ({"--flash-attn": True}, "s.flags: --flash-attn needs a value; write on, off or auto"),
        ({"--metrics": 1}, "s.flags: --metrics takes no value, not '1'; write --metrics: true"),
        ({"--split-mode": "rows"}, "s.flags: --split-mode is 'rows'; write none, layer, row or tensor"),
        ({"--n-gpu-layers": "most"}, "s.flags: --n-gpu-layers is 'most'; write a number, auto or all"),
        ({"--temprature": 1}, "s.flags: --temprature is unknown to llama.cpp b11434; did you mean --temperature?"),
        ({"--xyzzy": 1}, "s.flags: --xyzzy is unknown to llama.cpp b11434; see llama-server --help"),
    ],
)
def test_flag_that_would_stop_the_server_is_refused(pinned: Capabilities, flags: Any, message: str) -> None:
    """In one line that says what to write instead."""
    with pytest.raises(WrongSpec) as error:
        check_flags("s", flags, pinned)
    assert error.value.message == message


def test_newer_flag_is_translated_for_an_older_release(older: Capabilities) -> None:
    """Whoever pins an older release is told its words."""
    with pytest.raises(WrongSpec, match=r"--load-mode is newer than llama.cpp b5000; write --no-mmap"):
        check_flags("s", {"--load-mode": "none"}, older)
    check_flags("s", {"--no-mmap": True, "--flash-attn": True, "--kv-unified": None}, older)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, USUAL_KV_PAIRS),
        ({"GGML_CUDA_FA_ALL_QUANTS": "ON"}, None),
        ({"GGML_CUDA_FA_QUANTS": "all"}, None),
        ({"GGML_CUDA_FA_QUANTS": "f16-f16;q8_0-q4_0"}, {("f16", "f16"), ("q8_0", "q4_0")}),
    ],
)
def test_build_options_say_which_cache_types_are_fast(options: dict[str, str], expected: object) -> None:
    """Attention kernels exist for the pairs that the build names."""
    assert kv_pairs_of(options) == expected


def test_build_of_another_release_brings_its_own_table() -> None:
    """What a build recorded of itself counts for its own source; the pinned release is known without asking a rig."""
    commit = "0123456789" * 4
    installed = Installed(flags={"f" * 40: "--future", commit: OLDER})

    def capabilities(**settings: object) -> Capabilities:
        return LlamacppPlanner(LlamacppSettings.model_validate(settings), installed).capabilities

    assert capabilities(ref=commit).options == read_capabilities(OLDER, "").options
    assert capabilities(ref="e" * 40) == capabilities() == pinned_capabilities()
    assert capabilities(archive="pinned") == pinned_capabilities()
    assert capabilities(cmake_options={"GGML_CUDA_FA_QUANTS": "all"}).kv_pairs is None
    tagged = Installed(installed.flags, commits={LlamacppSettings(ref="b9999").ref_key: commit})
    assert "--future" not in LlamacppPlanner(LlamacppSettings(ref="b9999"), tagged).capabilities.options
