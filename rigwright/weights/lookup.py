"""The files that services can be served from, each looked at once for all rigs of a run."""

from __future__ import annotations

from collections.abc import Callable

from rigwright.errors import RigwrightError
from rigwright.models.variants import Variant
from rigwright.plan.source import ModelSource
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.hub import HubFacts, hub_facts
from rigwright.weights.listing import commit_at
from rigwright.weights.local import LocalModel
from rigwright.weights.variants import offers_for
from rigwright.weights.whole import inspect_named, repository_model


class Lookup:
    """What was found of each model, or why it cannot be served; `say` is told of each before it is looked at."""

    def __init__(self, say: Callable[[str], None] = lambda _: None) -> None:
        self._say = say
        self._found: dict[tuple[str, str], tuple[Variant, ...] | RigwrightError] = {}
        self._facts: dict[str, HubFacts] = {}
        self._models: dict[tuple[ModelSource, WeightsSettings, str | None], LocalModel | RigwrightError] = {}
        self._whole: dict[tuple[str, str, WeightsSettings], LocalModel | RigwrightError | None] = {}

    def variants(self, source: ModelSource, hub: str) -> tuple[Variant, ...]:
        """The files that could serve a model; none for `auto`.

        Raises:
            RigwrightError: it is not there, or is no language model.
        """
        key = f"{source.identity}{source.sha256 or ''}", hub
        if key not in self._found:
            self._say(str(source))
            try:
                self._found[key] = offers_for(source, hub=hub)
            except RigwrightError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, RigwrightError):
            raise found
        return found

    def facts(self, url: str, hub: str) -> HubFacts:
        """What the hub says of a file now; nothing where it does not say."""
        if url not in self._facts:
            try:
                self._facts[url] = hub_facts(url, hub=hub)
            except RigwrightError:
                self._facts[url] = HubFacts()
        return self._facts[url]

    def repository(self, source: ModelSource, settings: WeightsSettings, *, kept: str | None) -> LocalModel | None:
        """The files of a whole repository at a commit; None where no hub can be asked for them.

        Args:
            source: The repository, and the commit, branch or tag of it.
            settings: The hub.
            kept: The commit that a rig has of this branch: another one does not come by itself.

        Raises:
            RigwrightError: it has no weights that may be brought.
        """
        repo, hub = source.repo or "", settings.hugging_face
        commit = kept or commit_at(repo, source.revision, hub)
        if commit is None:
            return None
        key = repo, commit, settings
        if key not in self._whole:
            self._say(f"hf:{repo}@{commit}")
            try:
                self._whole[key] = repository_model(repo, commit, settings)
            except RigwrightError as error:
                self._whole[key] = error
        found = self._whole[key]
        if isinstance(found, RigwrightError):
            raise found
        return found

    def model(self, source: ModelSource, settings: WeightsSettings, *, projector: str | None = None) -> LocalModel:
        """The files of a model that is named by its file.

        Raises:
            RigwrightError: a file is missing, cut short, or not the one that is named.
        """
        if source.path_on_rig:  # what is known of it may be read at any time
            return inspect_named(source, settings, projector=projector)
        key = source, settings, projector
        if key not in self._models:
            self._say(str(source))
            try:
                self._models[key] = inspect_named(source, settings, projector=projector)
            except RigwrightError as error:
                self._models[key] = error
        found = self._models[key]
        if isinstance(found, RigwrightError):
            raise found
        return found
