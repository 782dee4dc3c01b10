"""Lightning: a callback that pushes after each optimizer step and evaluates with the average."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, Unpack

from lightning.pytorch import LightningModule, Trainer
from torch import nn

from ..client import Client
from ..torch import EMA, EMAKeywords
from .evaluated import Evaluated, apply_together, end_evaluation, evaluated_at, evaluated_despite, evaluated_unknown
from .known_weights import KnownWeights
from .lightning_saves import AveragingCallback
from .lightning_steps import OptimizerSteps
from .places import Place, check_average, client_of, present_place, reusable, run_of_training
from .ranks import decided_by_first

T = TypeVar("T")
# For the answers to what a fit had pushed when it failed; a person who pressed Ctrl-C does not wait for longer.
FAILED_FLUSH_SECONDS_MAX = 10.0


class ShadowkeepEMA(AveragingCallback):
    """Keeps averages of a LightningModule in a Shadowkeep service.

        trainer = Trainer(callbacks=[ShadowkeepEMA("127.0.0.1:50051", run="my-run", decay=0.999)])

    One update is pushed per optimizer step, under the number that `trainer.global_step` has after it: one for many
    accumulated batches, several for a batch of manual optimization. With several optimizers each one's step is an
    update, unless `optimizer` picks one (of a GAN: the generator's). Steps that a gradient scaler skipped are not
    folded. The weights are those at the end of the step's batch, after the module's `optimizer_step`; what the module
    does to them in its own `on_train_batch_end` comes later (as for Lightning's WeightAveraging), so put a projection
    into `optimizer_step`, or into a callback before this one.

    Each fit has a run of its own: a training that begins where `run` has averages of another one gets `my-run-2` and so
    on, with a warning; one that restored a checkpoint goes on in the run that the checkpoint names. With the option
    `resume` the run is always `run`, and what it has already is treated as `EMA` says. Checkpoints contain the raw
    weights, also those that are saved during a validation. A `fast_dev_run` leaves no run behind.

    Validation, test and prediction use the average of the step that the model's weights are of: the newest in and after
    a fit, exactly the checkpoint's with `ckpt_path`. Where the service does not hold it any more (the option `retain`
    keeps older ones) they use the loaded weights, with a warning; where there is no average yet, the model's own.
    While the service is away they use the model's own weights, with a warning; with `on_failure="raise"` they fail.

    Of several processes each pushes its part, with DDPStrategy, FSDPStrategy and ModelParallelStrategy.

    Args:
        target: "HOST:PORT" of the service, or a client.
        run: the run's name.
        swap: validate, test and predict with the average; not in the sanity check before training. Of several
            callbacks one may.
        average: the one to evaluate with; None: the first.
        optimizer: index of the optimizer whose steps count; None: every one's.
        options: the keyword arguments of `shadowkeep.torch.EMA`.

    Attributes:
        ema: the `EMA` while training, else None.
        run: the run of the present or the last fit.
    """

    def __init__(
        self,
        target: str | Client,
        *,
        run: str,
        swap: bool = True,
        average: str | None = None,
        optimizer: int | None = None,
        **options: Unpack[EMAKeywords],
    ) -> None:
        self.ema: EMA | None = None
        self.run = run
        self._target = target
        self._name = run
        self._swap = swap
        self._average = average
        self._optimizer = optimizer
        self._options = reusable(options)
        self._steps: OptimizerSteps | None = None
        # What the checkpoint that was loaded for this call of the trainer says.
        self._loaded: Place | None = None
        self._known: KnownWeights | None = None

    @property
    def state_key(self) -> str:
        """One state for each run name in a checkpoint."""
        return self._generate_state_key(run=self._name)

    def state_dict(self) -> dict[str, Any]:
        """Return the run and its step, for a checkpoint. Waits for the service's answer to what was pushed."""
        self._settle()
        known = None if self._known is None else self._known.place
        place = known if self.ema is None else present_place(self.ema)
        return {} if place is None else place.to_state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the run and the step of the checkpoint that is being loaded."""
        self._loaded = Place.from_state(state_dict)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the checkpoint of an earlier call. Raises ValueError for several callbacks that swap."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        swapping = [entry.run for entry in callbacks if isinstance(entry, ShadowkeepEMA) and entry._swap]
        if len(swapping) > 1:
            raise ValueError(
                f"a model has one average at a time, and the callbacks of runs {', '.join(map(repr, swapping))} would "
                "all evaluate it with theirs: give all but one swap=False"
            )
        super().setup(trainer, pl_module, stage)
        self._loaded = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run."""
        self._note_checkpoint(trainer, pl_module)
        # A trainer that fits again goes on where it was.
        known = self._known_of(pl_module)
        restored = known.place if trainer.global_step > 0 and known is not None else None
        self.run = self._decide(trainer, lambda client: self._run_of(client, trainer, restored))
        ema = EMA(_wrapped(trainer, pl_module), self._target, run=self.run, **self._options)
        try:
            ema.register(trainer.global_step if restored is None else restored.step)
        except BaseException:
            ema.abandon()
            raise
        self.ema = ema
        self._steps = OptimizerSteps(trainer, self._update, self._optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Push the weights of the batch's last step."""
        self._settle()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait until everything is acknowledged."""
        self._settle()
        self._stop()
        ema = self.ema
        if ema is None:
            return
        self._known = KnownWeights(pl_module, present_place(ema), self._options)
        self.ema = None
        ema.close()
        if _is_trial(trainer):
            self._known = None
            self._decide(trainer, lambda client: client.delete_run(self.run))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the raw weights back, and end the stream at once."""
        ema = self.ema
        try:
            self._restore()
            # What has ended the fit is told, not what that may lead to.
            with suppress(Exception):
                self._settle()
            if ema is not None:
                # Other callbacks save a checkpoint now.
                self._known = KnownWeights(pl_module, present_place(ema, FAILED_FLUSH_SECONDS_MAX), self._options)
        finally:
            self._stop()
            self.ema = None
            if ema is not None:
                ema.abandon()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End what a fit has left open."""
        self._stop()
        ema, self.ema = self.ema, None
        if ema is not None:
            ema.close()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Apply the average."""
        if not trainer.sanity_checking:
            self._apply(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the raw weights back."""
        self._restore()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Apply the average."""
        self._apply(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the raw weights back."""
        self._restore()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Apply the average."""
        self._apply(trainer, pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the raw weights back."""
        self._restore()

    def _run_of(self, client: Client, trainer: Trainer, restored: Place | None) -> str:
        if _is_trial(trainer):
            return run_of_training(client, f"{self._name}-fast-dev-run", None, keeps_name=False)
        run = run_of_training(client, self._name, restored, keeps_name="resume" in self._options)
        check_average(client, run, self._average if self._swap else None, self._options)
        return run

    def _update(self, steps_before: int, skipped: bool) -> None:
        if self.ema is not None:
            self.ema.update(max(steps_before, self.ema.step) + 1, skipped=skipped)

    def _settle(self) -> None:
        """Push the weights of the step that was made last."""
        if self._steps is not None:
            self._steps.settle()

    def _stop(self) -> None:
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.stop()

    def _apply(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._swap:
            return
        ema, step = self.ema, None
        if ema is None or ema.is_repeating:
            evaluated = self._evaluated(trainer, pl_module)
            if trainer.is_global_zero:
                evaluated.say()
            if evaluated.place is None:
                return
            run, step = evaluated.place.run, evaluated.place.step
            ema = ema or EMA(_wrapped(trainer, pl_module), self._target, run=run, replica=True, **self._options)
        self._applied = applied = ema
        own = apply_together(applied, self._options, lambda: applied.apply_shadow(self._average, step=step))
        if own is not None:
            self._restore()
            if trainer.is_global_zero:
                own.say()

    def _evaluated(self, trainer: Trainer, pl_module: LightningModule) -> Evaluated:
        if self.ema is None:
            self._note_checkpoint(trainer, pl_module)

        def evaluate(client: Client) -> Evaluated:
            return evaluated_despite(self._options, lambda: self._evaluated_by(client, pl_module))

        return self._decide(trainer, evaluate)

    def _evaluated_by(self, client: Client, pl_module: LightningModule) -> Evaluated:
        if self.ema is not None:
            return evaluated_at(client, Place(self.ema.run, self.ema.step, self.ema.first_generation))
        known = self._known_of(pl_module)
        return evaluated_unknown(client, self.run) if known is None else known.evaluated(client, pl_module)

    def _restore(self) -> None:
        ema, self._applied = self._applied, None
        if ema is not None:
            end_evaluation(ema, self.ema)

    def _note_checkpoint(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The weights of a checkpoint that was just loaded are where it says."""
        if trainer.ckpt_path is not None:
            self._known = KnownWeights(pl_module, self._loaded, self._options)

    def _known_of(self, pl_module: LightningModule) -> KnownWeights | None:
        return self._known if self._known is not None and self._known.are_of(pl_module) else None

    def _decide(self, trainer: Trainer, decide: Callable[[Client], T]) -> T:
        def with_client() -> T:
            with client_of(self._target, self._options) as client:
                return decide(client)

        return decided_by_first(with_client, trainer.is_global_zero, trainer.strategy.broadcast)


def _is_trial(trainer: Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))


def _wrapped(trainer: Trainer, pl_module: LightningModule) -> nn.Module:
    """Return the module with what a strategy has wrapped around it: FSDP's outermost part has weights of it."""
    model: nn.Module = trainer.model or pl_module
    return model
