"""`shadowkeep.integrations.lightning` in the real Lightning, on the real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the integrations are not tested")
lightning: Any = pytest.importorskip(
    "lightning.pytorch", reason="lightning is not installed: its callback is not tested"
)

from integration_support import close_to, pulled, textbook  # noqa: E402

from shadowkeep import Client, averages  # noqa: E402
from shadowkeep.integrations.lightning import ShadowkeepEMA  # noqa: E402

SEED = 7
DECAY = 0.8


class Regression(lightning.LightningModule):  # type: ignore[misc]
    """Writes down its weights after each optimizer step, and what evaluations saw."""

    def __init__(self, bad_batches: tuple[int, ...] = ()) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.layer = torch.nn.Linear(6, 2)
        self.bad_batches = bad_batches
        self.trajectory = [self.weights()]
        self.seen: dict[str, list[Any]] = {"validation": [], "test": [], "predict": []}

    def weights(self) -> Any:
        return torch.nn.utils.parameters_to_vector(self.layer.parameters()).detach().double().clone()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch[0]).square().mean()
        return loss * float("inf") if batch_idx in self.bad_batches else loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not torch.equal(self.weights(), self.trajectory[-1]):
            self.trajectory.append(self.weights())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["validation"].append(self.weights())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["test"].append(self.weights())

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["predict"].append(self.weights())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(batches: int) -> Any:
    generator = torch.Generator().manual_seed(SEED)
    data = torch.utils.data.TensorDataset(torch.randn(4 * batches, 6, generator=generator))
    return torch.utils.data.DataLoader(data, batch_size=4)


def trainer(directory: Path, callback: Any, **options: Any) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(
        accelerator="cpu", devices=1, default_root_dir=directory, callbacks=[callback], **(quiet | options)
    )


def test_updates_are_optimizer_steps_and_numbers_the_textbooks(client: Client, run_name: str, tmp_path: Path) -> None:
    model = Regression()
    callback = ShadowkeepEMA(client, run=run_name, decay=DECAY)
    trainer(tmp_path, callback, max_epochs=2, accumulate_grad_batches=3, enable_checkpointing=False).fit(
        model, loader(9)
    )
    assert len(model.trajectory) == 1 + 6
    assert client.get_run(run_name).states[0].num_updates == 6
    assert client.get_run(run_name).committed_step == 6
    assert close_to(pulled(client, run_name), textbook(model.trajectory, DECAY))
    assert callback.ema is None


@pytest.mark.parametrize("swap", [True, False])
def test_evaluation_sees_the_average_by_choice(client: Client, run_name: str, tmp_path: Path, swap: bool) -> None:
    model = Regression()
    fitted = trainer(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY, swap=swap), max_epochs=2)
    fitted.fit(model, loader(4), loader(1))
    sanity, first, second = model.seen["validation"]
    raw = model.trajectory[-1]
    assert torch.equal(sanity, model.trajectory[0])
    assert close_to(first, textbook(model.trajectory[:5], DECAY) if swap else model.trajectory[4])
    assert close_to(second, textbook(model.trajectory, DECAY) if swap else raw)
    fitted.test(model, loader(1), verbose=False)
    fitted.predict(model, loader(1))
    for kind in ("test", "predict"):
        assert close_to(model.seen[kind][0], textbook(model.trajectory, DECAY) if swap else raw)
    assert torch.equal(model.weights(), raw)
    checkpoint = torch.load(fitted.checkpoint_callback.best_model_path, weights_only=True)["state_dict"]
    assert torch.equal(checkpoint["layer.weight"], model.layer.weight)


def test_a_resumed_fit_goes_on(client: Client, run_name: str, tmp_path: Path) -> None:
    first = Regression()
    one = trainer(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), max_epochs=1)
    one.fit(first, loader(5))
    second = Regression()
    two = trainer(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), max_epochs=2)
    two.fit(second, loader(5), ckpt_path=one.checkpoint_callback.best_model_path)
    assert client.get_run(run_name).states[0].num_updates == 10
    assert close_to(pulled(client, run_name), textbook(first.trajectory + second.trajectory[1:], DECAY))


def test_steps_that_the_scaler_skipped_are_not_folded(client: Client, run_name: str, tmp_path: Path) -> None:
    from lightning.pytorch.plugins import MixedPrecision

    model = Regression(bad_batches=(0, 3))
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))
    callback = ShadowkeepEMA(client, run=run_name, averages=averages.textbook(decay=DECAY))
    trainer(tmp_path, callback, max_epochs=1, plugins=[plugin], enable_checkpointing=False).fit(model, loader(6))
    assert client.get_run(run_name).states[0].num_updates == len(model.trajectory) - 1 == 4
    assert close_to(pulled(client, run_name), textbook(model.trajectory, DECAY))


def test_an_exception_in_validation_gives_the_raw_weights_back(
    client: Client, run_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ArithmeticError("as if")

    model = Regression()
    monkeypatch.setattr(model, "validation_step", fail)
    callback = ShadowkeepEMA(client, run=run_name, decay=DECAY)
    failing = trainer(tmp_path, callback, max_epochs=1, num_sanity_val_steps=0, enable_checkpointing=False)
    with pytest.raises(ArithmeticError):
        failing.fit(model, loader(3), loader(1))
    assert torch.equal(model.weights(), model.trajectory[-1])
    assert callback.ema is None
