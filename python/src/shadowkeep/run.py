"""A trainer's handle of a run."""

from __future__ import annotations

import operator
from types import TracebackType
from typing import Self

from . import wire
from .chunks import ArraySource, PlannedChunk, fill_chunk, plan_chunks, space_source
from .errors import FailedPreconditionError
from .layout import Layout
from .step import StepChecker, Tensors
from .stream import UpdateStream
from .stub import Stub

CHUNK_BYTES = 1 << 20
STEP_MAX = (1 << 53) - 1


class Run:
    """A run that this process pushes steps to; made by `Client.open_run`. Use it from one thread at a time.

    The stream to the service is opened by the first push. When it breaks, the failure is raised by every later call;
    open the run again to go on: steps that were not acknowledged have left no trace or are acknowledged when they
    are sent again, never folded twice.

    Attributes:
        name: the run's name.
        generation: fencing token of this life of the trainer.
        created: whether this call created the run.
        layout: the tensors and where they lie in a step's bytes.
    """

    def __init__(
        self,
        stub: Stub,
        opened: wire.OpenRunResponse,
        layout: Layout,
        checksum: wire.Checksum | None,
        timeout: float,
    ) -> None:
        self.name = opened.run
        self.generation = opened.generation
        self.created = opened.created
        self.layout = layout
        limits = opened.limits or wire.Limits()
        chunk_bytes = min(limits.chunk_bytes or CHUNK_BYTES, limits.chunk_bytes_max or CHUNK_BYTES)
        self._step_plan = plan_chunks(((t.size_bytes, t.gap_bytes) for t in layout.sent), chunk_bytes)
        self._space_plan = plan_chunks([(layout.step_bytes, 0)], chunk_bytes)
        self._checker = StepChecker(layout)
        self._opened = opened
        self._stub = stub
        self._checksum = checksum
        self._timeout = timeout
        self._stream: UpdateStream | None = None
        self._closed = False

    @property
    def committed_step(self) -> int | None:
        """Newest step that readers can see, by the service's last answer; None before the first commit."""
        return self._opened.committed_step if self._stream is None else self._stream.committed_step

    @property
    def durable_step(self) -> int | None:
        """Newest step that a crash cannot take back, by the service's last answer."""
        return self._opened.durable_step if self._stream is None else self._stream.durable_step

    def push_initial(self, tensors: Tensors, step: int = 0) -> None:
        """Push the weights before the first update: shadows are assigned, nothing is folded. Waits for the answer.

        Raises:
            FailedPreconditionError: LAYOUT_MISMATCH, or INITIAL_TOO_LATE when a later step is committed.
        """
        self._push(step, self._step_plan, self._checker.source(tensors), initial=True)
        self.flush()

    def update(self, step: int, tensors: Tensors) -> None:
        """Push the weights after the trainer's step `step`, to be folded into every average.

        Returns when the bytes are copied into the stream's queue: the arrays may be changed at once. It blocks only
        while the service takes bytes more slowly than they come. `flush` waits for the acknowledgement.

        Args:
            step: rises from call to call, gaps are legal; one at or below `committed_step` is not folded again.
            tensors: one array per tensor of the layout, by name, in the layout's dtype (or the wire dtype).

        Raises:
            FailedPreconditionError: LAYOUT_MISMATCH, which names the tensor; nothing was sent.
            ShadowkeepError: the stream has failed, in this call or before.
        """
        self._push(step, self._step_plan, self._checker.source(tensors), initial=False)

    def push_space(self, step: int, space: wire.Bytes1D, *, initial: bool = False) -> None:
        """Push a step whose bytes already lie as `layout` says: `space` has `layout.step_bytes` bytes, gaps zero."""
        if space.nbytes != self.layout.step_bytes:
            raise ValueError(
                f"space has {space.nbytes} bytes, a step of run {self.name!r} has {self.layout.step_bytes}"
            )
        self._push(step, self._space_plan, space_source(space), initial)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every pushed step is acknowledged. Raises DeadlineExceededError after `timeout` seconds."""
        if self._stream is not None:
            self._stream.wait_acked(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Flush and end the stream. The run itself stays; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._stream is not None:
            try:
                self._stream.close(timeout)
            except BaseException:
                self._stream.cancel("the run was closed before its steps were acknowledged")
                raise

    def abandon(self) -> None:
        """End the stream at once: steps that are not acknowledged may be lost."""
        self._closed = True
        if self._stream is not None:
            self._stream.cancel("the run was abandoned")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def _push(self, step: int, plan: list[PlannedChunk], array_of: ArraySource, initial: bool) -> None:
        step = operator.index(step)
        if not 0 <= step <= STEP_MAX:
            raise ValueError(f"step must be from 0 to {STEP_MAX}, got {step}")
        stream = self._open_stream()
        try:
            for chunk in plan:
                parts = fill_chunk(chunk, array_of)
                stream.send(wire.chunk_message(step, chunk.offset, parts, chunk.size, self._checksum))
            stream.commit(step, self.layout.step_bytes, initial)
        except BaseException:
            if not stream.failed:
                stream.cancel(f"step {step} of run {self.name!r} was broken off")
            raise

    def _open_stream(self) -> UpdateStream:
        if self._closed:
            raise RuntimeError(f"run {self.name!r} is closed")
        if self._stream is None:
            opening = wire.UpdateOpen(self.name, self.generation, wire_dtype=self.layout.wire_dtype)
            stream = UpdateStream(self._stub, opening)
            try:
                self._check_step_bytes(stream.wait_opened(self._timeout))
            except BaseException:
                stream.cancel("the stream was not opened")
                raise
            self._stream = stream
        return self._stream

    def _check_step_bytes(self, theirs: int) -> None:
        ours = self.layout.step_bytes
        if theirs != ours:
            raise FailedPreconditionError(
                f"a step of run {self.name!r} has {theirs} bytes, here {ours}", reason="LAYOUT_MISMATCH"
            )
