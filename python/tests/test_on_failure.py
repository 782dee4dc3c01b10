"""A service that stays away, comes back, comes back behind, or without the run, while a training goes on."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cutting_proxy import CuttingProxy, free_port
from support import Server
from writers_support import in_threads, wait_for

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

import shadowkeep  # noqa: E402
from shadowkeep import Client, step_sender  # noqa: E402
from shadowkeep.torch import EMA, World  # noqa: E402
from shadowkeep.torch.losses import Losses  # noqa: E402

WAIT_SECONDS_MAX = 60.0
RECONNECT_SECONDS = 0.3


def make_ema(target: str, run: str, **options: Any) -> EMA:
    return EMA(torch.nn.Linear(8, 8), target, run=run, decay=0.5, reconnect_timeout=RECONNECT_SECONDS, **options)


def update_until(ema: EMA, done: Callable[[bool], bool], *, skipped: bool = False) -> list[int]:
    """Train on until `done`, as fast as the average lets; return the steps that were pushed."""
    pushed = []
    until = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        went = ema.update(skipped=skipped)
        if went:
            pushed.append(ema.step)
        if done(went):
            return pushed
        assert time.monotonic() < until
        time.sleep(0.01)


def is_busy(ema: EMA) -> bool:
    return ema._writer is not None and ema._writer.busy


def texts(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(warning.message) for warning in caught if issubclass(warning.category, RuntimeWarning)]


def test_a_training_goes_on_and_its_average_goes_on_later(client: Client, proxy: CuttingProxy, run_name: str) -> None:
    ema = make_ema(proxy.target, run_name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ema.register()
        pushed = update_until(ema, lambda _: ema.step == 3)
        proxy.refuse()
        pushed += update_until(ema, lambda _: ema.lost_steps == 5)
        with pytest.raises(shadowkeep.UnavailableError):
            ema.flush()
        with pytest.raises(shadowkeep.UnavailableError):
            ema.apply_shadow()
        assert len(texts(caught)) == 1
        assert "was not sent and steps are lost until the service is back" in texts(caught)[0]
        proxy.refuse(False)
        pushed += update_until(ema, lambda went: went)
        ema.flush()
        lost = ema.lost_steps
        assert len(pushed) + lost == ema.step
        assert client.get_shadow(run_name).num_updates == len(pushed)
        assert client.get_shadow(run_name).step == ema.step
        ema.close()
        assert ema.lost_steps == lost
    assert len(texts(caught)) == 2
    assert f"{lost} steps are in no average: " in texts(caught)[1]


def test_each_outage_is_said(client: Client, proxy: CuttingProxy, run_name: str) -> None:
    ema = make_ema(proxy.target, run_name)
    ema.register()
    for outage in (1, 2):
        lost = ema.lost_steps + 2
        proxy.refuse()
        with pytest.warns(RuntimeWarning, match="steps are lost"):
            update_until(ema, lambda _: ema.lost_steps == lost)  # noqa: B023
        proxy.refuse(False)
        update_until(ema, lambda went: went)
        ema.flush()
        assert client.get_shadow(run_name).num_updates == ema.step - ema.lost_steps, outage
    with pytest.warns(RuntimeWarning, match="steps are in no average"):
        ema.close()


def test_a_training_that_ends_during_an_outage(client: Client, proxy: CuttingProxy, run_name: str) -> None:
    """The step that is tried again counts as lost, too, when nobody tries any more."""
    ema = make_ema(proxy.target, run_name)
    ema.register()
    proxy.refuse()
    with pytest.warns(RuntimeWarning, match="steps are lost"):
        update_until(ema, lambda _: ema.lost_steps == 2)
    with pytest.warns(RuntimeWarning, match=rf"{ema.step} steps are in no average: 1 to {ema.step}$"):
        ema.close()
    assert ema.lost_steps == ema.step
    assert client.get_run(run_name).committed_step == 0


def test_skipped_steps_do_not_hold_the_training_up(proxy: CuttingProxy, run_name: str) -> None:
    ema = make_ema(proxy.target, run_name)
    ema.register()
    proxy.refuse()
    with pytest.warns(RuntimeWarning, match="steps are lost"):
        update_until(ema, lambda _: ema.lost_steps == 2, skipped=True)
    with pytest.warns(RuntimeWarning, match="steps are in no average"):
        ema.close()


def test_raise_ends_the_training(proxy: CuttingProxy, run_name: str) -> None:
    ema = make_ema(proxy.target, run_name, on_failure="raise")
    ema.register()
    proxy.refuse()
    with pytest.raises(shadowkeep.UnavailableError):
        update_until(ema, lambda _: False)
    assert ema.lost_steps == 0
    ema.abandon()


@pytest.mark.parametrize("on_failure", ["warn", "raise"])
def test_register_raises_whatever_was_chosen(run_name: str, on_failure: Any) -> None:
    with CuttingProxy(f"127.0.0.1:{free_port()}") as nowhere:
        ema = make_ema(nowhere.target, run_name, on_failure=on_failure)
        with pytest.raises(shadowkeep.UnavailableError):
            ema.register()
    with pytest.raises(ValueError, match="on_failure must be one of warn, raise, got 'ignore'"):
        make_ema("127.0.0.1:1", run_name, on_failure="ignore")


@pytest.mark.parametrize("on_failure", ["warn", "raise"])
def test_a_newer_life_of_the_training_is_an_error(client: Client, run_name: str, on_failure: Any) -> None:
    old = make_ema(client.target, run_name, on_failure=on_failure)
    old.register()
    old.update()
    old.flush()
    new = make_ema(client.target, run_name, resume="continue")
    new.register()
    with pytest.raises(shadowkeep.AbortedError):
        update_until(old, lambda _: False)
    old.abandon()
    new.update()
    new.close()


def restart(service: Server, proxy: CuttingProxy, data_dir: str) -> Server:
    service.kill()
    proxy.refuse()
    again = Server(data_dir=data_dir)
    proxy.upstream = again.target
    return again


def test_a_service_that_comes_back_without_the_run(run_name: str) -> None:
    service = Server()
    with CuttingProxy(service.target) as proxy:
        ema = make_ema(proxy.target, run_name)
        ema.register()
        update_until(ema, lambda _: ema.step == 3)
        ema.flush()
        with restart(service, proxy, "none"):
            with pytest.warns(RuntimeWarning, match="steps are lost until"):
                update_until(ema, lambda _: ema.lost_steps == 1)
            proxy.refuse(False)
            with pytest.warns(RuntimeWarning, match="any more: RUN_NOT_FOUND.*3 updates .*gone, too. To go on"):
                update_until(ema, lambda _: ema._writer is not None and ema._writer._losses._end_is_known)  # type: ignore[union-attr]
            with pytest.raises(shadowkeep.ShadowkeepError):
                ema.flush()
            with pytest.warns(RuntimeWarning, match=rf"{ema.step} steps are in no average: 1 to {ema.step}$"):
                ema.close()


def test_a_service_that_comes_back_behind(run_name: str, tmp_path: Path) -> None:
    service = Server(data_dir=str(tmp_path))
    with CuttingProxy(service.target) as proxy:
        ema = make_ema(proxy.target, run_name)
        ema.register()
        update_until(ema, lambda _: ema.step == 2)
        ema.flush()
        service.stop()
        proxy.refuse()
        service = Server(data_dir=str(tmp_path))
        proxy.upstream = service.target
        proxy.refuse(False)
        update_until(ema, lambda went: went and ema.step >= 6)
        ema.flush()
        lost = ema.lost_steps
        with restart(service, proxy, str(tmp_path)) as again:
            proxy.refuse(False)
            with pytest.warns(RuntimeWarning, match="came back at step 2, it had committed step"):
                update_until(ema, lambda went: went and ema.lost_steps > lost)
            ema.flush()
            with shadowkeep.connect(again.target) as client:
                shadow = client.get_shadow(run_name)
            assert (shadow.step, shadow.num_updates) == (ema.step, ema.step - ema.lost_steps)
            with pytest.warns(RuntimeWarning, match="steps are in no average"):
                ema.close()


def test_the_count_of_what_was_lost() -> None:
    losses = Losses("r")
    failure = shadowkeep.UnavailableError("away")
    for step in (1, 2, 3):
        losses.acknowledge(step, skipped=step == 2)
    for step in (4, 5, 5, 9):
        losses.add(step, failure, final=False)
    losses.went_back(3, 1)
    assert losses.count == 4
    assert losses.summary() == "run 'r': 4 steps are in no average: 3 to 5, 9"
    with pytest.warns(RuntimeWarning) as caught:
        losses.tell()
    assert len(caught) == 2
    assert Losses("r").summary() is None
    for step in range(20, 60, 2):
        losses.add(step, failure, final=True)
    summary = losses.summary()
    assert summary is not None
    assert summary.endswith(", …")


def test_an_outage_of_one_process_is_one_of_all(
    server: Server, client: Client, proxy: CuttingProxy, run_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits longer than the timeout, they go on together, and each step is counted once."""
    monkeypatch.setattr(step_sender, "PEERS_SECONDS_MIN", RECONNECT_SECONDS)
    targets = [server.target, proxy.target]
    pair = [make_ema(target, run_name, world=World(rank, 2, "one")) for rank, target in enumerate(targets)]
    in_threads([ema.register for ema in pair])

    def train(done: Callable[[], bool]) -> None:
        until = time.monotonic() + WAIT_SECONDS_MAX
        while not done():
            # As a collective does, each step begins when all have ended the one before.
            in_threads([ema.update for ema in pair])
            assert time.monotonic() < until
            time.sleep(0.2)

    train(lambda: pair[0].step == 3)
    in_threads([ema.flush for ema in pair])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        proxy.refuse()
        train(lambda: all(ema.lost_steps >= 3 for ema in pair))
        assert sum("has waited for other processes for" in text for text in texts(caught)) == 1
        proxy.refuse(False)
        wait_for(lambda: [is_busy(ema) for ema in pair], lambda busy: not any(busy))
        last = pair[0].step
        train(lambda: pair[0].step == last + 3)
        in_threads([ema.flush for ema in pair])
        shadow = client.get_shadow(run_name)
        assert shadow.step == last + 3
        for ema in pair:
            assert shadow.num_updates == ema.step - ema.lost_steps - ema.dropped_steps
        in_threads([ema.close for ema in pair])


