"""Steps that a training went on without, because the service was away: counted, and never passed over in silence."""

from __future__ import annotations

import logging
import threading
import warnings
from array import array
from bisect import bisect_right
from collections.abc import Sequence

from ..errors import ShadowkeepError

# A newer life of this training has taken its place: whatever this one goes on with is of no use to its owner.
_TAKEN_OVER = frozenset({"STREAM_REPLACED", "GENERATION_FENCED"})

# The service has the run no more, or one that another trainer has begun under its name.
_GONE = frozenset({"RUN_NOT_FOUND", "GENERATION_UNKNOWN"})

# Ranges of steps that the summary names.
RANGES_LISTED_MAX = 8

logger = logging.getLogger("shadowkeep")


def is_tolerable(failure: Exception) -> bool:
    """Whether a training may go on without its average: the service or the way to it failed, not the training."""
    return isinstance(failure, ShadowkeepError) and failure.reason not in _TAKEN_OVER


def is_gone(failure: Exception | None) -> bool:
    """Whether the service has not what it had of the run."""
    return isinstance(failure, ShadowkeepError) and failure.reason in _GONE


class Losses:
    """Counts the steps of one run that are in no average. The sender's thread notes, the trainer's passes on.

    Args:
        run: the run's name.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._lock = threading.Lock()
        # Eight bytes a step: a service may stay away for the rest of a long training.
        self._lost = array("q")
        # What the service may lose again, with its last snapshot or as a whole.
        self._acknowledged = array("q")
        self._news: list[str] = []
        self._outage_is_known = self._end_is_known = False

    @property
    def count(self) -> int:
        """How many steps were lost."""
        return len(self._lost)

    def add(self, step: int, failure: Exception | None, *, final: bool) -> None:
        """Note a step that is not sent; the first of an outage, or of the end (`final`), is news with its failure."""
        with self._lock:
            gone = self._take_back(None) if final and is_gone(failure) else 0
            if step not in self._lost[-1:]:
                self._lost.append(step)
            is_known = self._end_is_known if final else self._outage_is_known
            self._outage_is_known = True
            self._end_is_known |= final
            if is_known or failure is None:
                return
            what = "nothing is sent any more" if final else "steps are lost until the service is back"
            text = f"run {self._run!r}, step {step} was not sent and {what}: {failure}"
            if final and is_gone(failure):
                text += (
                    ". The service has lost the run (it came back without its data, see --data-dir) or it was deleted: "
                    f"{gone} updates that it had acknowledged are gone, too. To go on, close() this EMA and register "
                    "another with the step that the training is at: its averages begin with the weights of then"
                )
            self._news.append(text)

    def acknowledge(self, step: int, *, skipped: bool) -> None:
        """Note a step that has arrived, which ends an outage."""
        with self._lock:
            if not skipped:
                self._acknowledged.append(step)
            if self._outage_is_known:
                self._outage_is_known = False
                logger.warning("run %r: the service is back, %d steps were lost", self._run, len(self._lost))

    def went_back(self, before: int, now: int | None) -> None:
        """Note that the service has lost what it had acknowledged after `now`."""
        with self._lock:
            gone = self._take_back(now)
            self._news.append(
                f"run {self._run!r}: the service came back at step {now}, it had committed step {before}: "
                f"{gone} updates of this training are gone from the averages, which go on without them"
            )

    def tell(self) -> None:
        """Warn of what is new, in the trainer's thread."""
        if not self._news:
            return
        with self._lock:
            news = len(self._news)
        # One by one: a filter may make an error of each.
        for _ in range(news):
            warnings.warn(self._news.pop(0), RuntimeWarning, stacklevel=4)

    def summary(self) -> str | None:
        """Return what is to be said at the end; None: nothing was lost."""
        with self._lock:
            if not self._lost:
                return None
            return f"run {self._run!r}: {len(self._lost)} steps are in no average: {listed(sorted(self._lost))}"

    def _take_back(self, now: int | None) -> int:
        """Count as lost what was acknowledged after a step (None: all of it), and return how much that was."""
        first = 0 if now is None else bisect_right(self._acknowledged, now)
        gone = self._acknowledged[first:]
        del self._acknowledged[first:]
        self._lost.extend(gone)
        return len(gone)


def listed(steps: Sequence[int]) -> str:
    """Return rising steps in words, the first ranges of them."""
    ranges: list[list[int]] = []
    for step in steps:
        if ranges and step == ranges[-1][1] + 1:
            ranges[-1][1] = step
        else:
            ranges.append([step, step])
    texts = [str(first) if first == last else f"{first} to {last}" for first, last in ranges[:RANGES_LISTED_MAX]]
    return ", ".join(texts) + (", …" if len(ranges) > RANGES_LISTED_MAX else "")
