"""The checks of `verify`: none comes without being seen failing."""

from __future__ import annotations

import importlib

from rigwright.cli.verify import checks
from rigwright.resolve import unit
from rigwright.roles.weights import verify

from ..lab.breakages import BREAKAGES
from ..lab.driver_breakages import PLANTED
from ..lab.ollama_breakages import PLANTED as OF_OLLAMA
from ..lab.vllm_breakages import ELSEWHERE
from ..lab.vllm_breakages import PLANTED as OF_VLLM


def test_each_check_is_broken_once_in_the_lab():
    """A new check belongs into tests/lab/breakages.py, of a driver, Ollama or vLLM into theirs, and none else."""
    modules = [importlib.import_module(name) for name in checks()]
    found = {name for module in modules for name in vars(module) if name.startswith("test_")}
    seen = {breakage.check for breakage in (*BREAKAGES, *PLANTED.values())}
    assert found == seen.union(OF_OLLAMA, OF_VLLM, ELSEWHERE)


def test_no_two_breakages_are_of_one_check_and_service():
    """One of them could hide the other."""
    assert len({(breakage.check, breakage.service) for breakage in BREAKAGES}) == len(BREAKAGES)


def test_mark_of_model_files_is_the_one_that_units_carry():
    """The check computes it by itself: of one file, of parts, of a model with its projector."""
    for sums in (["a" * 64], ["a" * 64, "b" * 64], ["a" * 64, "b" * 64, "c" * 64]):
        assert verify._mark(sums) == unit._mark(sums)
    assert verify._mark(["a" * 64, "b" * 64]) != verify._mark(["b" * 64, "a" * 64])
