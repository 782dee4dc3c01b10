"""Which run a training with Accelerate has, and which average its evaluations use."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the integrations are not tested")
accelerate: Any = pytest.importorskip("accelerate", reason="accelerate is not installed: its EMA is not tested")

from cutting_proxy import CuttingProxy  # noqa: E402
from integration_support import close_to  # noqa: E402
from support import Server  # noqa: E402
from test_integrations_accelerate import DECAY, make_model  # noqa: E402

from shadowkeep import Client, FailedPreconditionError, NotFoundError, Retention, ShadowkeepError  # noqa: E402
from shadowkeep.integrations.accelerate import AcceleratedEMA  # noqa: E402


class Loop:
    """A trainer that writes down its weights and its average after each step, and saves each step."""

    def __init__(self, client: Client | str, run_name: str, directory: Path, **options: Any) -> None:
        self.accelerator = accelerate.Accelerator(cpu=True)
        self.directory = directory
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.ema = AcceleratedEMA(self.accelerator, self.model, client, run=run_name, decay=DECAY, **options)
        self.weights: dict[int, Any] = {}
        self.averages: dict[int, Any] = {}

    def present(self) -> Any:
        return self.model.weight.detach().double().clone()

    def train(self, first: int, last: int) -> list[bool]:
        pushed = []
        for step in range(first, last + 1):
            before = self.averages.get(step - 1, self.present())
            self.accelerator.backward(self.model(torch.full((4, 6), 1.0 + step)).square().mean())
            self.optimizer.step()
            self.optimizer.zero_grad()
            pushed.append(self.ema.update())
            self.weights[step] = self.present()
            self.averages[step] = DECAY * before + (1 - DECAY) * self.weights[step]
            self.accelerator.save_state(str(self.directory / str(step)))
        return pushed

    def load(self, step: int) -> None:
        self.accelerator.load_state(str(self.directory / str(step)))


def numbers(client: Client, run: str) -> Any:
    return client.get_shadow(run).tensors["weight"]


def test_each_training_that_begins_has_a_run_of_its_own(client: Client, run_name: str, tmp_path: Path) -> None:
    for number, name in enumerate((run_name, f"{run_name}-2")):
        loop = Loop(client, run_name, tmp_path)
        with warnings.catch_warnings(record=True) as caught, loop.ema:
            warnings.simplefilter("always")
            loop.ema.register()
            assert loop.train(1, 3) == [True] * 3
        said = [str(w.message) for w in caught if "shadowkeep" in str(w.message)]
        assert [name in text for text in said] == [True] * number
        assert loop.ema.run == name
        assert close_to(numbers(client, name), loop.averages[3])
    explicit = Loop(client, run_name, tmp_path)
    with pytest.raises(FailedPreconditionError, match="RUN_HAS_COMMITS"):
        explicit.ema.register(0)
    explicit.ema.abandon()


def test_a_restored_training_goes_on_in_its_checkpoints_run(client: Client, run_name: str, tmp_path: Path) -> None:
    with Loop(client, run_name, tmp_path).ema as other:
        other.register()
        other.update()
    first = Loop(client, run_name, tmp_path)
    with first.ema:
        first.ema.register()
        first.train(1, 7)
    second = Loop(client, run_name, tmp_path)
    second.load(5)
    with second.ema:
        with pytest.warns(RuntimeWarning, match="committed step 7, the trainer comes back from step 5"):
            second.ema.register()
        assert second.ema.run == f"{run_name}-2"
        assert second.train(6, 9) == [False, False, True, True]
    run = client.get_run(second.ema.run)
    assert (run.committed_step, run.states[0].num_updates) == (9, 9)


@pytest.mark.parametrize("is_retained", [True, False])
def test_a_loaded_checkpoint_is_evaluated_with_its_own_average(
    client: Client, run_name: str, tmp_path: Path, is_retained: bool
) -> None:
    retain = Retention(1, 16) if is_retained else None
    loop = Loop(client, run_name, tmp_path, retain=retain)
    with loop.ema:
        loop.ema.register()
        loop.train(1, 6)
    other = Loop(client, run_name, tmp_path, retain=retain)
    for step in (2, 4):
        other.load(step)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with other.ema.average_parameters():
                seen = other.present()
        assert close_to(seen, loop.averages[step] if is_retained else loop.weights[step])
        assert close_to(other.present(), loop.weights[step])
        said = [str(w.message) for w in caught if "shadowkeep" in str(w.message)]
        assert [f"step {step} of run {run_name!r}" in text for text in said] == ([] if is_retained else [True])
        if not is_retained:
            with pytest.raises(NotFoundError, match="VERSION_NOT_FOUND"):
                other.ema.apply_shadow()
            assert not other.ema.applied
    other.load(6)
    with other.ema.average_parameters():
        assert close_to(other.present(), loop.averages[6])


def test_a_training_that_goes_back_pushes_no_step_twice(client: Client, run_name: str, tmp_path: Path) -> None:
    loop = Loop(client, run_name, tmp_path)
    with loop.ema:
        loop.ema.register()
        loop.train(1, 6)
        with pytest.warns(RuntimeWarning, match="gone back to step 4"):
            loop.load(4)
        assert loop.train(5, 8) == [False, False, True, True]
    assert client.get_run(run_name).states[0].num_updates == 8


def test_a_checkpoint_without_a_place(client: Client, run_name: str, tmp_path: Path) -> None:
    loop = Loop(client, run_name, tmp_path)
    loop.accelerator.save_state(str(tmp_path / "0"))
    loop.load(0)
    with pytest.warns(RuntimeWarning, match="does not say of which step"), loop.ema.average_parameters():
        assert close_to(loop.present(), make_model().weight.detach())
    with loop.ema:
        with pytest.warns(RuntimeWarning, match="does not say which run"):
            loop.ema.register()
        assert loop.train(1, 1) == [True]


def test_before_the_training_the_models_own_weights_are_evaluated(
    client: Client, run_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop(client, run_name, tmp_path)
    with caplog.at_level(logging.INFO, "shadowkeep"), loop.ema.average_parameters():
        assert close_to(loop.present(), make_model().weight.detach())
    assert any("register() was not called yet" in message for message in caplog.messages)
    loop.ema.abandon()
    assert not loop.accelerator._save_model_state_pre_hook


def test_a_checkpoint_is_refused_while_an_average_is_applied(client: Client, run_name: str, tmp_path: Path) -> None:
    loop = Loop(client, run_name, tmp_path)
    with loop.ema:
        loop.ema.register()
        loop.train(1, 3)
        with loop.ema.average_parameters():
            with pytest.raises(RuntimeError, match="while an average is applied"):
                loop.accelerator.save_state(str(tmp_path / "inside"))
            with loop.ema.raw_parameters():
                loop.accelerator.save_state(str(tmp_path / "raw"))
            assert close_to(loop.present(), loop.averages[3])
        loop.train(4, 4)
        loop.accelerator.load_state(str(tmp_path / "raw"))
        assert torch.equal(loop.present(), loop.weights[3])


@pytest.mark.parametrize("on_failure", ["warn", "raise"])
def test_an_outage_ends_no_training_that_is_to_outlast_it(
    server: Server, run_name: str, tmp_path: Path, on_failure: Any
) -> None:
    with CuttingProxy(server.target) as proxy:
        loop = Loop(proxy.target, run_name, tmp_path, reconnect_timeout=1.0, on_failure=on_failure)
        loop.ema.register()
        loop.train(1, 3)
        proxy.refuse()
        loop.ema.update()
        if on_failure == "raise":
            with pytest.raises(ShadowkeepError), loop.ema.average_parameters(timeout=30.0):
                pass
        else:
            expected = pytest.warns(RuntimeWarning, match="cannot be read .* evaluated with the model's own weights")
            with expected, loop.ema.average_parameters():
                assert torch.equal(loop.present(), loop.weights[3])
        assert not loop.ema.applied
        loop.ema.abandon()


@pytest.mark.parametrize("is_retained", [True, False])
def test_steps_that_are_trained_again_are_evaluated_with_their_own_average(
    client: Client, run_name: str, tmp_path: Path, is_retained: bool
) -> None:
    loop = Loop(client, run_name, tmp_path, retain=Retention(1, 16) if is_retained else None)
    with loop.ema:
        loop.ema.register()
        loop.train(1, 6)
        averages = dict(loop.averages)
        with pytest.warns(RuntimeWarning, match="gone back to step 3"):
            loop.load(3)
        loop.train(4, 4)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with loop.ema.average_parameters():
                assert close_to(loop.present(), averages[4] if is_retained else loop.weights[4])
        said = [str(w.message) for w in caught if "does not hold the average of that step" in str(w.message)]
        assert len(said) == (0 if is_retained else 1)
        loop.train(5, 7)
        with loop.ema.average_parameters():
            assert not torch.equal(loop.present(), loop.weights[7])


def test_a_checkpoint_does_not_meet_another_run_of_its_name(client: Client, run_name: str, tmp_path: Path) -> None:
    retain = Retention(1, 16)
    first = Loop(client, run_name, tmp_path, retain=retain)
    with first.ema:
        first.ema.register()
        first.train(1, 3)
    client.delete_run(run_name)
    other = Loop(client, run_name, tmp_path / "other", retain=retain)
    with other.ema:
        other.ema.register()
        other.train(1, 6)
        place = f"shadowkeep-{run_name}.json"
        (tmp_path / "other" / "3" / place).write_text((tmp_path / "3" / place).read_text())
        with pytest.warns(RuntimeWarning, match="weights of another run"):
            other.load(3)
    again = Loop(client, run_name, tmp_path, retain=retain)
    again.load(3)
    own = pytest.warns(RuntimeWarning, match=f"step 3 of another run {run_name!r} than the service has")
    with own, again.ema.average_parameters():
        assert torch.equal(again.present(), first.weights[3])
    with again.ema:
        with pytest.warns(RuntimeWarning, match=f"run {run_name!r} is another one than that of the checkpoint"):
            again.ema.register()
        assert again.ema.run == f"{run_name}-2"
        assert again.train(4, 4) == [True]
    assert client.get_run(run_name).committed_step == 6


def test_a_checkpoint_is_evaluated_without_what_the_run_ignores(client: Client, run_name: str, tmp_path: Path) -> None:
    part: dict[str, Any] = {"policies": {"bias": "IGNORE"}, "retain": Retention(1, 16)}
    loop = Loop(client, run_name, tmp_path, **part)
    with loop.ema:
        loop.ema.register()
        loop.train(1, 3)
    other = Loop(client, run_name, tmp_path, **part)
    other.load(3)
    with other.ema.average_parameters():
        assert close_to(other.present(), loop.averages[3])
        assert torch.equal(other.model.bias, loop.model.bias)
