"""What checkpoints of Lightning have that are saved at odd moments: during a validation, at an exception."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the integrations are not tested")
lightning: Any = pytest.importorskip(
    "lightning.pytorch", reason="lightning is not installed: its callback is not tested"
)

from integration_support import close_to, pulled, textbook  # noqa: E402
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint  # noqa: E402
from test_integrations_lightning import DECAY, Regression, loader  # noqa: E402
from test_integrations_lightning_runs import quiet  # noqa: E402

from shadowkeep import Client  # noqa: E402
from shadowkeep.integrations.lightning import ShadowkeepEMA  # noqa: E402


def saved_weights(path: Path) -> Any:
    state = torch.load(path, weights_only=True)["state_dict"]
    return torch.cat([state[name].double().flatten() for name in ("layer.weight", "layer.bias")])


class SavingInValidation(Regression):
    directory = Path()

    def on_validation_epoch_end(self) -> None:
        self.trainer.save_checkpoint(self.directory / "whole.ckpt")
        self.trainer.save_checkpoint(self.directory / "weights.ckpt", weights_only=True)
        self.seen["validation"].append(self.weights())


def test_checkpoints_that_are_saved_during_a_validation_have_the_raw_weights(
    client: Client, run_name: str, tmp_path: Path
) -> None:
    model = SavingInValidation()
    model.directory = tmp_path
    fitted = quiet(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), max_epochs=2)
    for _ in range(2):
        fitted.fit(model, loader(3), loader(1))
        for name in ("whole", "weights"):
            assert torch.equal(saved_weights(tmp_path / f"{name}.ckpt"), model.trajectory[-1])
        assert close_to(model.seen["validation"][-1], textbook(model.trajectory, DECAY))
        assert torch.equal(model.weights(), model.trajectory[-1])
        fitted.fit_loop.max_epochs = 3


class Failing(Regression):
    """Fails in the sixth step."""

    failure: type[BaseException] | None = ArithmeticError

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 5 and self.failure is not None:
            raise self.failure
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("failure", [ArithmeticError, KeyboardInterrupt])
def test_a_checkpoint_of_a_fit_that_failed_goes_on_in_its_run(
    client: Client, run_name: str, tmp_path: Path, failure: type[BaseException], is_first: bool
) -> None:
    first = Failing()
    first.failure = failure
    failing = quiet(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), max_epochs=2, enable_checkpointing=True)
    saving = (
        OnExceptionCheckpoint(tmp_path, filename="failed")
        if is_first
        else ModelCheckpoint(tmp_path, filename="failed", save_on_exception=True, every_n_train_steps=100)
    )
    failing.callbacks.insert(0 if is_first else 1, saving)
    with pytest.raises((ArithmeticError, SystemExit)):
        failing.fit(first, loader(4))
    second = Failing()
    second.failure = None
    callback = ShadowkeepEMA(client, run=run_name, decay=DECAY)
    quiet(tmp_path, callback, max_epochs=3).fit(second, loader(4), ckpt_path=str(tmp_path / "failed.ckpt"))
    assert callback.run == run_name
    expected = textbook(first.trajectory + second.trajectory[1:], DECAY)
    assert close_to(pulled(client, run_name), expected)


class Projecting(Regression):
    """Keeps its weights small, after each step."""

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        with torch.no_grad():
            self.layer.weight.clamp_(-0.1, 0.1)


class SavingFirst(lightning.Callback):  # type: ignore[misc]
    """Saves each step, before the callback of the averages has its turn."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.save_checkpoint(self.directory / f"{trainer.global_step}.ckpt")


def test_the_weights_that_a_module_makes_of_a_step_are_averaged(client: Client, run_name: str, tmp_path: Path) -> None:
    model = Projecting()
    callback = ShadowkeepEMA(client, run=run_name, decay=DECAY)
    fitted = quiet(tmp_path, callback, max_epochs=2)
    fitted.callbacks.insert(0, SavingFirst(tmp_path))
    fitted.fit(model, loader(3))
    run = client.get_run(run_name)
    assert (run.committed_step, run.states[0].num_updates) == (6, 6)
    assert close_to(pulled(client, run_name), textbook(model.trajectory, DECAY))
    for step in (1, 4):
        saved = torch.load(tmp_path / f"{step}.ckpt", weights_only=True)["callbacks"][callback.state_key]
        assert saved["step"] == step
        assert torch.equal(saved_weights(tmp_path / f"{step}.ckpt"), model.trajectory[step])


class FailingAfterItsStep(Regression):
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.global_step == 3:
            self.after = self.weights()
            raise ArithmeticError("as if")


def test_the_last_step_before_an_exception_is_averaged(client: Client, run_name: str, tmp_path: Path) -> None:
    model = FailingAfterItsStep()
    with pytest.raises(ArithmeticError):
        quiet(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), max_epochs=1).fit(model, loader(5))
    assert len(model.trajectory) == 4
    assert close_to(pulled(client, run_name), textbook([*model.trajectory, model.after], DECAY))
