"""The one tree of errors that a user sees: each is a single line, `<where>: <what is wrong>; <what to do>`."""

from __future__ import annotations

import click

from rigwright.shown import printable


class RigwrightError(click.ClickException):
    """What a user can mend; the command line prints it as one line and exits with 1."""

    def __init__(self, message: str) -> None:
        # Names from strangers' files and what rigs and servers said stand in messages.
        super().__init__(printable(message))


class WrongSpec(RigwrightError):
    """The inventory says something that cannot be; no rig was touched."""


class Refused(RigwrightError):
    """The wish is clear, but it is not carried out on this rig; what runs there is left alone."""


class DoesNotFit(Refused):
    """The memory of the rig does not hold what is wished; `offer` says what there is, `short_bytes` what is missing."""

    def __init__(self, message: str, *, offer: str = "", short_bytes: int = 0) -> None:
        super().__init__(message)
        self.offer, self.short_bytes = offer, short_bytes


class UnreadableModel(RigwrightError):
    """A model file is missing, cut short, or not what its name says."""


class UnreadableRecording(RigwrightError):
    """A recorded machine is not there, or holds nothing that can be read."""

    exit_code = 2
