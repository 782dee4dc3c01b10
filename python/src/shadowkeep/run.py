"""A trainer's handle of a run."""

from __future__ import annotations

from types import TracebackType
from typing import NoReturn, Self

from . import wire
from .answers import Answers
from .averages.checks import step_number
from .boxes import Box, Part
from .chunks import space_source
from .errors import FailedPreconditionError
from .form import PartForms, StepForm
from .layout import Layout
from .not_copied import NotCopied
from .outgoing_step import OutgoingStep
from .progress import Progress
from .reconnection import Outages
from .step import Arrays
from .step_sender import StepSender

CHUNK_BYTES = 1 << 20


class Run(Answers, NotCopied):
    """A run that this process pushes steps to; made by `Client.open_run`. Use it from one thread at a time.

    The stream to the service is opened by `open_stream` or the first push. When its connection breaks, the push or
    flush that finds it broken, or its own thread when none comes, opens a new one and goes on where it ended: only
    those bytes are sent that the service has not, of the step that is being pushed and of those before it, whose newest
    64 MiB are kept for that. What cannot be healed (another trainer took over, no connection for `reconnect_timeout`, a
    service that takes and says nothing for five minutes, a step that was pushed before and of which more is missing) is
    raised by every later call; open the run again to go on: steps that were not acknowledged have left no trace or are
    acknowledged when they are sent again, never folded twice.

    A process that ends without `close` or `abandon` still sends what was pushed, for at most 30 s; what is not
    acknowledged by then is named on standard error. A process that was forked cannot use the run, and opens its own.

    Attributes:
        name: the run's name.
        generation: fencing token of this life of the trainer.
        first_generation: the generation that created the run, which no other run has. None: the service did not keep
            it.
        created: whether this call created the run.
        layout: the tensors of the whole run.
        writers: processes of this trainer that push.
        writer: the number of this one, from 0 on.
        boxes: the parts of tensors that it has declared, in order; None: it sends the whole layout.
        retained_steps: steps that `resume_step` could have named when the run was opened, rising.
        is_reordered: whether the run has the tensors in another order than `layout`.
    """

    def __init__(
        self,
        opened: wire.OpenRunResponse,
        layout: Layout,
        sender: StepSender,
        progress: Progress,
        *,
        writer: int,
        boxes: tuple[Box, ...] | None,
        warns: bool,
    ) -> None:
        super().__init__(opened.run, layout, progress, warns=warns)
        self.generation = opened.generation
        self.first_generation = opened.first_generation
        self.answered_step = opened.answered_step
        self.created = opened.created
        self.writers = opened.writers
        self.writer = writer
        self.boxes = boxes
        self.retained_steps = tuple(opened.retained_steps)
        self.is_reordered = len(opened.tensor_order) > 0
        limits = opened.limits or wire.Limits()
        self._chunk_bytes = min(limits.chunk_bytes or CHUNK_BYTES, limits.chunk_bytes_max or CHUNK_BYTES)
        self._sender = sender
        self._forms: PartForms | None = None
        self._closed = False

    @property
    def part(self) -> Part:
        """What this writer sends, and where it lies in its steps; known once the stream is open (`open_stream`)."""
        if self._forms is None:
            raise RuntimeError(f"the part of a writer of run {self.name!r} is known once its stream is open")
        return self._forms.part

    def open_stream(self) -> None:
        """Open the stream, if no push has done that. Waits for the other writers to open theirs.

        Raises:
            FailedPreconditionError: BOX_GAP or BOX_OVERLAP: the boxes of all writers do not tile a tensor, which the
                message names with its first such element; WRITER_BUSY.
            DeadlineExceededError: WRITERS_MISSING, which names the writers that did not come.
        """
        self._opened_forms()

    def push_initial(self, arrays: Arrays, step: int = 0) -> None:
        """Push the weights before the first update: shadows are assigned, nothing is folded. Waits for the answer.

        Raises:
            FailedPreconditionError: LAYOUT_MISMATCH, or INITIAL_TOO_LATE when a later step is committed.
        """
        self._push_arrays(step, arrays, initial=True)
        self.flush()

    def update(self, step: int, arrays: Arrays) -> None:
        """Push the weights after the trainer's step `step`, to be folded into every average.

        Returns when the bytes are copied into the stream's queue: the arrays may be changed at once. It blocks only
        while the service takes bytes more slowly than they come, and while it waits for another writer that is more
        than a step behind. `flush` waits for the acknowledgement.

        Args:
            step: rises from call to call, gaps are legal; one at or below `committed_step` is not folded again. All
                writers push the same steps.
            arrays: in the layout's dtype (or the wire dtype). Without boxes: one per tensor of the layout, by name;
                with boxes: a sequence of one per declared box, in which those that are empty or that another writer
                sends may be None. Tensors of policy COPY_ONCE may be left out once a step is committed; given all the
                same, they are not sent.

        Raises:
            FailedPreconditionError: LAYOUT_MISMATCH, which names the tensor and the box; nothing was sent.
            ShadowkeepError: the stream has failed, in this call or before, and no new one could take its place.
        """
        self._push_arrays(step, arrays, initial=False)

    def skip(self, step: int, *, until_acked: bool = False) -> None:
        """Say that the optimizer skipped this step, as a gradient scaler does: it is acknowledged and not folded.

        No bytes are sent. `step` is as in `update`; `until_acked`: return when the step is acknowledged.
        """
        commit = wire.Commit(step_number("step", step), skipped=True)
        self._opened_forms()
        self._sender.push(OutgoingStep(commit, (), _no_arrays), until_acked=until_acked)

    def lose(self, through: int) -> None:
        """Say with the next push that the steps up to this one which were not pushed will not be. From any thread.

        Where other writers push them they are dropped for all, at once; else a step that one writer leaves out is an
        error, STEP_MISMATCH.
        """
        self._progress.lose(step_number("through", through))

    def push_space(self, step: int, space: wire.Bytes1D, *, initial: bool = False, until_acked: bool = False) -> None:
        """Push a step whose bytes already lie as `part` says, gaps zero.

        Args:
            step: as in `update`.
            space: `part.first_step_bytes` bytes, or `part.step_bytes` once a step is committed.
            initial: the weights before the first update.
            until_acked: return when the step is acknowledged, so that it can be sent again if the connection breaks
                after its last byte; `space` must not change until then.

        What the service has said of it is a warning at the next `tell`, for a thread of its own may push.
        """
        step = step_number("step", step)
        forms = self._opened_forms()
        form = forms.of_size(space.nbytes)
        if form is None:
            wanted = " or ".join(str(form.size) for form in dict.fromkeys((forms.usual, forms.whole)))
            raise ValueError(f"space has {space.nbytes} bytes, a step of run {self.name!r} has {wanted}")
        commit = wire.Commit(step, form.size, initial)
        self._sender.push(OutgoingStep(commit, form.space_plan, space_source(space)), until_acked=until_acked)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every pushed step is acknowledged. Raises DeadlineExceededError after `timeout` seconds."""
        self._sender.flush(timeout)
        self.tell()

    def outlast(self, outages: Outages) -> None:
        """From now on a push goes on trying while the service stays away, and says so to `outages`."""
        self._sender.outlast(outages)

    def close(self, timeout: float | None = None) -> None:
        """Flush and end the stream. The run itself stays; a second call, or one in a forked process, does nothing."""
        if self._closed or not self._sender.is_own:
            return
        self._closed = True
        try:
            self._sender.close(timeout)
            self.tell()
        except BaseException:
            self._sender.fail("the run was closed before its steps were acknowledged")
            raise

    def abandon(self) -> None:
        """End the stream at once: steps that are not acknowledged may be lost. From any thread."""
        self._closed = True
        self._sender.fail("the run was abandoned")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def __repr__(self) -> str:
        return f"<Run {self.name!r}>"

    def _push_arrays(self, step: int, arrays: Arrays, initial: bool) -> None:
        step = step_number("step", step)
        form = self._form_of(arrays)
        commit = wire.Commit(step, form.size, initial)
        self._sender.push(OutgoingStep(commit, form.plan, form.checker.source(arrays)))
        self.tell()

    def _form_of(self, arrays: Arrays) -> StepForm:
        """Without the tensors that are sent once, when the service is known to have them."""
        forms = self._opened_forms()
        if forms.usual is forms.whole or self.committed_step is not None:
            return forms.usual
        if forms.lacks_once(arrays):
            # The answer to the step that has brought them may be on its way.
            self.flush()
        return forms.whole if self.committed_step is None else forms.usual

    def _opened_forms(self) -> PartForms:
        if self._closed:
            raise RuntimeError(f"run {self.name!r} is closed")
        opened = self._sender.open()
        if self._forms is None:
            try:
                self._forms = PartForms.of_opened(self.name, opened, self.layout, self.boxes, self._chunk_bytes)
            except FailedPreconditionError as failure:
                self._sender.fail(failure.message)
                raise
        return self._forms


def _no_arrays(index: int) -> NoReturn:
    raise AssertionError(f"a step without bytes has no array {index}")
