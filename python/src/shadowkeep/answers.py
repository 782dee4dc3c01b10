"""What a trainer hears of the steps that it has pushed."""

from __future__ import annotations

import warnings

from .layout import Layout
from .progress import Progress


class Answers:
    """What the service has said of a run's steps, when its trainer asks or, once, as a warning.

    Args:
        name: the run's name.
        layout: of the run.
        progress: has what was said.
        warns: whether what is said about values that are not finite is a warning.
    """

    def __init__(self, name: str, layout: Layout, progress: Progress, *, warns: bool) -> None:
        self.name = name
        self.layout = layout
        self._progress = progress
        self._warns = {"complaint": warns, "drop": True}

    @property
    def committed_step(self) -> int | None:
        """Newest step that readers can see, by the service's last answer; None before the first commit."""
        return self._progress.committed_step

    @property
    def durable_step(self) -> int | None:
        """Newest step that a crash cannot take back, by the service's last answer."""
        return self._progress.durable_step

    @property
    def rejected_steps(self) -> int:
        """Pushed steps that the service has not folded, because they had infinities or NaN (REJECT_STEP).

        The first one is a RuntimeWarning, too, in the call after its answer has come.
        """
        return self._progress.rejected_steps

    @property
    def dropped_steps(self) -> int:
        """Pushed steps that nobody has: another writer's part of them did not come in time, or was lost (`lose`).

        The first one is a RuntimeWarning, too, in the call after its answer has come.
        """
        return self._progress.dropped_steps

    @property
    def late_steps(self) -> int:
        """Those of `dropped_steps` that did not come in time: the writer that they missed may still be away."""
        return self._progress.late_steps

    def tell(self) -> None:
        """Warn of the first thing that the service has said of its kind; called in the trainer's own thread."""
        complaint, drop = self._progress.complaint, self._progress.drop
        if complaint is not None:
            complaint += self.layout.narrowing
        for kind, text in (("complaint", complaint), ("drop", drop)):
            if text is not None and self._warns[kind]:
                self._warns[kind] = False
                warnings.warn(f"run {self.name!r}, {text}", RuntimeWarning, stacklevel=4)
