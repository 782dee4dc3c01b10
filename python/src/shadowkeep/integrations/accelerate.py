"""Accelerate: an `EMA` that asks the accelerator when to push, and whether, and whose place is in its checkpoints."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from accelerate.utils import broadcast_object_list
from torch import nn

from ..client import Client
from ..errors import NotFoundError
from ..torch import EMA, EMAKeywords
from .evaluated import Evaluated, apply_together, evaluated_at, evaluated_despite, evaluated_unplaced
from .places import Place, present_place, run_of_training
from .ranks import decided_by_first

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


class AcceleratedEMA(EMA):
    """`shadowkeep.torch.EMA` in a loop of Accelerate: the same calls, in every process.

        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        with AcceleratedEMA(accelerator, model, "127.0.0.1:50051", run="my-run", decay=0.999) as ema:
            ema.register()
            for batch in loader:
                with accelerator.accumulate(model):
                    ...                   # forward, accelerator.backward, optimizer.step()
                    ema.update()          # pushes when the gradients were synchronized

    Steps that the gradient scaler skipped are not folded. Each process pushes its part, under DDP and FSDP, and all
    apply the same step. DeepSpeed's ZeRO 3 is not supported.

    `accelerator.save_state()` saves the run and its step, too, and is refused while an average is applied. Each
    training has a run of its own: one that begins where `run` has averages of another one gets `my-run-2` and so on,
    with a warning; after `accelerator.load_state()` `register()` goes on in the checkpoint's run, at its step. With the
    option `resume`, or a step, the run is `run`, and what it has already is treated as `EMA` says.

    After a `load_state()` averages are those of the checkpoint's step. Where the service does not hold it any more (the
    option `retain` keeps older ones), or there is no average yet, the block of `average_parameters()` has the model's
    own weights and says so, and `apply_shadow()` raises. So it is while the service is away; with
    `on_failure="raise"` both raise then.

    Args:
        accelerator: the one that prepared the model.
        model: prepared or not.
        target: "HOST:PORT" of the service, or a client.
        run: the run's name.
        options: the keyword arguments of `shadowkeep.torch.EMA`.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        target: str | Client,
        *,
        run: str,
        **options: Unpack[EMAKeywords],
    ) -> None:
        super().__init__(model, target, run=run, **options)
        self._accelerator = accelerator
        self._name = run
        self._options = options
        self._keeps_name = "resume" in options
        self._file_name = f"shadowkeep-{run}.json"
        # Whether the model's weights are those of a checkpoint, and where they are; None: it does not say it.
        self._is_loaded = False
        self._place: Place | None = None
        self._hooks = [
            accelerator.register_save_state_pre_hook(self._save_place),
            accelerator.register_load_state_pre_hook(self._load_place),
        ]

    def register(self, step: int | None = None) -> None:
        """As `EMA.register`; without a step it is that of the checkpoint which `accelerator.load_state()` loaded."""
        restored = self._place if step is None and self._is_loaded else None
        if step is None and self._is_loaded and restored is None:
            warnings.warn(
                "shadowkeep: the checkpoint that was loaded does not say which run it belongs to: new averages begin "
                "with its weights, at step 0",
                RuntimeWarning,
                stacklevel=2,
            )
        keeps_name = self._keeps_name or step is not None
        if restored is not None:
            step = restored.step
        run = self._decide(lambda: run_of_training(self._client, self._name, restored, keeps_name=keeps_name))
        self._opening = replace(self._opening, run=run)
        self._reader.run = run
        super().register(step)
        self._is_loaded = False

    def update(self, step: int | None = None, *, skipped: bool = False) -> bool:
        """As `EMA.update` after an optimizer step; does nothing while gradients are accumulated."""
        if not self._accelerator.sync_gradients:
            return False
        self._is_loaded = False
        return super().update(step, skipped=skipped or self._accelerator.optimizer_step_was_skipped)

    def apply_shadow(
        self,
        average: str | None = None,
        *,
        step: int | None = None,
        min_step: int | None = None,
        timeout: float = 60.0,
    ) -> None:
        """As `EMA.apply_shadow`; without a step it is that of the checkpoint which was loaded since the last update.

        Raises:
            NotFoundError: VERSION_NOT_FOUND: the service does not hold it, or the checkpoint does not say it.
        """
        if step is not None or min_step is not None or not self._is_loaded:
            self._registered()
            if step is None and min_step is None and self.is_repeating:
                step = self.step
            super().apply_shadow(average, step=step, min_step=min_step, timeout=timeout)
            return
        evaluated = self._decide(self._evaluated)
        if evaluated.place is None:
            raise NotFoundError(evaluated.note, reason="VERSION_NOT_FOUND")
        own_run, self._reader.run = self._reader.run, evaluated.place.run
        try:
            super().apply_shadow(average, step=evaluated.place.step, timeout=timeout)
        finally:
            self._reader.run = own_run

    def newest_step(self, timeout: float | None = None) -> int | None:
        """As `EMA.newest_step`; before `register()` it is that of the run."""
        if self._writer is not None:
            return super().newest_step(timeout)
        return self._client.get_run(self._reader.run).committed_step

    @contextmanager
    def average_parameters(
        self,
        average: str | None = None,
        *,
        step: int | None = None,
        min_step: int | None = None,
        timeout: float = 60.0,
    ) -> Iterator[None]:
        """As `EMA.average_parameters`; the model keeps its own weights where there is no average of them."""
        if step is not None or min_step is not None or self.applied:
            with super().average_parameters(average, step=step, min_step=min_step, timeout=timeout):
                yield
            return
        own: Evaluated | None = None
        if self._is_loaded or self._writer is None or self.is_repeating:
            own = self._decide(lambda: evaluated_despite(self._options, self._evaluated))
        if own is None or own.place is not None:
            own = apply_together(self, self._options, lambda: self.apply_shadow(average, timeout=timeout)) or own
        if own is not None and self._accelerator.is_main_process:
            own.say()
        try:
            yield
        finally:
            if self.applied:
                self.restore()

    def _evaluated(self) -> Evaluated:
        if self.is_repeating and not self._is_loaded:
            return evaluated_at(self._client, Place(self.run, self.step, self.first_generation))
        if not self._is_loaded:
            return Evaluated(None, "register() was not called yet: the model's own weights are evaluated", True)
        return evaluated_unplaced() if self._place is None else evaluated_at(self._client, self._place)

    def _save_place(self, models: list[nn.Module], weights: list[dict[str, Any]], output_dir: str) -> None:
        if self.applied:
            raise RuntimeError(
                "save_state() while an average is applied would save it as the raw weights: call it after restore(), "
                "or in a block of raw_parameters()"
            )
        place = present_place(self) if self._writer is not None else self._place
        if self._accelerator.is_main_process and place is not None:
            Path(output_dir, self._file_name).write_text(json.dumps(place.to_state()))

    def _load_place(self, models: list[nn.Module], input_dir: str) -> None:
        if self.applied:
            raise RuntimeError("load_state() while an average is applied would load under it: call restore() first")
        path = Path(input_dir, self._file_name)
        self._place = Place.from_state(json.loads(path.read_text())) if path.exists() else None
        self._is_loaded = True
        if self._writer is not None:
            self._go_back()

    def _go_back(self) -> None:
        """The trainer repeats steps: those that the run has are not pushed again."""
        present = present_place(self)
        if self._place is None or not self._place.may_be_in(present.run, present.first_generation):
            place = "another run" if self._place is None else f"another run, {self._place.run!r}"
            warnings.warn(
                f"load_state() has loaded weights of {place}; the next update() averages them with step {present.step} "
                f"of run {self.run!r}: for a run of their own make a new AcceleratedEMA",
                RuntimeWarning,
                stacklevel=4,
            )
        elif self._place.step < present.step:
            warnings.warn(
                f"load_state() has gone back to step {self._place.step}, run {self.run!r} is at {present.step}: steps "
                'up to that one are not pushed again; to undo them, register anew with resume="rewind"',
                RuntimeWarning,
                stacklevel=4,
            )
            self._resumed_step = max(self._resumed_step, present.step)
            self.step, self._last_step = self._place.step, None

    def _release(self) -> None:
        super()._release()
        for hook in self._hooks:
            hook.remove()

    def _decide(self, decide: Callable[[], T]) -> T:
        return decided_by_first(decide, self._accelerator.is_main_process, _broadcast)


def _broadcast(value: Any) -> Any:
    return broadcast_object_list([value])[0]