def pair_of(targets: list[str], run: str) -> list[EMA]:
    pair = [make_ema(target, run, world=World(rank, 2, "one")) for rank, target in enumerate(targets)]
    for ema in pair:
        torch.nn.init.zeros_(ema.model.weight)
        torch.nn.init.zeros_(ema.model.bias)
    in_threads([ema.register for ema in pair])
    return pair


def update_to(ema: EMA, step: int) -> bool:
    """Push weights that are all the step's number."""
    with torch.no_grad():
        for parameter in ema.model.parameters():
            parameter.fill_(step)
    assert ema.step == step - 1
    return ema.update()


def check_average(client: Client, run: str, steps: list[int]) -> None:
    expected = 0.0
    for step in steps:
        expected = 0.5 * expected + 0.5 * step
    shadow = client.get_shadow(run)
    assert (shadow.step, shadow.num_updates) == (steps[-1], len(steps))
    for tensor in shadow.tensors.values():
        assert (tensor == expected).all()


@pytest.mark.parametrize("first", [0, 1], ids=["further on", "less far"])
def test_processes_that_come_back_at_different_steps(
    server: Server, client: Client, run_name: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one of them has lost is dropped for both, whoever comes first; both go on."""
    monkeypatch.setattr(step_sender, "PEERS_SECONDS_MIN", WAIT_SECONDS_MAX)
    with CuttingProxy(server.target) as proxy, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pair = pair_of([proxy.target, proxy.target], run_name)
        for step in (1, 2, 3):
            assert [update_to(ema, step) for ema in pair] == [True, True]
        in_threads([ema.flush for ema in pair])
        proxy.refuse()
        assert [update_to(ema, 4) for ema in pair] == [True, True]
        for step in (5, 6):
            assert [update_to(ema, step) for ema in pair] == [False, False]
        assert not update_to(pair[0], 7)
        proxy.refuse(False)
        wait_for(lambda: [is_busy(ema) for ema in pair], lambda busy: not any(busy))
        assert update_to(pair[first], 8 - first)
        wait_for(lambda: client.get_run(run_name).writer_states[first].step, lambda whole: whole == 8 - first)
        assert update_to(pair[1 - first], 7 + first)
        assert update_to(pair[1], 8)
        assert [update_to(ema, 9) for ema in pair] == [True, True]
        in_threads([ema.flush for ema in pair])
        check_average(client, run_name, [1, 2, 3, 4, 8, 9])
        assert [(ema.lost_steps, ema.dropped_steps) for ema in pair] == [(3, 0), (2, 1)]
        in_threads([ema.close for ema in pair])
    said = texts(caught)
    assert sum("step 7 was dropped: writer 0 has lost it" in text for text in said) == 1
    assert sum("3 steps are in no average: 5 to 7" in text for text in said) == 1


def test_processes_that_a_crashed_service_has_told_different_things(run_name: str, tmp_path: Path) -> None:
    """Of a step that is gone one has heard that it was committed and the other one has not."""
    service = Server(data_dir=str(tmp_path))
    with CuttingProxy(service.target) as heard, CuttingProxy(service.target) as deaf:
        pair = pair_of([heard.target, deaf.target], run_name)
        assert [update_to(ema, 1) for ema in pair] == [True, True]
        in_threads([ema.flush for ema in pair])
        service.stop()
        for proxy in (heard, deaf):
            proxy.refuse()
        service = Server(data_dir=str(tmp_path))
        for proxy in (heard, deaf):
            proxy.upstream = service.target
            proxy.refuse(False)
        assert [update_to(ema, 2) for ema in pair] == [True, True]
        # A service that took longer to start is still an outage for a while.
        wait_for(lambda: [is_busy(ema) for ema in pair], lambda busy: not any(busy))
        in_threads([ema.flush for ema in pair])
        deaf.hold_answers()
        assert [update_to(ema, 3) for ema in pair] == [True, True]
        pair[0].flush()
        assert update_to(pair[0], 4)
        with restart(service, heard, str(tmp_path)) as again, shadowkeep.connect(again.target) as client:
            deaf.refuse()
            deaf.upstream = again.target
            for proxy in (heard, deaf):
                proxy.refuse(False)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                wait_for(lambda: is_busy(pair[1]), lambda busy: not busy)
                assert update_to(pair[1], 4)
                wait_for(lambda: [is_busy(ema) for ema in pair], lambda busy: not any(busy))
                assert [update_to(ema, 5) for ema in pair] == [True, True]
                in_threads([ema.flush for ema in pair])
                check_average(client, run_name, [1, 4, 5])
                in_threads([ema.close for ema in pair])
            assert sum("came back at step 1, it had committed step" in text for text in texts(caught)) == 2
            assert [(ema.lost_steps, ema.dropped_steps) for ema in pair] == [(2, 0), (1, 1)]
