"""The text that travels to rigs: templates rendered without surprises, scripts with quoted parameters."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # 0.02 s: only where a template is rendered

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(Path(str(resources.files("rigwright"))) / "templates")),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # systemd units, not HTML; values are quoted by the filters of their caller
    )


def render(template: str, /, **values: object) -> str:
    """`templates/<template>` with `values`; a missing value is an error, not an empty string."""
    return _environment().get_template(template).render(**values)


def script(role: str, *names: str, before: str = "", **variables: str | int) -> str:
    """Scripts of `roles/<role>/` behind their parameters, quoted shell variables, and the shared functions of base.

    `before` is shell of another role that runs ahead of them and knows the parameters.
    """
    texts = [before, *(role_text(role, name) for name in names)]
    return "\n".join([role_text("base", "prelude.sh"), *assignments(variables), *filter(None, texts)])


def assignments(variables: Mapping[str, str | int]) -> list[str]:
    """Shell variables, a quoted assignment each."""
    return [f"{key}={shlex.quote(str(value))}" for key, value in variables.items()]


def render_text(text: str, /, **values: object) -> str:
    """A template given as text, which may extend those of `templates/`; a missing value is an error."""
    return _compiled(text).render(**values)


@cache
def _compiled(text: str) -> jinja2.Template:
    """Compiling takes 5 ms, and a plan renders one text for each instance."""
    return _environment().from_string(text)


@cache
def template(name: str) -> str:
    """`templates/<name>` as it is."""
    return (Path(str(resources.files("rigwright"))) / "templates" / name).read_text("utf-8")


@cache
def role_text(role: str, name: str) -> str:
    """One file of `roles/<role>/` as it is."""
    return (resources.files("rigwright") / "roles" / role / name).read_text("utf-8")
