"""What `EMA.register(step)` makes of a run that stands at another step than the trainer."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the EMA is not tested")

import shadowkeep  # noqa: E402
from shadowkeep import Client  # noqa: E402
from shadowkeep.torch import EMA, World  # noqa: E402
from shadowkeep.torch.background import BackgroundSender  # noqa: E402

DECAY = 0.9
RESUMES = ("step", "continue", "rewind", "refuse")


def make_model(value: float = 0.0) -> Any:
    model = torch.nn.Linear(1, 1, bias=False)
    fill(model, value)
    return model


def fill(model: Any, value: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def train(ema: EMA, first: int, last: int) -> list[bool]:
    """The weights after step n are n; the steps are counted by `update()`."""
    pushed = []
    for step in range(first, last + 1):
        fill(ema.model, float(step))
        pushed.append(ema.update())
    return pushed


def average_of(steps: range) -> float:
    average = 0.0
    for step in steps:
        average = DECAY * average + (1 - DECAY) * step
    return average


def trained(client: Client, run_name: str, last: int, **options: Any) -> None:
    with EMA(make_model(), client, run=run_name, decay=DECAY, **options) as ema:
        ema.register()
        train(ema, 1, last)


def register_refused(client: Client, run_name: str, step: int | None, **options: Any) -> shadowkeep.ShadowkeepError:
    ema = EMA(make_model(100.0), client, run=run_name, decay=DECAY, **options)
    with pytest.raises(shadowkeep.FailedPreconditionError) as caught:
        ema.register(step)
    ema.abandon()
    return caught.value


@pytest.mark.parametrize("step", [None, 0])
@pytest.mark.parametrize("resume", ["step", "refuse"])
def test_a_training_that_begins_does_not_go_on_in_another_ones_run(
    client: Client, run_name: str, step: int | None, resume: Any
) -> None:
    with EMA(make_model(), client, run=run_name, decay=DECAY) as first:
        first.register()
        train(first, 1, 3)
        first.flush()
        error = register_refused(client, run_name, step, resume=resume)
        assert error.reason == "RUN_HAS_COMMITS"
        assert error.metadata["committedStep"] == "3"
        for choice in ("run of its own", f"client.delete_run('{run_name}')", f"delete {run_name}", 'resume="continue"'):
            assert choice in error.message
        assert error.__suppress_context__
        train(first, 4, 4)  # The first one was not fenced by it.
    client.delete_run(run_name)
    trained(client, run_name, 1)


def test_continue_goes_on_from_the_committed_step_when_the_trainer_does_not_count(
    client: Client, run_name: str
) -> None:
    trained(client, run_name, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with EMA(make_model(), client, run=run_name, decay=DECAY, resume="continue") as ema:
            ema.register()
            assert ema.step == 3
            assert train(ema, 4, 5) == [True, True]
    shadow = client.get_shadow(run_name)
    assert (shadow.step, shadow.num_updates) == (5, 5)
    assert float(shadow.tensors["weight"].item()) == pytest.approx(average_of(range(1, 6)))


@pytest.mark.parametrize(("resume", "restored"), [("step", 40), ("step", 1), ("continue", 40), ("continue", 0)])
def test_steps_that_are_committed_are_not_pushed_again(
    client: Client, run_name: str, resume: Any, restored: int
) -> None:
    trained(client, run_name, 47)
    with EMA(make_model(restored), client, run=run_name, decay=DECAY, resume=resume) as ema:
        with pytest.warns(
            RuntimeWarning, match=f"has committed step 47, the trainer comes back from step {restored}: "
        ):
            ema.register(restored)
        assert ema.step == restored
        assert train(ema, restored + 1, 60) == [step > 47 for step in range(restored + 1, 61)]
    shadow = client.get_shadow(run_name)
    assert (shadow.step, shadow.num_updates) == (60, 60)
    assert float(shadow.tensors["weight"].item()) == pytest.approx(average_of(range(1, 61)))


def test_several_processes_agree(client: Client, run_name: str, server: Any) -> None:
    def life(restored: int, last: int, incarnation: str) -> None:
        failures: list[BaseException] = []

        def work(rank: int) -> None:
            try:
                model = torch.nn.Linear(2, 2, bias=False)
                fill(model, float(restored))
                world = World(rank, 2, incarnation)
                with EMA(model, server.target, run=run_name, decay=DECAY, world=world) as ema:
                    ema.register(restored)
                    train(ema, restored + 1, last)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    life(0, 9, "first")
    with pytest.warns(RuntimeWarning, match="has committed step 9, the trainer comes back from step 5") as caught:
        life(5, 12, "second")
    assert len([w for w in caught if "committed step 9" in str(w.message)]) == 1
    shadow = client.get_shadow(run_name)
    assert (shadow.step, shadow.num_updates) == (12, 12)
    assert shadow.tensors["weight"].ravel() == pytest.approx([average_of(range(1, 13))] * 4)
    with pytest.raises(shadowkeep.FailedPreconditionError, match="RUN_HAS_COMMITS"):
        life(0, 1, "third")


@pytest.mark.parametrize("resume", RESUMES)
def test_a_service_that_is_behind_is_never_silent(client: Client, run_name: str, resume: Any) -> None:
    trained(client, run_name, 5, retain=shadowkeep.Retention(1, 5))
    both = "committed step 5, the trainer comes back from 1000"
    generation = client.get_run(run_name).generation
    if resume != "continue":
        error = register_refused(client, run_name, 1_000, resume=resume)
        assert error.reason == "RUN_BEHIND"
        assert both in error.message
        assert 'resume="continue"' in error.message
        assert client.get_run(run_name).generation == generation, "nobody was fenced"
        return
    with EMA(make_model(), client, run=run_name, decay=DECAY, resume=resume) as ema:
        with pytest.warns(RuntimeWarning, match="from step 5, the trainer from step 1000: the service is behind"):
            ema.register(1_000)
        assert ema.update()
    assert client.get_run(run_name).committed_step == 1_001


@pytest.mark.parametrize("resume", RESUMES)
def test_a_restored_trainer_without_a_run_begins_one_and_says_so(client: Client, run_name: str, resume: Any) -> None:
    if resume == "refuse":
        error = register_refused(client, run_name, 70, resume=resume)
        assert error.reason == "RUN_BEHIND"
        assert "has no commits, the trainer comes from step 70" in error.message
        with pytest.raises(shadowkeep.NotFoundError):
            client.get_run(run_name)
        return
    with EMA(make_model(3.0), client, run=run_name, decay=DECAY, resume=resume) as ema:
        with pytest.warns(RuntimeWarning, match="has no commits, the trainer comes from step 70"):
            ema.register(70)
        assert ema.update()
    shadow = client.get_shadow(run_name)
    assert (shadow.step, float(shadow.tensors["weight"].item())) == (71, 3.0)


def test_a_rewind_that_goes_back_further_says_so(client: Client, run_name: str) -> None:
    retain = shadowkeep.Retention(4, 2)
    trained(client, run_name, 11, retain=retain)
    with EMA(make_model(), client, run=run_name, decay=DECAY, resume="rewind", retain=retain) as ema:
        with pytest.warns(RuntimeWarning, match="goes on from step 8, the trainer from step 10: no later version"):
            ema.register(10)
        assert ema.update()
    with pytest.raises(shadowkeep.NotFoundError, match="VERSION_NOT_FOUND"):
        register_refused(client, run_name, 0, resume="rewind")


@pytest.mark.parametrize("frozen", [False, True])
def test_a_beginning_that_is_registered_again_must_be_the_same(client: Client, run_name: str, frozen: bool) -> None:
    def begun(value: float) -> EMA:
        model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
        fill(model, value)
        if frozen:
            model[0].requires_grad_(False)
        return EMA(model, client, run=run_name, decay=DECAY)

    with begun(1.0) as first:
        first.register()
    with warnings.catch_warnings(), begun(1.0) as again:
        warnings.simplefilter("error")
        again.register()
        again.flush()
    other = begun(2.0)
    with pytest.raises((shadowkeep.FailedPreconditionError, RuntimeError), match=r"RUN_HAS_COMMITS|frozen tensor"):
        other.register()
    assert client.get_run(run_name).committed_step == 0
    with begun(1.0) as third:
        third.register()
        assert third.update()


def test_a_step_that_the_optimizer_skipped_before_the_checkpoint_is_no_gap(client: Client, run_name: str) -> None:
    with EMA(make_model(), client, run=run_name, decay=DECAY) as ema:
        ema.register()
        train(ema, 1, 3)
        ema.update(skipped=True)
    with warnings.catch_warnings(), EMA(make_model(), client, run=run_name, decay=DECAY) as resumed:
        warnings.simplefilter("error")
        resumed.register(4)
        assert resumed.update()


def resumes_without_a_word(client: Client, run_name: str, model: Any, step: int) -> None:
    with warnings.catch_warnings(), EMA(model, client, run=run_name, decay=DECAY) as resumed:
        warnings.simplefilter("error")
        resumed.register(step)
        assert resumed.update()
        assert resumed.step == step + 1


@pytest.mark.parametrize("closes", [False, True], ids=["flushed", "closed"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_step_that_was_rejected_before_the_checkpoint_is_no_gap(client: Client, run_name: str, closes: bool) -> None:
    ema = EMA(make_model(), client, run=run_name, decay=DECAY)
    ema.register()
    train(ema, 1, 3)
    fill(ema.model, float("nan"))
    ema.update()
    if not closes:
        ema.flush()
        ema.abandon()
    ema.close()
    assert (ema.step, ema.rejected_steps, ema.skipped_steps) == (4, 1, 0)
    assert client.get_run(run_name).states[0].num_updates == 3
    resumes_without_a_word(client, run_name, make_model(), ema.step)


def test_a_step_that_was_rejected_by_several_processes_is_no_gap(run_name: str, server: Any) -> None:
    def life(restored: int, values: list[float], incarnation: str) -> None:
        def work(rank: int) -> None:
            model = make_model()
            with EMA(model, server.target, run=run_name, decay=DECAY, world=World(rank, 2, incarnation)) as ema:
                ema.register(restored)
                for value in values:
                    fill(model, value)
                    ema.update()

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, range(2)))

    with pytest.warns(RuntimeWarning, match="step 2 was rejected"):
        life(0, [1.0, float("nan")], "first")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        life(2, [3.0], "second")


def test_a_step_that_was_dropped_before_the_checkpoint_is_no_gap(client: Client, run_name: str) -> None:
    model = torch.nn.Linear(1_000, 4_000)
    with EMA(model, client, run=run_name, decay=DECAY, on_busy="skip") as ema:
        ema.register()
        for _ in range(1_000):
            if not ema.update():
                break
        assert ema.dropped_steps == 1
    resumes_without_a_word(client, run_name, model, ema.step)


def test_a_step_that_was_refused_is_not_counted(client: Client, run_name: str, monkeypatch: Any) -> None:
    model = make_model()
    with EMA(model, client, run=run_name, decay=DECAY) as ema:
        ema.register()
        train(ema, 1, 2)
        model.extra = torch.nn.Parameter(torch.zeros(1))
        with pytest.raises(RuntimeError, match="extra"):
            ema.update()
        del model.extra
        assert ema.step == 2
        start = BackgroundSender.start

        def interrupted(sender: BackgroundSender, *args: Any) -> None:
            start(sender, *args)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(BackgroundSender, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                ema.update()
        # It is on its way.
        assert ema.step == 3
        with pytest.raises(ValueError, match="larger than the last one, 3"):
            ema.update(3)
        assert ema.update()
    resumes_without_a_word(client, run_name, make_model(), 4)
