"""The EMA class that training scripts know, with its state in the service."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, Self

from torch import nn

from ..averages import Average
from ..client import Client, connect
from ..dtypes import FloatName
from ..run import Run
from .background import BackgroundSender
from .dtypes import average_precision, read_dtype, tensor_specs
from .load import match
from .names import BuffersPolicy, named_tensors
from .snapshot import Snapshot
from .swap import WeightSwap

logger = logging.getLogger("shadowkeep")

OnBusy = Literal["wait", "skip"]


class EMA:
    """Exponential moving average of a module's weights, kept by the service.

    Numbers are those of the textbook class: after `register()` the shadow equals the weights, each `update()` makes it
    decay * shadow + (1 - decay) * weights. Use it from the training thread.

    Args:
        model: its floating-point parameters are averaged. DDP, torch.compile and the like may wrap it.
        target: "HOST:PORT" of the service, or a client.
        run: the run's name.
        decay: 0 to 1.
        wire_dtype: dtype in which averaged tensors travel. "BF16" halves the bytes, the time of the snapshot and
            its memory; the average itself stays in float32.
        on_busy: what `update()` does while the previous snapshot is still leaving: "wait", or "skip" the step.
        buffers: persistent buffers are sent and kept as they are ("copy"), averaged where they are floating-point
            ("average"), or left out ("ignore").
        average: the average's name in the run.
        incarnation: names this life of the trainer, so that an older one that still runs is fenced. None: a new one.

    Attributes:
        step: the last step that `update()` counted.
        skipped_steps: how many updates `on_busy="skip"` has dropped.
    """

    def __init__(
        self,
        model: nn.Module,
        target: str | Client,
        *,
        run: str,
        decay: float = 0.999,
        wire_dtype: FloatName | None = None,
        on_busy: OnBusy = "wait",
        buffers: BuffersPolicy = "copy",
        average: str = "ema",
        incarnation: str | None = None,
    ) -> None:
        _one_of("on_busy", on_busy, ("wait", "skip"))
        _one_of("buffers", buffers, ("copy", "average", "ignore"))
        self.model = model
        self.step = 0
        self.skipped_steps = 0
        self._owns_client = isinstance(target, str)
        self._client = connect(target) if isinstance(target, str) else target
        self._run_name = run
        self._decay = decay
        self._wire_dtype = wire_dtype
        self._on_busy = on_busy
        self._buffers = buffers
        self._average = average
        self._incarnation = incarnation or str(uuid.uuid4())
        self._run: Run | None = None
        self._snapshot: Snapshot | None = None
        self._sender: BackgroundSender | None = None
        self._pushed_step: int | None = None
        self._swap = WeightSwap()

    def register(self, step: int = 0) -> None:
        """Open the run and push the weights as they are now; the shadow starts from them.

        When the run has committed steps already, the trainer resumes: nothing is pushed and the step counter goes on
        from the committed one. Steps that are pushed again are acknowledged and not folded twice.

        Raises:
            FailedPreconditionError: LAYOUT_MISMATCH or AVERAGES_MISMATCH, when the run exists with others.
        """
        if self._sender is not None:
            raise RuntimeError("register() was called before")
        tensors = named_tensors(self.model, self._buffers)
        average = Average.ema(self._average, decay=self._decay, start="INITIAL", precision=average_precision(tensors))
        specs = tensor_specs(tensors)
        run = self._client.open_run(
            self._run_name, specs, [average], wire_dtype=self._wire_dtype, incarnation=self._incarnation
        )
        snapshot = Snapshot(tensors, run.layout)
        if run.committed_step is None:
            snapshot.take()
            snapshot.wait()
            run.push_space(step, snapshot.space, initial=True)
            run.flush()
        self.step = step if run.committed_step is None else run.committed_step
        self._run, self._snapshot, self._sender = run, snapshot, BackgroundSender(run, snapshot)

    def update(self, step: int | None = None) -> bool:
        """Push the weights as they are now; returns as soon as they are copied (on a GPU: the copy is launched).

        Args:
            step: the trainer's step, larger than the last one; None: one more than it.

        Returns:
            False when `on_busy="skip"` has dropped the step, True otherwise.

        Raises:
            ShadowkeepError: an earlier step has failed.
        """
        if self._swap.applied:
            raise RuntimeError("update() while the shadow is applied would push it as weights: call restore() first")
        sender, snapshot = self._registered()
        following = self.step + 1 if step is None else step
        if self._pushed_step is not None and following <= self._pushed_step:
            raise ValueError(f"step must be larger than the last one, {self._pushed_step}, got {following}")
        self.step = following
        if self._on_busy == "skip" and sender.busy:
            self.skipped_steps += 1
            logger.warning("step %d of run %r was skipped: the one before is still leaving", following, self._run_name)
            return False
        sender.wait_idle()
        snapshot.take()
        sender.start(following)
        self._pushed_step = following
        return True

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every pushed step is acknowledged. Raises DeadlineExceededError after `timeout` seconds."""
        self._registered()[0].flush(timeout)

    def apply_shadow(self, min_step: int | None = None, *, timeout: float = 60.0) -> None:
        """Load the averaged weights into the model; the raw ones are kept until `restore()`.

        The model is left as it was when anything fails. A second call refreshes the shadow and keeps the first
        call's raw weights; editing the weights in between changes neither of them.

        Args:
            min_step: the average must have seen this step. None: the last one that was pushed.
            timeout: seconds to wait for that.
        """
        self.flush(timeout)
        wanted = self._pushed_step if min_step is None else min_step
        shadow = self._client.get_shadow(
            self._run_name,
            self._average,
            min_step=wanted,
            timeout=timeout,
            dtype=read_dtype(named_tensors(self.model, self._buffers)),
        )
        self._swap.apply(match(shadow, self.model, self._buffers, strict=True))

    def restore(self) -> None:
        """Put the raw weights back. Raises RuntimeError when no shadow is applied."""
        self._swap.restore()

    @contextmanager
    def average_parameters(self, min_step: int | None = None) -> Iterator[None]:
        """Apply the shadow for a `with` block; expands to `apply_shadow(min_step)`, try, finally `restore()`."""
        was_applied = self._swap.applied
        self.apply_shadow(min_step)
        try:
            yield
        finally:
            if not was_applied and self._swap.applied:
                self.restore()

    def close(self) -> None:
        """Wait until every pushed step is acknowledged and end the stream. Raises what an earlier step failed with."""
        if self._sender is not None and self._run is not None:
            try:
                self._sender.wait_idle()
                self._run.close()
            finally:
                self._release()

    def abandon(self) -> None:
        """End the stream at once: steps that are not acknowledged may be lost."""
        if self._run is not None:
            self._run.abandon()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def _release(self) -> None:
        if self._run is not None:
            self._run.abandon()
        if self._sender is not None:
            self._sender.stop()
        if self._snapshot is not None:
            self._snapshot.close()
        self._run = self._sender = self._snapshot = None
        if self._owns_client:
            self._client.close()

    def _registered(self) -> tuple[BackgroundSender, Snapshot]:
        if self._sender is None or self._snapshot is None:
            raise RuntimeError("call register() first")
        return self._sender, self._snapshot


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
