"""Which run a training of the real `Trainer` has, and which average its evaluations use."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the integrations are not tested")
transformers: Any = pytest.importorskip(
    "transformers", reason="transformers is not installed: its callback is not tested"
)
pytest.importorskip("accelerate", reason="accelerate is not installed, Trainer needs it: its callback is not tested")

from cutting_proxy import CuttingProxy  # noqa: E402
from integration_support import close_to, pulled, textbook  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from support import Server  # noqa: E402
from test_integrations_transformers import DECAY, Regression, Trajectory, trainer  # noqa: E402

from shadowkeep import Average, Client, NotFoundError, Retention, ShadowkeepError  # noqa: E402
from shadowkeep.integrations.transformers import ShadowkeepCallback  # noqa: E402

STEPWISE: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1, "lr_scheduler_type": "constant"}


def train(
    directory: Path, callback: ShadowkeepCallback, resume: str | None = None, **options: Any
) -> tuple[Any, Regression, list[Any]]:
    model = Regression()
    trajectory = Trajectory(model)
    made = trainer(directory, model, [trajectory, callback], **options)
    callback.evaluate_with_average(made)
    made.train(resume_from_checkpoint=resume)
    return made, model, trajectory.weights


def said(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(w.message) for w in caught if "shadowkeep" in str(w.message)]


def test_each_training_that_begins_has_a_run_of_its_own(client: Client, run_name: str, tmp_path: Path) -> None:
    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY)
    for number, name in enumerate((run_name, f"{run_name}-2")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            made, model, weights = train(tmp_path, callback, max_steps=3 + number)
        assert callback.run == name
        assert [name in text for text in said(caught)] == [True] * number
        assert close_to(pulled(client, name), textbook(weights, DECAY))
        made.evaluate()
        assert close_to(model.seen[-1], textbook(weights, DECAY))
    made.train()
    assert callback.run == f"{run_name}-3", "the same Trainer from its first step"


def test_a_restored_training_goes_on_in_its_checkpoints_run(client: Client, run_name: str, tmp_path: Path) -> None:
    train(tmp_path / "other", ShadowkeepCallback(client, run=run_name, decay=DECAY), max_steps=2)
    first = train(tmp_path, ShadowkeepCallback(client, run=run_name, decay=DECAY), max_steps=6, **STEPWISE)
    state = json.loads((tmp_path / "checkpoint-4" / "trainer_state.json").read_text())
    assert state["stateful_callbacks"][f"shadowkeep:{run_name}"] == {
        "run": f"{run_name}-2",
        "step": 4,
        "first_generation": client.get_run(f"{run_name}-2").first_generation,
    }
    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY)
    with pytest.warns(RuntimeWarning, match="committed step 6, the trainer comes back from step 4"):
        train(
            tmp_path,
            callback,
            str(tmp_path / "checkpoint-4"),
            max_steps=8,
            restore_callback_states_from_checkpoint=True,
            **STEPWISE,
        )
    assert callback.run == f"{run_name}-2"
    run = client.get_run(callback.run)
    assert (run.committed_step, run.states[0].num_updates) == (8, 8)
    assert len(first[2]) == 7


@pytest.mark.parametrize("is_retained", [True, False])
def test_the_best_checkpoint_is_evaluated_with_its_own_average(
    client: Client, run_name: str, tmp_path: Path, is_retained: bool
) -> None:
    retain = Retention(1, 16) if is_retained else None
    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY, retain=retain)
    made, model, weights = train(
        tmp_path,
        callback,
        max_steps=6,
        **STEPWISE,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="one_loss",
        greater_is_better=True,
    )
    best = made.state.best_global_step
    assert best < 6, "the losses fall, so that the first one is the largest"
    assert close_to(model.weights(), weights[best])
    for evaluate in (made.evaluate, lambda: made.predict(made.eval_dataset["one"])):
        model.seen.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            evaluate()
        expected = textbook(weights[: best + 1], DECAY) if is_retained else weights[best]
        assert all(close_to(seen, expected) for seen in model.seen)
        assert [f"step {best} of run {run_name!r}" in text for text in said(caught)] == ([] if is_retained else [True])
    assert close_to(model.weights(), weights[best])


def test_before_the_first_training_the_models_own_weights_are_evaluated(
    client: Client, run_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = Regression()
    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY)
    made = trainer(tmp_path, model, [callback], max_steps=2, eval_on_start=True, eval_strategy="steps", eval_steps=2)
    callback.evaluate_with_average(made)
    start = model.weights()
    with caplog.at_level(logging.INFO, "shadowkeep"):
        made.evaluate()
    assert len([message for message in caplog.messages if "has no average yet" in message]) == 1
    made.train()
    assert all(close_to(seen, start) for seen in model.seen[:4]), "before the training, and at its start"
    assert not close_to(model.seen[-1], start)


def test_a_model_of_which_nothing_is_known_is_evaluated_as_it_is(client: Client, run_name: str, tmp_path: Path) -> None:
    train(tmp_path, ShadowkeepCallback(client, run=run_name, decay=DECAY), max_steps=2)
    model = Regression()
    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY)
    made = trainer(tmp_path, model, [callback])
    callback.evaluate_with_average(made)
    with pytest.warns(RuntimeWarning, match="neither trained nor restored here: evaluated with the model's own"):
        made.evaluate()
    assert torch.equal(model.seen[-1], model.weights())


def test_weights_that_were_loaded_by_hand_are_evaluated_as_they_are(
    client: Client, run_name: str, tmp_path: Path
) -> None:
    made, model, weights = train(tmp_path, ShadowkeepCallback(client, run=run_name, decay=DECAY), max_steps=3)
    for _ in range(2):
        made.evaluate()
        assert close_to(model.seen[-1], textbook(weights, DECAY))
    turned = {name: -value for name, value in model.state_dict().items()}
    for state in (turned, Regression().state_dict()):
        model.load_state_dict(state)
        with pytest.warns(RuntimeWarning, match="were changed since they were trained or restored"):
            made.evaluate()
        assert torch.equal(model.seen[-1], model.weights())


def test_a_failed_training_is_abandoned_by_the_next(client: Client, run_name: str, tmp_path: Path) -> None:
    class Failing(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 2:
                raise ArithmeticError("as if")

    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY)
    with pytest.raises(ArithmeticError):
        trainer(tmp_path, Regression(), [callback, Failing()], max_steps=3).train()
    assert callback.ema is not None
    _, _, weights = train(tmp_path, callback, max_steps=3)
    assert callback.run == f"{run_name}-2"
    assert close_to(pulled(client, callback.run), textbook(weights, DECAY))


@pytest.mark.parametrize("option", ["bf16_full_eval", "fp16_full_eval"])
def test_the_raw_weights_survive_an_evaluation_in_half_precision(
    client: Client, run_name: str, tmp_path: Path, option: str
) -> None:
    options: dict[str, Any] = {option: True}
    made, model, weights = train(
        tmp_path, ShadowkeepCallback(client, run=run_name, decay=DECAY), max_steps=4, **options
    )
    model.seen.clear()
    dataset = [
        {"x": row["x"].to(torch.bfloat16 if "bf" in option else torch.float16)} for row in made.train_dataset[:4]
    ]
    dataset = [{**row, "labels": torch.ones(2)} for row in dataset]
    made.evaluate(dataset)
    average = torch.as_tensor(textbook(weights, DECAY))
    assert torch.allclose(model.seen[-1], average, rtol=0.02, atol=0.01)
    assert torch.equal(model.weights(), weights[-1])
    made.evaluate(dataset)
    assert torch.allclose(model.seen[-1], average, rtol=0.02, atol=0.01)
    assert model.layer.weight.dtype == torch.float32


def test_what_is_saved_during_an_evaluation_has_the_raw_weights(client: Client, run_name: str, tmp_path: Path) -> None:
    class Saving(transformers.TrainerCallback):  # type: ignore[misc]
        def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            made.save_model(str(tmp_path / f"saved-{state.global_step}"))
            after.append(model.weights())

    model, after = Regression(), list[Any]()
    trajectory = Trajectory(model)
    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY)
    made = trainer(tmp_path, model, [trajectory, callback, Saving()], max_steps=4, eval_strategy="steps", eval_steps=2)
    callback.evaluate_with_average(made)
    made.train()
    for step, seen in ((2, after[0]), (4, after[-1])):
        saved = load_file(tmp_path / f"saved-{step}" / "model.safetensors")
        assert torch.equal(saved["layer.weight"].double().flatten(), trajectory.weights[step][:12])
        assert close_to(seen, textbook(trajectory.weights[: step + 1], DECAY))


@pytest.mark.parametrize("on_failure", ["warn", "raise"])
def test_an_outage_ends_no_training_that_is_to_outlast_it(
    server: Server, run_name: str, tmp_path: Path, on_failure: Any
) -> None:
    class Cutting(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                proxy.refuse()

    model = Regression()
    trajectory = Trajectory(model)
    with CuttingProxy(server.target) as proxy:
        callback = ShadowkeepCallback(
            proxy.target, run=run_name, decay=DECAY, reconnect_timeout=1.0, on_failure=on_failure
        )
        callbacks = [trajectory, callback, Cutting()]
        made = trainer(tmp_path, model, callbacks, max_steps=3, eval_strategy="steps", eval_steps=3)
        callback.evaluate_with_average(made)
        if on_failure == "raise":
            with pytest.raises(ShadowkeepError):
                made.train()
            callback.abandon()
            return
        for evaluate in (made.train, made.evaluate):
            with pytest.warns(RuntimeWarning, match="the average cannot be read .* evaluated with the model's own"):
                evaluate()
            assert torch.equal(model.seen[-1], trajectory.weights[3])


def test_steps_that_are_trained_again_are_evaluated_with_their_own_average(
    client: Client, run_name: str, tmp_path: Path
) -> None:
    retain = Retention(1, 16)
    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY, retain=retain)
    evaluated: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 5}
    _, _, weights = train(tmp_path, callback, max_steps=6, **STEPWISE, **evaluated)
    again = ShadowkeepCallback(client, run=run_name, decay=DECAY, retain=retain)
    with pytest.warns(RuntimeWarning, match="committed step 6, the trainer comes back from step 4"):
        _, model, _ = train(tmp_path, again, str(tmp_path / "checkpoint-4"), max_steps=6, **STEPWISE, **evaluated)
    assert close_to(model.seen[0], textbook(weights[:6], DECAY))


def test_an_average_that_is_not_there_is_an_error_before_the_first_step(
    client: Client, run_name: str, tmp_path: Path
) -> None:
    model = Regression()
    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY, average="eam")
    with pytest.raises(NotFoundError, match=r"AVERAGE_NOT_FOUND: .* 'eam' .* 'ema'"):
        trainer(tmp_path, model, [callback], max_steps=1).train()


def test_a_checkpoint_does_not_meet_another_run_of_its_name(client: Client, run_name: str, tmp_path: Path) -> None:
    retain = Retention(1, 16)
    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY, retain=retain)
    made, model, weights = train(tmp_path, callback, max_steps=4, **STEPWISE)
    client.delete_run(run_name)
    other = ShadowkeepCallback(client, run=run_name, decay=DECAY, retain=retain)
    train(tmp_path / "other", other, max_steps=4)
    with pytest.warns(RuntimeWarning, match=f"step 4 of another run {run_name!r} than the service has"):
        made.evaluate()
    assert torch.equal(model.seen[-1], weights[-1])
    again = ShadowkeepCallback(client, run=run_name, decay=DECAY, retain=retain)
    with pytest.warns(RuntimeWarning, match=f"run {run_name!r} is another one than that of the checkpoint"):
        train(tmp_path, again, str(tmp_path / "checkpoint-4"), max_steps=6, **STEPWISE)
    assert again.run == f"{run_name}-2"
    assert client.get_run(run_name).committed_step == 4


def test_an_evaluation_after_the_training_is_as_the_last_one_in_it(
    client: Client, run_name: str, tmp_path: Path
) -> None:
    parts: tuple[dict[str, Any], ...] = (
        {"decay": DECAY, "policies": {"layer.bias": "IGNORE"}},
        {"averages": Average.ema("a", decay=DECAY, start="INITIAL", include=["layer.weight"])},
    )
    for number, part in enumerate(parts):
        callback = ShadowkeepCallback(client, run=f"{run_name}-{number}", **part)
        made, model, weights = train(tmp_path, callback, max_steps=2, eval_strategy="steps", eval_steps=2)
        inside = model.seen[-1]
        assert not torch.equal(inside, weights[-1])
        made.evaluate()
        assert torch.equal(model.seen[-1], inside)


def test_of_several_callbacks_one_evaluates(client: Client, run_name: str, tmp_path: Path) -> None:
    callbacks = [ShadowkeepCallback(client, run=f"{run_name}-{decay}", decay=decay) for decay in (0.5, 0.9)]
    made = trainer(tmp_path, Regression(), callbacks, max_steps=1)
    callbacks[0].evaluate_with_average(made)
    with pytest.raises(ValueError, match=f"the callback of run '{run_name}-0.5' uses its own"):
        callbacks[1].evaluate_with_average(made)
