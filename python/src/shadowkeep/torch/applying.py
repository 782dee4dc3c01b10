"""The part of an `EMA` that puts averages into the model and takes them out again."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from .reading import AverageReader
from .swap import WeightSwap
from .units import ShardedUnits


class AppliesAverages(ABC):
    """Applies what a reader reads, and restores.

    Args:
        reader: of the run's averages.
        swap: of the model.
        units: the model's.
    """

    def __init__(self, reader: AverageReader, swap: WeightSwap, units: ShardedUnits) -> None:
        self._reader = reader
        self._swap = swap
        self._units = units

    @property
    def applied(self) -> bool:
        """Whether an average is in the model, in place of the raw weights."""
        return self._swap.applied

    def apply_shadow(
        self,
        average: str | None = None,
        *,
        step: int | None = None,
        min_step: int | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Load an average into the model; the raw weights are kept until `restore()`.

        The model is left as it was when anything fails. A second call refreshes the shadow, or loads another average,
        and keeps the first call's raw weights; editing the weights in between changes neither of them.

        A model has the average of one EMA at a time: another one, whose model has tensors of this one's, is refused
        here, in `register()` and in `update()`, until this one is restored. One EMA takes several averages.

        Where several processes push all of them call it, and get the same step: each reads what it holds. Processes
        that only evaluate, each with a part of the model, agree on a `step` first.

        Args:
            average: its name; None: the first one.
            step: exactly this step, while the service holds it.
            min_step: it must have seen this step. None: all that was pushed before, and folded.
            timeout: seconds to wait for that.

        Raises:
            RuntimeError: the model has other tensors than were registered, which the message names; or another EMA's
                average is in it.
        """
        newest, together = self._newest_together(timeout)
        if step is None and min_step is None:
            step, min_step = (newest, None) if together else (None, newest)
        self._units.reshard()
        self._check_model()
        self._swap.apply(self._reader.read(average, step, min_step, timeout), self._reader.title(average))

    def restore(self) -> None:
        """Put the raw weights back into the parameters and buffers that had them, and these into their places.

        That is so whatever was done to the model in between: other dtypes, devices, `load_state_dict(assign=True)`, new
        parameters. A RuntimeWarning says which weights have no place any more, and which tensors are new.

        Raises:
            RuntimeError: no shadow is applied.
        """
        self._units.reshard()
        self._swap.restore()

    @contextmanager
    def raw_parameters(self) -> Iterator[None]:
        """Put the raw weights back for a `with` block, as to save them, and then the average that is applied."""
        self._units.reshard()
        with self._swap.raw():
            try:
                yield
            finally:
                self._units.reshard()

    @contextmanager
    def average_parameters(
        self,
        average: str | None = None,
        *,
        step: int | None = None,
        min_step: int | None = None,
        timeout: float = 60.0,
    ) -> Iterator[None]:
        """Apply an average for a `with` block: `apply_shadow(...)`, try, finally `restore()`.

        In another such block of this EMA the weights are left to the outer one, with the average that was applied last.
        An interrupt (Ctrl-C) at any point, also of applying and restoring, ends with the raw weights in the model.
        """
        was_applied = self._swap.applied
        try:
            self.apply_shadow(average, step=step, min_step=min_step, timeout=timeout)
            yield
        finally:
            # At the end of the process nobody needs the weights any more, and torch may be gone. What is called here
            # is called inside of `try`: an interrupt may come with any call.
            try:
                if not was_applied and not sys.is_finalizing() and self._swap.applied:
                    self.restore()
            except BaseException:
                if not was_applied and self._swap.applied:
                    self.restore()
                raise

    @abstractmethod
    def _newest_together(self, timeout: float) -> tuple[int | None, bool]:
        """Return the newest step that is committed of all that was pushed, and whether other processes push, too."""

    @abstractmethod
    def _check_model(self) -> None:
        """Look whether the model has the tensors that are pushed. Raises RuntimeError, which names the others."""
