"""Hugging Face `Trainer`: a callback that pushes after each optimizer step, and evaluation with the average."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, Unpack
from weakref import WeakSet

from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..client import Client
from ..torch import EMA, EMAKeywords
from .evaluated import Evaluated, apply_together, end_evaluation, evaluated_at, evaluated_despite, evaluated_unknown
from .known_weights import KnownWeights
from .places import Place, check_average, client_of, present_place, reusable, run_of_training
from .ranks import broadcast_object, decided_by_first

T = TypeVar("T")
# As `Trainer` calls it in a checkpoint's folder.
TRAINER_STATE_NAME = "trainer_state.json"


class ShadowkeepCallback(TrainerCallback):
    """Keeps averages of a `Trainer`'s model in a Shadowkeep service.

        callback = ShadowkeepCallback("127.0.0.1:50051", run="my-run", decay=0.999)
        trainer = Trainer(model, args, ..., callbacks=[callback])
        callback.evaluate_with_average(trainer)  # by choice
        trainer.train()

    One update is pushed per optimizer step, under `state.global_step`, however many batches were accumulated for it;
    steps that a gradient scaler skipped are not folded. Checkpoints contain the raw weights. Of several processes each
    pushes its part, under DDP and FSDP. DeepSpeed's ZeRO 3 is not supported.

    Each training has a run of its own: one that begins where `run` has averages of another one gets `my-run-2` and so
    on, with a warning; one that resumes from a checkpoint goes on in the run that its `trainer_state.json` names. With
    the option `resume` the run is always `run`, and what it has already is treated as `EMA` says.

    `Trainer` tells its callbacks of the end of a training, not of its failure: call `abandon()` when `train()` raises,
    or let the process end.

    Args:
        target: "HOST:PORT" of the service, or a client.
        run: the run's name.
        average: the one to evaluate with; None: the first.
        options: the keyword arguments of `shadowkeep.torch.EMA`.

    Attributes:
        ema: the `EMA` while training, else None.
        run: the run of the present or the last training.
    """

    def __init__(
        self, target: str | Client, *, run: str, average: str | None = None, **options: Unpack[EMAKeywords]
    ) -> None:
        self.ema: EMA | None = None
        self.run = run
        self._target = target
        self._name = run
        self._average = average
        self._options = reusable(options)
        self._evaluating = False
        self._evaluated_trainers = WeakSet[Trainer]()
        self._ema_applied: EMA | None = None
        self._known: KnownWeights | None = None

    def evaluate_with_average(self, trainer: Trainer) -> None:
        """Make `trainer.evaluate` and `trainer.predict` use the average, in and after training.

        The callbacks of `Trainer` hear of an evaluation when it is over, so its methods are wrapped, on this object.
        They use the average of the step that the model's weights are of: the newest in and after a training, exactly
        the best checkpoint's after `load_best_model_at_end`. Where the service does not hold it any more (the option
        `retain` keeps older ones) they use the loaded weights, with a warning; where there is no average yet, the
        model's own. `trainer.save_model` saves the raw weights during an evaluation, too; a call of the model's own
        `save_pretrained` there saves what is in the model, the average. While the service is away they use the model's
        own weights, with a warning, and with `on_failure="raise"` they fail.
        """
        others = [entry for entry in trainer.callback_handler.callbacks if isinstance(entry, ShadowkeepCallback)]
        for other in others:
            if other is not self and trainer in other._evaluated_trainers:
                raise ValueError(
                    f"a model has one average at a time, and the callback of run {other.run!r} uses its own"
                )
        self._evaluated_trainers.add(trainer)
        for method in ("evaluate", "predict"):
            setattr(trainer, method, self._averaged(trainer, getattr(trainer, method)))
        saving: Any = trainer
        saving.save_model = self._saved_raw(trainer.save_model)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the run."""
        self.abandon()
        restored = Place.from_state(_states(state).get(self._key)) if state.global_step > 0 else None
        self.run = self._decide(state.is_world_process_zero, lambda client: self._run_of(client, restored))
        self.ema = EMA(kwargs["model"], self._target, run=self.run, **self._options)
        self.ema.register(state.global_step if restored is None else restored.step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Push the weights; `Trainer` calls this when the optimizer was due, not for each accumulated batch."""
        if self.ema is not None:
            skipped = bool(getattr(kwargs.get("optimizer"), "step_was_skipped", False))
            self.ema.update(state.global_step, skipped=skipped)
        self._keep_place(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the checkpoint that may be saved now where the run is."""
        self._keep_place(state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Wait until everything is acknowledged."""
        ema = self.ema
        if ema is None:
            return
        place: Place | None = present_place(ema)
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            place = self._place_of(state.best_model_checkpoint)
        self._known = KnownWeights(ema.model, place, self._options)
        self.ema = None
        ema.close()

    def abandon(self) -> None:
        """End the stream at once, after a training that failed."""
        ema, self.ema = self.ema, None
        if ema is not None:
            ema.abandon()

    def _averaged(self, trainer: Trainer, evaluate: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(evaluate)
        def evaluate_average(*args: Any, **kwargs: Any) -> Any:
            with self._applied(trainer):
                return evaluate(*args, **kwargs)

        return evaluate_average

    def _saved_raw(self, save: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(save)
        def save_raw(*args: Any, **kwargs: Any) -> Any:
            ema = self._ema_applied
            with nullcontext() if ema is None else ema.raw_parameters():
                return save(*args, **kwargs)

        return save_raw

    @contextmanager
    def _applied(self, trainer: Trainer) -> Iterator[None]:
        """Apply the average once around calls that call each other, as with several evaluation sets."""
        if self._evaluating:
            yield
            return
        self._evaluating = True
        ema: EMA | None = None
        try:
            ema = self._apply(trainer)
            self._ema_applied = ema
            with nullcontext() if ema is None else _kept_memory(ema.model):
                yield
        finally:
            self._evaluating = False
            self._ema_applied = None
            if ema is not None:
                end_evaluation(ema, self.ema)

    def _apply(self, trainer: Trainer) -> EMA | None:
        """Return what has applied the average; none: the model's own weights are used."""
        ema, step = self.ema, None
        is_first = trainer.is_world_process_zero()
        if ema is None or ema.is_repeating:
            model = _model_of(trainer)
            evaluated = self._decide(
                is_first,
                lambda client: evaluated_despite(self._options, lambda: self._evaluated(client, model)),
            )
            if is_first:
                evaluated.say()
            if evaluated.place is None:
                return None
            run, step = evaluated.place.run, evaluated.place.step
            ema = ema or EMA(model, self._target, run=run, replica=True, **self._options)
        applying = ema
        try:
            own = apply_together(applying, self._options, lambda: applying.apply_shadow(self._average, step=step))
        except BaseException:
            end_evaluation(applying, self.ema)
            raise
        if own is None:
            return applying
        end_evaluation(applying, self.ema)
        if is_first:
            own.say()
        return None

    def _run_of(self, client: Client, restored: Place | None) -> str:
        run = run_of_training(client, self._name, restored, keeps_name="resume" in self._options)
        check_average(client, run, self._average, self._options)
        return run

    def _evaluated(self, client: Client, model: nn.Module) -> Evaluated:
        if self.ema is not None:
            return evaluated_at(client, Place(self.ema.run, self.ema.step, self.ema.first_generation))
        if self._known is None or not self._known.are_of(model):
            return evaluated_unknown(client, self.run)
        return self._known.evaluated(client, model)

    @property
    def _key(self) -> str:
        """Under which a checkpoint keeps the place."""
        return f"shadowkeep:{self._name}"

    def _keep_place(self, state: TrainerState, control: TrainerControl) -> None:
        """Put the run and its step where `Trainer` saves them with its own state."""
        ema = self.ema
        if ema is not None:
            is_awaited = control.should_save or control.should_evaluate
            place = present_place(ema) if is_awaited else Place(ema.run, ema.step, ema.first_generation)
            _states(state)[self._key] = place.to_state()

    def _place_of(self, checkpoint: str) -> Place | None:
        path = Path(checkpoint, TRAINER_STATE_NAME)
        return (
            Place.from_state(_states(TrainerState.load_from_json(str(path))).get(self._key)) if path.exists() else None
        )

    def _decide(self, is_first: bool, decide: Callable[[Client], T]) -> T:
        def with_client() -> T:
            with client_of(self._target, self._options) as client:
                return decide(client)

        return decided_by_first(with_client, is_first, broadcast_object)


@contextmanager
def _kept_memory(model: nn.Module) -> Iterator[None]:
    """Put parameters and buffers back on the memory that they had before the block, whatever has cast or moved them.

    `bf16_full_eval` and `fp16_full_eval` cast the model in place, and the raw weights would come back as rounded ones.
    """
    parameters = [(parameter, parameter.data) for parameter in model.parameters()]
    buffers = [(module, dict(module._buffers)) for module in model.modules()]
    try:
        yield
    finally:
        for parameter, data in parameters:
            if (parameter.dtype, parameter.device) != (data.dtype, data.device):
                parameter.data = data
        for module, before in buffers:
            for name, buffer in before.items():
                now = module._buffers.get(name)
                if now is not None and buffer is not None and now.dtype != buffer.dtype:
                    module._buffers[name] = buffer


def _states(state: TrainerState) -> dict[str, Any]:
    """Return what `Trainer` saves for callbacks, by name."""
    states: Any = state.stateful_callbacks
    return states if isinstance(states, dict) else {}


def _model_of(trainer: Trainer) -> nn.Module:
    model: nn.Module | None = trainer.model
    if model is None:
        raise RuntimeError("the Trainer has no model: it is made by `model_init` when training begins")
    return model
