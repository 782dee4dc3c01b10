"""A trainer's handle of a run."""

from __future__ import annotations

import operator
import warnings
from types import TracebackType
from typing import Self

from . import wire
from .chunks import ArraySource, PlannedChunk, fill_chunk, space_source
from .errors import FailedPreconditionError
from .form import StepForm
from .layout import Layout
from .step import Tensors
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
        *,
        warns: bool = True,
    ) -> None:
        self.name = opened.run
        self.generation = opened.generation
        self.created = opened.created
        self.layout = layout
        limits = opened.limits or wire.Limits()
        chunk_bytes = min(limits.chunk_bytes or CHUNK_BYTES, limits.chunk_bytes_max or CHUNK_BYTES)
        self._whole = self._usual = StepForm(layout, layout.sent, layout.first_step_bytes, chunk_bytes)
        if len(layout.each_step) < len(layout.sent):
            self._usual = StepForm(layout, layout.each_step, layout.step_bytes, chunk_bytes)
        self._opened = opened
        self._stub = stub
        self._checksum = checksum
        self._timeout = timeout
        self._stream: UpdateStream | None = None
        self._closed = False
        self._warns = warns

    @property
    def committed_step(self) -> int | None:
        """Newest step that readers can see, by the service's last answer; None before the first commit."""
        return self._opened.committed_step if self._stream is None else self._stream.committed_step

    @property
    def durable_step(self) -> int | None:
        """Newest step that a crash cannot take back, by the service's last answer."""
        return self._opened.durable_step if self._stream is None else self._stream.durable_step

    @property
    def rejected_steps(self) -> int:
        """Pushed steps that the service has not folded, because they had infinities or NaN (REJECT_STEP).

        The first one is a RuntimeWarning, too, in the call after its answer has come.
        """
        return 0 if self._stream is None else self._stream.rejected_steps

    def push_initial(self, tensors: Tensors, step: int = 0) -> None:
        """Push the weights before the first update: shadows are assigned, nothing is folded. Waits for the answer.

        Raises:
            FailedPreconditionError: LAYOUT_MISMATCH, or INITIAL_TOO_LATE when a later step is committed.
        """
        self._push_tensors(step, tensors, initial=True)
        self.flush()

    def update(self, step: int, tensors: Tensors) -> None:
        """Push the weights after the trainer's step `step`, to be folded into every average.

        Returns when the bytes are copied into the stream's queue: the arrays may be changed at once. It blocks only
        while the service takes bytes more slowly than they come. `flush` waits for the acknowledgement.

        Args:
            step: rises from call to call, gaps are legal; one at or below `committed_step` is not folded again.
            tensors: one array per tensor of the layout, by name, in the layout's dtype (or the wire dtype). Those of
                policy COPY_ONCE may be left out once a step is committed; given all the same, they are not sent.

        Raises:
            FailedPreconditionError: LAYOUT_MISMATCH, which names the tensor; nothing was sent.
            ShadowkeepError: the stream has failed, in this call or before.
        """
        self._push_tensors(step, tensors, initial=False)

    def skip(self, step: int) -> None:
        """Say that the optimizer skipped this step, as a gradient scaler does: it is acknowledged and not folded.

        No bytes are sent. `step` is as in `update`.
        """
        step = _checked(step)
        self._open_stream().commit(wire.Commit(step, skipped=True))

    def push_space(self, step: int, space: wire.Bytes1D, *, initial: bool = False) -> None:
        """Push a step whose bytes already lie as `layout` says, gaps zero.

        `space` has `layout.first_step_bytes` bytes, or `layout.step_bytes` once a step is committed.
        """
        sizes = {form.size: form for form in (self._usual, self._whole)}
        if space.nbytes not in sizes:
            wanted = " or ".join(map(str, sizes))
            raise ValueError(f"space has {space.nbytes} bytes, a step of run {self.name!r} has {wanted}")
        form = sizes[space.nbytes]
        self._push(step, form.size, form.space_plan, space_source(space), initial)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every pushed step is acknowledged. Raises DeadlineExceededError after `timeout` seconds."""
        if self._stream is not None:
            self._stream.wait_acked(timeout)
            self._warn()

    def close(self, timeout: float | None = None) -> None:
        """Flush and end the stream. The run itself stays; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._stream is not None:
            try:
                self._stream.close(timeout)
                self._warn()
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

    def _push_tensors(self, step: int, tensors: Tensors, initial: bool) -> None:
        form = self._form_of(tensors)
        self._push(step, form.size, form.plan, form.checker.source(tensors), initial)

    def _form_of(self, tensors: Tensors) -> StepForm:
        """Without the tensors that are sent once, when the service is known to have them."""
        if self._usual is self._whole or self.committed_step is not None:
            return self._usual
        once = self.layout.sent[len(self.layout.each_step) :]
        if any(tensor.name not in tensors for tensor in once):
            # The answer to the step that has brought them may be on its way.
            self.flush()
        return self._whole if self.committed_step is None else self._usual

    def _push(self, step: int, size: int, plan: list[PlannedChunk], array_of: ArraySource, initial: bool) -> None:
        step = _checked(step)
        stream = self._open_stream()
        try:
            for chunk in plan:
                parts = fill_chunk(chunk, array_of)
                stream.send(wire.chunk_message(step, chunk.offset, parts, chunk.size, self._checksum))
            stream.commit(wire.Commit(step, size, initial))
        except BaseException:
            if not stream.failed:
                stream.cancel(f"step {step} of run {self.name!r} was broken off")
            raise
        self._warn()

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

    def _check_step_bytes(self, theirs: tuple[int, int]) -> None:
        ours = (self.layout.step_bytes, self.layout.first_step_bytes)
        if theirs != ours:
            raise FailedPreconditionError(
                f"a step of run {self.name!r} has {theirs[0]} bytes, the first one {theirs[1]}, here {ours[0]} and "
                f"{ours[1]}",
                reason="LAYOUT_MISMATCH",
            )

    def _warn(self) -> None:
        """Pass on the first thing that the service said about non-finite values, in the trainer's own thread."""
        complaint = None if self._stream is None else self._stream.complaint
        if complaint is not None and self._warns:
            self._warns = False
            warnings.warn(f"run {self.name!r}, {complaint}", RuntimeWarning, stacklevel=4)


def _checked(step: int) -> int:
    step = operator.index(step)
    if not 0 <= step <= STEP_MAX:
        raise ValueError(f"step must be from 0 to {STEP_MAX}, got {step}")
    return step
