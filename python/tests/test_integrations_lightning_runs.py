"""Which run a fit of Lightning has, which of its steps are pushed, and which average an evaluation uses."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the integrations are not tested")
lightning: Any = pytest.importorskip(
    "lightning.pytorch", reason="lightning is not installed: its callback is not tested"
)

from integration_support import close_to, pulled, textbook  # noqa: E402
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402
from test_integrations_lightning import DECAY, Regression, loader, trainer  # noqa: E402

from shadowkeep import Client, FailedPreconditionError, NotFoundError, Retention  # noqa: E402
from shadowkeep.integrations.lightning import ShadowkeepEMA  # noqa: E402

EVALUATIONS = {"validate": "validation", "test": "test", "predict": "predict"}


def quiet(tmp_path: Path, callback: Any, **options: Any) -> Any:
    return trainer(tmp_path, callback, **({"enable_checkpointing": False, "num_sanity_val_steps": 0} | options))


def evaluate(fitted: Any, model: Any, kind: str, **options: Any) -> Any:
    model.seen[EVALUATIONS[kind]].clear()
    verbose = {} if kind == "predict" else {"verbose": False}
    getattr(fitted, kind)(model, loader(1), **verbose, **options)
    return model.seen[EVALUATIONS[kind]][0]


def with_checkpoints(tmp_path: Path, callback: Any, **options: Any) -> Any:
    every = ModelCheckpoint(tmp_path / "all", every_n_train_steps=1, save_top_k=-1, filename="{step}", **options)
    fitted = quiet(tmp_path, callback, max_epochs=1, enable_checkpointing=True)
    fitted.callbacks.append(every)
    return fitted


def checkpoint(tmp_path: Path, step: int) -> str:
    return str(tmp_path / "all" / f"step={step}.ckpt")


def test_each_fit_that_begins_has_a_run_of_its_own(client: Client, run_name: str, tmp_path: Path) -> None:
    callback = ShadowkeepEMA(client, run=run_name, decay=DECAY)
    for fold, name in enumerate((run_name, f"{run_name}-2", f"{run_name}-3")):
        model = Regression()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            quiet(tmp_path, callback, max_epochs=1).fit(model, loader(3 + fold), loader(1))
        said = [str(w.message) for w in caught if "shadowkeep" in str(w.message)]
        assert callback.run == name
        assert [name in text for text in said] == [True] * (fold > 0)
        assert close_to(pulled(client, name), textbook(model.trajectory, DECAY))
        assert close_to(model.seen["validation"][-1], textbook(model.trajectory, DECAY))


def test_the_run_of_a_fit_is_logged(
    client: Client, run_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "shadowkeep"):
        quiet(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), max_epochs=1).fit(Regression(), loader(2))
    assert f"the averages of this training are in run {run_name!r}" in caplog.messages


def test_a_restored_fit_goes_on_in_its_checkpoints_run(client: Client, run_name: str, tmp_path: Path) -> None:
    quiet(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), max_epochs=1).fit(Regression(), loader(2))
    first = Regression()
    one = with_checkpoints(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY))
    one.fit(first, loader(5))
    second = Regression()
    callback = ShadowkeepEMA(client, run=run_name, decay=DECAY)
    two = quiet(tmp_path, callback, max_epochs=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*run '")
        two.fit(second, loader(5), ckpt_path=checkpoint(tmp_path, 5))
    assert callback.run == f"{run_name}-2"
    assert client.get_run(callback.run).states[0].num_updates == 10
    assert close_to(pulled(client, callback.run), textbook(first.trajectory + second.trajectory[1:], DECAY))
    assert client.get_run(run_name).committed_step == 2


def test_steps_that_are_trained_again_are_averaged_once(client: Client, run_name: str, tmp_path: Path) -> None:
    first = Regression()
    with_checkpoints(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY)).fit(first, loader(6))
    again = quiet(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), max_epochs=2)
    with pytest.warns(RuntimeWarning, match="committed step 6, the trainer comes back from step 4"):
        again.fit(Regression(), loader(6), ckpt_path=checkpoint(tmp_path, 4))
    assert client.get_run(run_name).states[0].num_updates == client.get_run(run_name).committed_step == 12


def test_a_trainer_that_fits_again_goes_on(client: Client, run_name: str, tmp_path: Path) -> None:
    model = Regression()
    callback = ShadowkeepEMA(client, run=run_name, decay=DECAY)
    fitted = quiet(tmp_path, callback, max_epochs=1)
    fitted.fit(model, loader(4))
    fitted.fit_loop.max_epochs = 2
    fitted.fit(model, loader(4))
    assert callback.run == run_name
    assert client.get_run(run_name).states[0].num_updates == 8
    assert close_to(pulled(client, run_name), textbook(model.trajectory, DECAY))


def test_a_checkpoint_that_names_no_run_begins_one(client: Client, run_name: str, tmp_path: Path) -> None:
    first = with_checkpoints(tmp_path, ShadowkeepEMA(client, run="another-name-" + run_name, decay=DECAY))
    first.fit(Regression(), loader(3))
    callback = ShadowkeepEMA(client, run=run_name, decay=DECAY)
    with pytest.warns(RuntimeWarning, match="has no commits, the trainer comes from step 3"):
        quiet(tmp_path, callback, max_epochs=2).fit(Regression(), loader(3), ckpt_path=checkpoint(tmp_path, 3))
    assert client.get_run(run_name).committed_step == 6
    assert client.get_run(run_name).states[0].num_updates == 3


def test_with_the_option_resume_the_name_is_kept(client: Client, run_name: str, tmp_path: Path) -> None:
    for _ in range(2):
        callback = ShadowkeepEMA(client, run=run_name, decay=DECAY, resume="continue")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quiet(tmp_path, callback, max_epochs=1).fit(Regression(), loader(3))
        assert callback.run == run_name
    refusing = ShadowkeepEMA(client, run=run_name, decay=DECAY, resume="refuse")
    with pytest.raises(FailedPreconditionError, match="RUN_HAS_COMMITS"):
        quiet(tmp_path, refusing, max_epochs=1).fit(Regression(), loader(3))
    assert refusing.ema is None
    assert client.get_run(run_name).committed_step == 3


@pytest.mark.parametrize("is_retained", [True, False])
def test_a_chosen_checkpoint_is_evaluated_with_its_own_average(
    client: Client, run_name: str, tmp_path: Path, is_retained: bool
) -> None:
    model = Regression()
    retain = Retention(1, 16) if is_retained else None
    fitted = with_checkpoints(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY, retain=retain))
    fitted.fit(model, loader(8))
    for step in (2, 5):
        average = textbook(model.trajectory[: step + 1], DECAY)
        for kind in EVALUATIONS:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                seen = evaluate(fitted, model, kind, ckpt_path=checkpoint(tmp_path, step))
            said = [str(w.message) for w in caught if "shadowkeep" in str(w.message)]
            assert close_to(seen, average if is_retained else model.trajectory[step])
            assert [f"step {step} of run {run_name!r}" in text for text in said] == ([] if is_retained else [True])
        # Without a path the model is still that of the checkpoint.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert close_to(evaluate(fitted, model, "test"), average if is_retained else model.trajectory[step])
        assert close_to(model.weights(), model.trajectory[step])
    newest = evaluate(fitted, model, "test", ckpt_path=checkpoint(tmp_path, 8))
    assert close_to(newest, textbook(model.trajectory, DECAY))


def test_another_process_evaluates_a_checkpoint_of_a_numbered_run(
    client: Client, run_name: str, tmp_path: Path
) -> None:
    quiet(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), max_epochs=1).fit(Regression(), loader(2))
    model = Regression()
    with_checkpoints(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY)).fit(model, loader(4))
    other = Regression()
    seen = evaluate(
        quiet(tmp_path, ShadowkeepEMA(client, run=run_name)), other, "validate", ckpt_path=checkpoint(tmp_path, 4)
    )
    assert close_to(seen, textbook(model.trajectory, DECAY))
    client.delete_run(f"{run_name}-2")
    with pytest.warns(RuntimeWarning, match=f"the service has no run '{run_name}-2'"):
        seen = evaluate(
            quiet(tmp_path, ShadowkeepEMA(client, run=run_name)), other, "test", ckpt_path=checkpoint(tmp_path, 4)
        )
    assert close_to(seen, model.trajectory[4])


def test_a_checkpoint_of_weights_alone_is_evaluated_as_it_is(client: Client, run_name: str, tmp_path: Path) -> None:
    model = Regression()
    fitted = with_checkpoints(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), save_weights_only=True)
    fitted.fit(model, loader(4))
    with pytest.warns(RuntimeWarning, match="does not say of which step"):
        seen = evaluate(fitted, model, "test", ckpt_path=checkpoint(tmp_path, 2))
    assert close_to(seen, model.trajectory[2])


def test_weights_that_were_loaded_by_hand_are_evaluated_as_they_are(
    client: Client, run_name: str, tmp_path: Path
) -> None:
    model = Regression()
    fitted = with_checkpoints(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY))
    fitted.fit(model, loader(4))
    for _ in range(2):
        assert close_to(evaluate(fitted, model, "test"), textbook(model.trajectory, DECAY))
    model.load_state_dict(torch.load(checkpoint(tmp_path, 2), weights_only=True)["state_dict"])
    with pytest.warns(RuntimeWarning, match="were changed since they were trained or restored"):
        assert close_to(evaluate(fitted, model, "test"), model.trajectory[2])


class Normed(Regression):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(6)
        self.register_buffer("table", torch.zeros(64, 1024))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(self.norm(batch[0])).square().mean()


def one_number(model: Normed) -> None:
    model.table[40, 333] = 1.0


CHANGES: dict[str, Callable[[Normed], Any]] = {
    "other signs": lambda model: model.layer.weight.data.neg_(),
    "another order": lambda model: model.layer.weight.data.copy_(model.layer.weight.detach().flip(0)),
    "other statistics": lambda model: model.norm.running_mean.fill_(7.0),
    "another count": lambda model: model.norm.num_batches_tracked.add_(1),
    "one number of many": one_number,
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_were_changed_by_hand_are_evaluated_as_they_are(
    client: Client, run_name: str, tmp_path: Path, change: str
) -> None:
    model = Normed()
    fitted = quiet(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), max_epochs=1)
    fitted.fit(model, loader(3))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*shadowkeep")
        for _ in range(2):
            assert close_to(evaluate(fitted, model, "test"), textbook(model.trajectory, DECAY))
    with torch.no_grad():
        CHANGES[change](model)
    own = model.weights()
    with pytest.warns(RuntimeWarning, match="were changed since they were trained or restored"):
        assert torch.equal(evaluate(fitted, model, "test"), own)


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_before_the_first_fit_the_models_own_weights_are_evaluated(
    client: Client, run_name: str, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = Regression()
    fitted = quiet(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), max_epochs=1)
    with warnings.catch_warnings(), caplog.at_level(logging.INFO, "shadowkeep"):
        warnings.filterwarnings("error", message=".*shadowkeep")
        assert torch.equal(evaluate(fitted, model, kind), model.weights())
    assert any("has no average yet" in message for message in caplog.messages)
    fitted.fit(model, loader(3))
    assert close_to(evaluate(fitted, model, kind), textbook(model.trajectory, DECAY))


def test_a_model_of_which_nothing_is_known_is_evaluated_as_it_is(client: Client, run_name: str, tmp_path: Path) -> None:
    model = Regression()
    fitted = with_checkpoints(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY))
    fitted.fit(model, loader(3))
    loaded = Regression.load_from_checkpoint(checkpoint(tmp_path, 2))
    for trained in (fitted, quiet(tmp_path, ShadowkeepEMA(client, run=run_name))):
        with pytest.warns(RuntimeWarning, match="neither trained nor restored here: evaluated with the model's own"):
            assert torch.equal(evaluate(trained, loaded, "test"), model.trajectory[2])


def test_a_trial_leaves_no_run(client: Client, run_name: str, tmp_path: Path) -> None:
    model = Regression()
    callback = ShadowkeepEMA(client, run=run_name, decay=DECAY)
    trainer(tmp_path, callback, fast_dev_run=2).fit(model, loader(4), loader(1))
    assert len(model.trajectory) == 3
    assert [run.run for run in client.list_runs() if run.run.startswith(f"{run_name}-fast")] == []
    with pytest.raises(NotFoundError):
        client.get_run(run_name)


class Adversaries(lightning.LightningModule):  # type: ignore[misc]
    """Two networks with an optimizer each, stepped by hand: the first one twice a batch."""

    def __init__(self, raw_optimizers: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        torch.manual_seed(1)
        self.layer = torch.nn.Linear(6, 2)
        self.other = torch.nn.Linear(6, 2)
        self.raw_optimizers = raw_optimizers
        self.after: list[tuple[int, Any]] = []

    def weights(self) -> Any:
        return torch.nn.utils.parameters_to_vector(self.layer.parameters()).detach().double().clone()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        first, second = self.optimizers(use_pl_optimizer=not self.raw_optimizers)
        for index, optimizer, network in ((0, first, self.layer), (0, first, self.layer), (1, second, self.other)):
            optimizer.zero_grad()
            self.manual_backward(network(batch[0]).square().mean())
            optimizer.step()
            self.after.append((index, self.weights()))

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.layer, self.other)]


@pytest.mark.parametrize("raw_optimizers", [False, True])
@pytest.mark.parametrize("optimizer", [None, 0, 1])
def test_each_step_of_an_optimizer_that_counts_is_an_update(
    client: Client, run_name: str, tmp_path: Path, optimizer: int | None, raw_optimizers: bool
) -> None:
    model = Adversaries(raw_optimizers)
    start = model.weights()
    callback = ShadowkeepEMA(client, run=run_name, decay=DECAY, optimizer=optimizer)
    fitted = quiet(tmp_path, callback, max_epochs=1)
    fitted.fit(model, loader(4))
    counted = [weights for index, weights in model.after if optimizer in (None, index)]
    run = client.get_run(run_name)
    assert run.states[0].num_updates == len(counted)
    if not raw_optimizers:
        assert run.committed_step == fitted.global_step - (optimizer == 0)
    assert close_to(pulled(client, run_name), textbook([start, *counted], DECAY))
    assert (
        "optimizer_step" not in vars(fitted.strategy)
        or fitted.strategy.optimizer_step.__func__ is type(fitted.strategy).optimizer_step
    )


def test_an_optimizer_that_is_not_there_is_an_error(client: Client, run_name: str, tmp_path: Path) -> None:
    callback = ShadowkeepEMA(client, run=run_name, decay=DECAY, optimizer=1)
    with pytest.raises(ValueError, match="optimizer must be below the number of optimizers, 1, got 1"):
        quiet(tmp_path, callback, max_epochs=1).fit(Regression(), loader(2))


def test_two_callbacks_have_a_run_each(client: Client, run_name: str, tmp_path: Path) -> None:
    model = Regression()
    callbacks = [ShadowkeepEMA(client, run=f"{run_name}-{decay}", decay=decay, swap=False) for decay in (0.5, 0.9)]
    fitted = with_checkpoints(tmp_path, callbacks[0])
    fitted.callbacks.insert(1, callbacks[1])
    fitted.fit(model, loader(4))
    for decay in (0.5, 0.9):
        assert close_to(pulled(client, f"{run_name}-{decay}"), textbook(model.trajectory, decay))
