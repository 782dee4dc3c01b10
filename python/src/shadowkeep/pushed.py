"""What a link is handed, who hears of its outages, and how steps are named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from . import wire
from .chunks import ArraySource, PlannedChunk
from .errors import ShadowkeepError


class PushedStep(NamedTuple):
    """A step with all that is needed to send it, from any byte on."""

    commit: wire.Commit
    plan: Sequence[PlannedChunk]
    array_of: ArraySource


class Outages(Protocol):
    """Hears of a service that stays away, and of one that came back without what it had acknowledged."""

    def began(self, failure: ShadowkeepError) -> None:
        """No attempt within the reconnect timeout went on; the step is tried again all the same."""

    def went_back(self, before: int, now: int | None) -> None:
        """The service had committed step `before` and has `now`, as after a crash: what lies between is lost."""


def steps_text(steps: Sequence[int]) -> str:
    """Return rising steps as words."""
    return f"step {steps[0]}" if len(steps) == 1 else f"{len(steps)} steps from {steps[0]} to {steps[-1]}"
