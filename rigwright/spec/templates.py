"""The chat template of a service, read from the controller: a Jinja text that takes the place of the model's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rigwright.errors import WrongSpec
from rigwright.given import at_home
from rigwright.plan.wish import ServiceWish
from rigwright.spec.rig import RigSpec

_DIRECTORY = "/etc/rigwright/templates"
# Those of catalogues have up to 30 kB.
_MOST_BYTES = 60_000


def template_path(text: str) -> str:
    """Where it lies on rigs: another content is another file, so that a way back finds its own."""
    return f"{_DIRECTORY}/{hashlib.sha256(text.encode()).hexdigest()[:16]}.jinja"


def templates_of(rig: str, spec: RigSpec) -> dict[str, str]:
    """The texts of the templates of a rig's services, by service.

    Raises:
        WrongSpec: a line for the first file that is wrong.
    """
    found = {wish.name: read_template(wish, rig) for wish in spec.services}
    return {name: text for name, text in found.items() if text}


def read_template(wish: ServiceWish, rig: str = "") -> str:
    """The text of a service's template, empty where it has the model's own.

    Raises:
        WrongSpec: it cannot be read, or is no template.
    """
    if not wish.chat_template_file:
        return ""
    where, path = f"{rig}: " if rig else "", at_home(wish.chat_template_file)
    named = f"{where}services.{wish.name}.chat_template_file: {path}"
    try:
        if Path(path).stat().st_size > _MOST_BYTES:
            raise WrongSpec(f"{named} has more than {_MOST_BYTES} bytes; name the template, no model")
        text = Path(path).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise WrongSpec(f"{named} cannot be read: {reason}; name a Jinja template on this machine") from None
    if "\0" in text or "{" not in text:
        raise WrongSpec(f"{named} is no Jinja template: nothing in it takes a message; name another file")
    return text
