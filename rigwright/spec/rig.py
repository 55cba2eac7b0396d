"""RigSpec: what an inventory says of one rig, checked; host data under the key `rig`."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, create_model, field_validator, model_validator

from rigwright.errors import WrongSpec
from rigwright.plan.engines import settings_models
from rigwright.plan.engines.settings import EngineSettings
from rigwright.plan.source import ModelSource
from rigwright.plan.wish import ServiceWish
from rigwright.shown import on_a_line, redacted
from rigwright.spec.base import BaseSettings
from rigwright.spec.bundle import BundleSettings
from rigwright.spec.driver import CudaSettings, NvidiaSettings
from rigwright.spec.engine_files import with_files
from rigwright.spec.other_tools import is_left_out, told_elsewhere
from rigwright.spec.owner import OWNER, owner_of
from rigwright.spec.reserve import Reserve
from rigwright.spec.seed import SeedSettings
from rigwright.spec.weights import WeightsSettings, unseen
from rigwright.strict import Strict

Settings = TypeVar("Settings", bound=EngineSettings)
Owner = Annotated[str, Field(pattern=OWNER)]

# Filled in by systemd when the service starts: the key itself lies in no file that the service's user could list.
KEY_CREDENTIAL = "${CREDENTIALS_DIRECTORY}/api-key"


class RigSpec(Strict):
    """One rig: what it serves, and how its software gets there."""

    services: tuple[ServiceWish, ...] = Field(
        (), description="What the rig serves, one unit for each replica; empty for a rig that serves nothing."
    )
    remove_orphans: bool = Field(
        False,
        description="Take away services that are on the rig and no longer here: renamed, or taken out. Without it they "
        "stay, and plans count their memory and ports as taken.",
    )
    owner: Owner = Field(
        "",
        description="What this inventory is called on rigs, where services of others are left alone. By default "
        "the name of its file, `home` of home.py.",
    )
    takes_over: tuple[Owner, ...] = Field(
        (),
        description="Owners whose services become this inventory's: it was called so before, or takes their place.",
    )
    reserve: Reserve | None = Field(
        None,
        description="Memory of every GPU that stays free beside the driver's own part, like 2G, or of some by index: "
        "{0: 2G}. By default 768 MiB where a display is.",
    )
    bundle: BundleSettings | None = Field(
        None,
        description="Everything comes from this file, made where the internet is by `rigwright bundle`; the rig asks "
        "nobody.",
    )
    base: BaseSettings = Field(default_factory=lambda: BaseSettings(), description="Packages and accounts.")
    weights: WeightsSettings = Field(default_factory=lambda: WeightsSettings(), description="Model files.")
    nvidia: NvidiaSettings = Field(default_factory=lambda: NvidiaSettings(), description="NVIDIA's driver.")
    cuda: CudaSettings = Field(default_factory=lambda: CudaSettings(), description="The toolkit that builds want.")
    seed: SeedSettings | None = Field(
        None, description="How the bare machine is installed: `rigwright seed`. No deploy reads it."
    )

    @model_validator(mode="after")
    def _no_collisions(self) -> Self:
        for key in ("name", "port"):
            shared = [value for value, n in Counter(getattr(s, key) for s in self.services).items() if n > 1]
            if shared:
                raise ValueError(f"two services have the {key} {shared[0]}; give each its own")
        files: dict[str, object] = {}
        for model in self.sources:
            # A name of the catalogue, or a whole repository, has no file name yet.
            if model.names_file and model.file_name and files.setdefault(model.place, model) != model:
                raise ValueError(f"two different models are called {model.place}; rename one")
        return self

    @field_validator("services")
    @classmethod
    def _seen_by_services(cls, services: tuple[ServiceWish, ...]) -> tuple[ServiceWish, ...]:
        sources = [one for service in services for one in (service.model, service.draft_model) if one]
        for path in filter(None, (one.path_on_rig for one in sources)):
            if place := unseen(path):
                raise ValueError(
                    f"services do not see what lies in {place}; move {path} to a directory like /srv/models"
                )
            if path.startswith("/home/") and re.search("[\"']", path):
                raise ValueError(f"systemd shows no service {path}, in /home with a quote in its path; rename it")
        return services

    @property
    def engines(self) -> dict[str, EngineSettings]:
        """The settings of each engine that has any, by its name."""
        return {name: getattr(self, name) for name in settings_models()}

    def settings(self, kind: type[Settings]) -> Settings:
        """The settings of one engine: `spec.settings(LlamacppSettings)`."""
        found: Settings = getattr(self, kind.engine)
        return found

    @property
    def sources(self) -> tuple[ModelSource, ...]:
        """Where the models of all services come from, and those that draft for them."""
        return tuple(one for service in self.services for one in (service.model, service.draft_model) if one)

    @property
    def owners(self) -> tuple[str, ...]:
        """Whose services are this inventory's."""
        return tuple(dict.fromkeys(filter(None, (self.owner, *self.takes_over))))

    def wish(self, name: str) -> ServiceWish:
        """The service of a name."""
        return next(wish for wish in self.services if wish.name == name)


