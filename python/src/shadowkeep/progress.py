"""What the service has said about a writer's steps; it outlives the streams on which that was said."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from . import wire
from .tail import Tail
from .wire import StepState

# Of a step that was rejected: why, and what else there is.
_INSTEAD = ' (non_finite="REJECT_STEP"; "SKIP_TENSOR" would keep its other tensors, "ACCEPT" all)'


class Progress:
    """How far a writer is. Its streams wait for changes of it, too.

    Hold it with `with lock:`. A Condition's own `with` runs Python code, between whose lines an exception of a signal
    handler (Ctrl-C) leaves the lock held.

    Attributes:
        lock: held while anything here is read or written.
        changed: notified of changes; of that lock.
        committed_step: newest step that readers can see; None before the first commit.
        durable_step: newest step that a crash cannot take back.
        pending: commits that were queued and are not acknowledged, in their order.
        tail: the newest messages of steps that are not acknowledged.
        lost_through: steps up to this one which the writer has not pushed will not be; None: it has lost none.
        answers: acknowledgements that have come.
        rejected_steps: steps that the service refused to fold for their non-finite values.
        dropped_steps: steps that missed a writer, and were dropped.
        late_steps: those of them that no writer has said to have lost.
        complaint: the first thing that was said about non-finite values.
        drop: the first thing that was said about a dropped step.
    """

    def __init__(self, committed_step: int | None, durable_step: int | None) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.committed_step = committed_step
        self.durable_step = durable_step
        self.pending: deque[wire.Commit] = deque()
        self.tail = Tail()
        self.lost_through: int | None = None
        self.answers = 0
        self.rejected_steps = 0
        self.dropped_steps = self.late_steps = 0
        self.complaint: str | None = None
        self.drop: str | None = None

    def go_on(self, opened: wire.UpdateOpened, pending: Iterable[wire.Commit], sent_anew: int | None) -> None:
        """Note where a new stream stands: which acks will come, and which step its caller sends anew, if any."""
        self.committed_step, self.durable_step = opened.committed_step, opened.durable_step
        self.pending = deque(pending)
        if sent_anew is not None:
            self.tail.forget(sent_anew)

    def lose(self, through: int) -> None:
        """Note that steps up to this one which were not pushed will not be; the service is told with the next step."""
        with self.lock:
            self.lost_through = max(through, self.lost_through or 0)

    @property
    def has_lost_steps(self) -> bool:
        """Whether there are steps after the committed one that this writer has lost."""
        lost, committed = self.lost_through, self.committed_step
        return lost is not None and (committed is None or committed < lost)

    def on_ack(self, ack: wire.Ack) -> None:
        """Note an acknowledgement. Acks come in the order of the commits: those before it have been answered, too."""
        while any(commit.step == ack.step for commit in self.pending):
            if self.pending.popleft().step == ack.step:
                break
        self.tail.settle(ack.step)
        self.answers += 1
        self.committed_step, self.durable_step = ack.committed_step, ack.durable_step
        if ack.state == StepState.DROPPED:
            self.dropped_steps += 1
            self.late_steps += ack.lost_by is None
            self.drop = self.drop or f"step {ack.step} was dropped: {ack.detail or 'a part of it did not come in time'}"
        elif ack.state == StepState.REJECTED:
            self.rejected_steps += 1
        if ack.detail and ack.state != StepState.DROPPED and self.complaint is None:
            rejected = f" was rejected and is in no average{_INSTEAD}" if ack.state == StepState.REJECTED else ""
            self.complaint = f"step {ack.step}{rejected}: {ack.detail}"
