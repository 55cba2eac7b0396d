"""What is broken of an Ollama on a rig, by the check of `verify` that must see it."""

from __future__ import annotations

STORE = "/var/lib/private/rigwright-chat"
_RELEASE = "$(readlink -f /opt/rigwright/services/chat/current)/release.json"
_ZEROS = "0" * 64

PLANTED = {
    "test_version_is_the_wanted_one": f'sed -i \'s/"version": "[^"]*"/"version": "0.0.1"/\' {_RELEASE}',
    "test_model_is_what_was_made": f"sed -i '$s/ [0-9a-f]* / {_ZEROS} /' {STORE}/rigwright",
    # By the same note: what is loaded is not that.
    "test_model_is_loaded_as_planned": ":",
    "test_model_has_the_planned_parameters": "sed -i 's/PARAMETER num_ctx 2048/PARAMETER num_ctx 4096/' "
    "/etc/rigwright/chat.json",
}