@cache
def rig_model() -> type[RigSpec]:
    """RigSpec with a key for each engine that has settings: `rig.llamacpp`."""
    fields: dict[str, Any] = {
        name: (model, Field(default_factory=model, description=model.about))
        for name, model in settings_models().items()
    }
    return create_model("RigSpec", __base__=RigSpec, __doc__=RigSpec.__doc__, __module__=__name__, **fields)


def parse_spec(rig: str, data: object, *, inventory: str | Path | None = None) -> RigSpec:
    """The `rig` data of the host called `rig` as a RigSpec; `inventory` is the file that it stands in.

    Raises:
        WrongSpec: a line for each thing that is wrong: `rig1: rig.contxt: unknown key; did you mean context?`
    """
    if data is None:
        raise WrongSpec(f"{rig}: rig: missing; give the host data a key `rig` with the services of the rig")
    try:
        spec = rig_model().model_validate(data)
    except ValidationError as error:
        raise explained(error, rig, "rig", rig_model()) from None
    changes: dict[str, Any] = {} if spec.owner else {"owner": owner_of(inventory)}
    changes |= {name: with_files(rig, name, own) for name, own in spec.engines.items() if own.files}
    if any(one.path_on_rig for one in spec.sources):
        changes["services"] = tuple(_on(rig, one) for one in spec.services)
    return spec.model_copy(update=changes) if changes else spec


def _on(rig: str, wish: ServiceWish) -> ServiceWish:
    """The service with its files as those of a rig."""
    drafter = wish.draft_model.on(rig) if wish.draft_model else None
    return wish.model_copy(update={"model": wish.model.on(rig), "draft_model": drafter})


def explained(error: ValidationError, rig: str, top: str, model: type[BaseModel]) -> WrongSpec:
    """What is wrong with the data of a rig under the key `top`, which `model` checked: a line for each mistake."""
    details = error.errors(include_url=False)
    return WrongSpec("\n".join(dict.fromkeys(f"{rig}: {_explain(one, top, model)}" for one in details)))


def _explain(details: Any, top: str, model: type[BaseModel]) -> str:
    where = on_a_line(".".join([top, *(str(part) for part in details["loc"] if part != "[key]")]))
    kind, given = details["type"], details.get("input")
    if kind == "extra_forbidden":
        return f"{where}: unknown key; {_suggest(details['loc'], model)}"
    if kind == "missing":
        return f"{where}: missing; {_purpose(details['loc'], model)}"
    message = details["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if kind == "value_error":
        return f"{where}: {message}"
    message = _FORMS.get(kind, message)
    if details["loc"] and details["loc"][0] == "services" and len(details["loc"]) < 3:
        return f"{where}: {_service_form(given)}"
    if kind in ("model_type", "model_attributes_type"):
        message += f" ({', '.join([*_model_at(details['loc'], model).model_fields][:4])}, …)"
    given = redacted(given) if isinstance(given, str) else given
    shown = repr(given) if len(repr(given)) < 80 else _kind(given)
    return f"{where}: {shown} will not do: {message}; {_purpose(details['loc'], model)}"


def _service_form(given: object) -> str:
    """How a service is written, where something else stands for the list or for one of it."""
    if isinstance(given, str):
        return f"{redacted(given)[:60]!r} will not do: it wants keys with values; write {{name: chat, model: …}}"
    name = next(iter(given), "chat") if isinstance(given, dict) and given else "chat"
    return f"it wants a list; write - {{name: {str(name)[:40]}, model: qwen3.5-9b}} for each service"


def _kind(given: object) -> str:
    """What a long value is, in words of the file."""
    if isinstance(given, dict):
        return "a value of keys"
    return "a list" if isinstance(given, list | tuple) else f"{str(given)[:60]!r}…"


# What pydantic calls by names of Python.
_FORMS = {
    "tuple_type": "it wants a list",
    "list_type": "it wants a list",
    "dict_type": "it wants keys with values",
    "model_type": "it wants keys with values",
    "model_attributes_type": "it wants keys with values",
    "string_type": "it wants a text; put it in quotes",
    "bool_parsing": "it wants true or false",
    "bool_type": "it wants true or false",
}


def _suggest(loc: tuple[str | int, ...], top: type[BaseModel]) -> str:
    known = list(_model_at(loc[:-1], top).model_fields)
    other = told_elsewhere(str(loc[-1]))
    if is_left_out(other) and "model" in known:
        return other
    if re.split(r"\W", other)[0] in known:
        return f"write {other}" if ":" in other else f"did you mean {other}?"
    near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known keys are {', '.join(known)}"


def _purpose(loc: tuple[str | int, ...], top: type[BaseModel]) -> str:
    field = _model_at(loc[:-1], top).model_fields.get(str(loc[-1])) if loc else None
    return f"{loc[-1]} is: {field.description}" if field and field.description else "see docs/spec.md"


def _model_at(loc: tuple[str | int, ...], model: type[BaseModel]) -> type[BaseModel]:
    """The model that holds the keys at `loc`, found by walking the annotations; the last known one if it ends early."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = model_in(field.annotation) if field else None
        model = inner or model
    return model


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation names, in a tuple or beside None too; None where it names none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := model_in(argument):
            return found
    return None
