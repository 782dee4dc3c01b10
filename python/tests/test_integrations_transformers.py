"""`shadowkeep.integrations.transformers` in the real `Trainer`, on the real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the integrations are not tested")
transformers: Any = pytest.importorskip(
    "transformers", reason="transformers is not installed: its callback is not tested"
)
pytest.importorskip("accelerate", reason="accelerate is not installed, Trainer needs it: its callback is not tested")

from integration_support import close_to, pulled, textbook  # noqa: E402

from shadowkeep import Client  # noqa: E402
from shadowkeep.integrations.transformers import ShadowkeepCallback  # noqa: E402

SEED = 9
DECAY = 0.8


class Regression(torch.nn.Module):  # type: ignore[misc]
    """A model as `Trainer` wants it; evaluations write down the weights that they see."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.layer = torch.nn.Linear(6, 2)
        self.seen: list[Any] = []

    def weights(self) -> Any:
        return torch.nn.utils.parameters_to_vector(self.layer.parameters()).detach().double().clone()

    def forward(self, x: Any, labels: Any = None) -> dict[str, Any]:
        if not self.training:
            self.seen.append(self.weights())
        logits = self.layer(x)
        return {"loss": (logits - labels).square().mean(), "logits": logits}


class Trajectory(transformers.TrainerCallback):  # type: ignore[misc]
    """The weights after each optimizer step."""

    def __init__(self, model: Regression) -> None:
        self.model = model
        self.weights = [model.weights()]

    def on_step_end(self, *_: Any, **kwargs: Any) -> None:
        assert kwargs["optimizer"].step_was_skipped is False
        self.weights.append(self.model.weights())


def rows(count: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(SEED)
    return [{"x": torch.randn(6, generator=generator), "labels": torch.ones(2)} for _ in range(count)]


def trainer(directory: Path, model: Regression, callbacks: list[Any], **options: Any) -> Any:
    quiet = {"report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
    args = transformers.TrainingArguments(
        str(directory), use_cpu=True, per_device_train_batch_size=4, learning_rate=0.05, **(quiet | options)
    )
    evaluated = {"one": rows(4), "two": rows(8)}
    return transformers.Trainer(model, args, train_dataset=rows(48), eval_dataset=evaluated, callbacks=callbacks)


def test_updates_are_optimizer_steps_and_numbers_the_textbooks(client: Client, run_name: str, tmp_path: Path) -> None:
    model = Regression()
    trajectory = Trajectory(model)
    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY)
    trainer(tmp_path, model, [trajectory, callback], num_train_epochs=2, gradient_accumulation_steps=3).train()
    assert len(trajectory.weights) == 1 + 8
    assert client.get_run(run_name).states[0].num_updates == 8
    assert client.get_run(run_name).committed_step == 8
    assert close_to(pulled(client, run_name), textbook(trajectory.weights, DECAY))
    assert callback.ema is None


@pytest.mark.parametrize("swap", [True, False])
def test_evaluation_sees_the_average_by_choice(client: Client, run_name: str, tmp_path: Path, swap: bool) -> None:
    model = Regression()
    trajectory = Trajectory(model)
    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY)
    trained = trainer(tmp_path, model, [callback, trajectory], num_train_epochs=1, eval_strategy="steps", eval_steps=6)
    if swap:
        callback.evaluate_with_average(trained)
    trained.train()
    weights = trajectory.weights
    middle, end = (textbook(weights[:7], DECAY), textbook(weights, DECAY)) if swap else (weights[6], weights[12])
    assert [close_to(seen, middle) for seen in model.seen[:2]] == [True, True]
    assert [close_to(seen, end) for seen in model.seen[2:]] == [True, True]
    assert torch.equal(model.weights(), weights[-1])
    model.seen.clear()
    trained.evaluate()
    trained.predict(rows(4))
    assert len(model.seen) == 3
    assert all(close_to(seen, end) for seen in model.seen)
    assert torch.equal(model.weights(), weights[-1])


def test_a_resumed_training_goes_on(client: Client, run_name: str, tmp_path: Path) -> None:
    model = Regression()
    trajectory = Trajectory(model)
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 5, "lr_scheduler_type": "constant"}
    trainer(
        tmp_path, model, [trajectory, ShadowkeepCallback(client, run=run_name, decay=DECAY)], max_steps=5, **options
    ).train()
    resumed = Regression()
    later = Trajectory(resumed)
    trainer(
        tmp_path, resumed, [later, ShadowkeepCallback(client, run=run_name, decay=DECAY)], max_steps=10, **options
    ).train(resume_from_checkpoint=True)
    assert client.get_run(run_name).states[0].num_updates == 10
    assert close_to(pulled(client, run_name), textbook(trajectory.weights + later.weights[1:], DECAY))


def test_a_step_that_the_optimizer_skipped_is_not_folded(client: Client, run_name: str) -> None:
    class Optimizer:
        step_was_skipped = False

    model, optimizer = Regression(), Optimizer()
    args, control = transformers.TrainingArguments(use_cpu=True), transformers.TrainerControl()
    state = transformers.TrainerState()
    callback = ShadowkeepCallback(client, run=run_name, decay=DECAY)
    callback.on_train_begin(args, state, control, model=model)
    for optimizer.step_was_skipped in (False, True, False):
        state.global_step += 1
        callback.on_step_end(args, state, control, model=model, optimizer=optimizer)
    callback.on_train_end(args, state, control, model=model)
    assert client.get_run(run_name).states[0].num_updates == 2
