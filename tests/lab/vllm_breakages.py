"""What is broken of a vLLM on a rig, by the check of `verify` that must see it."""

from __future__ import annotations

_RECORD = "/etc/rigwright/talk.json"
_PACKAGE = "/opt/rigwright/services/talk/current/lib/*/*/vllm"

PLANTED = {
    "test_version_is_the_planned_one": f'sed -i \'s/"engine_version":"[^"]*"/"engine_version":"0.32.0"/\' {_RECORD}',
    "test_packages_are_the_pinned_ones": f"echo >>$(echo {_PACKAGE}/reasoning.py)",
    "test_model_is_the_planned_one": f'sed -i \'s/"context_tokens":512/"context_tokens":1024/\' {_RECORD}',
    "test_cache_holds_what_was_planned": f'sed -i \'s/"because":"/&The KV cache holds 9,999 tokens: /\' {_RECORD}',
}
# Those of several rigs, and of what a template says, are broken where such a service is.
ELSEWHERE = ("test_rigs_of_a_cluster_are_joined", "test_thinks_as_wished")
