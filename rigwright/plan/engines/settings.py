"""EngineSettings: the base of the models behind the keys `rig.llamacpp` and the like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from rigwright.plan.wish import ServiceWish
from rigwright.strict import Strict


class EngineSettings(Strict):
    """The settings of one engine. `engine` is its name in inventories, `about` says what the key is for.

    One with a `version`, a field or a property, names the release that it installs in place of the catalogue's.
    """

    engine: ClassVar[str] = ""
    about: ClassVar[str] = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Texts on this machine that the release is made from: they are read before anything is planned."""
        return ()

    def with_files(self, texts: Mapping[str, str]) -> Self:
        """The settings with the texts of `files`, by the names that these have there.

        Raises:
            ValueError: one is not what it should be.
        """
        return self

    def adapted(self, wish: ServiceWish) -> ServiceWish:
        """The wish as far as these settings narrow it: a build for the CPU serves from the CPU.

        Raises:
            Refused: the wish contradicts them.
        """
        return wish

    def narrowed(self, wishes: Sequence[ServiceWish]) -> Self:
        """The settings as far as the services narrow them: a build for the CPU where none of them has a GPU."""
        return self

    def stated(self) -> dict[str, Any]:
        """What the inventory itself says of the release, by key, beyond the defaults; a change of it ends a lock."""
        return {}

    def locked_source(self, commits: Mapping[str, str]) -> dict[str, Any]:
        """The source of the release as a lock keeps it; empty where there is nothing to keep.

        `commits` are those that the rig found tags to be, as `Installed` has them.
        """
        return {}

    def bundled(self, trees: Mapping[tuple[str, str], str], sums: Mapping[str, str]) -> Self:
        """The settings with what a bundle knows of sources: commits by git and tag, sums of archives by name."""
        return self

    @classmethod
    def check_source(cls, locked: Mapping[str, Any]) -> None:
        """Hold a locked source to what an inventory may say.

        Raises:
            ValueError: it is none that these settings could hold.
        """

    def with_source(self, locked: Mapping[str, Any]) -> Self:
        """The settings with a locked source in place of what this version of rigwright pins."""
        return self
