"""A stream that breaks after its last push, when nobody waits for it: it is healed behind the caller."""

from __future__ import annotations

import numpy as np
import pytest
from cutting_proxy import CuttingProxy
from support import F32
from writers_support import in_threads, ones, wait_for, world_of

import shadowkeep
from shadowkeep import Average, Box, Client, ending

MEAN = [Average.mean("mean")]
STEP_BYTES = 2 << 20


def weights(value: float) -> dict[str, F32]:
    """Few messages, so that a push of them ends before they have left."""
    return {"w": np.full(STEP_BYTES // 4, value, np.float32)}


def opened(client: Client, run_name: str, reconnect_timeout: float = 60.0) -> shadowkeep.Run:
    """A run with one step."""
    run = client.open_run(run_name, weights(0), MEAN, reconnect_timeout=reconnect_timeout)
    run.update(1, weights(1))
    run.flush()
    return run


def break_off(run: shadowkeep.Run, proxy: CuttingProxy) -> None:
    """Push a step whose answer does not come, and let nobody come back."""
    proxy.hold_answers()
    run.update(2, weights(3))
    proxy.refuse()


@pytest.mark.parametrize("sent", [1000, STEP_BYTES // 2, STEP_BYTES])
def test_what_was_pushed_arrives(
    client: Client, through: Client, proxy: CuttingProxy, run_name: str, sent: int
) -> None:
    run = opened(through, run_name)
    proxy.cut_after_sent(sent)
    run.update(2, weights(3))
    shadow = client.get_shadow(run_name, min_step=2)
    assert (shadow.step, shadow.num_updates) == (2, 2)
    assert (shadow.tensors["w"] == 2).all()
    run.close()


def test_another_writer_does_not_wait(client: Client, through: Client, proxy: CuttingProxy, run_name: str) -> None:
    world = [[Box("w", (0,), (4,))], [Box("w", (4,), (4,))]]
    with world_of([client, through], run_name, {"w": np.zeros(8, np.float32)}, world, MEAN) as runs:
        for run, boxes in zip(runs, world, strict=True):
            run.update(1, ones(boxes))
        in_threads([run.flush for run in runs])
        proxy.stall()
        runs[1].update(2, ones(world[1], 3))
        proxy.cut()
        proxy.go_on()
        runs[0].update(2, ones(world[0], 3))
        runs[0].flush(60)
        assert runs[0].committed_step == 2


def test_a_call_takes_over(client: Client, through: Client, proxy: CuttingProxy, run_name: str) -> None:
    run = opened(through, run_name)
    break_off(run, proxy)
    for _ in range(2):
        wait_for(lambda: run._sender._healing.is_under_way, bool)
        with pytest.raises(shadowkeep.DeadlineExceededError):
            run.flush(0.3)
    wait_for(lambda: run._sender._healing.is_under_way, bool)
    proxy.refuse(False)
    run.update(3, weights(5))
    run.close()
    shadow = client.get_shadow(run_name)
    assert (shadow.step, shadow.num_updates) == (3, 3)
    assert (shadow.tensors["w"] == 3).all()


def test_what_cannot_be_healed_is_told_to_the_next_call(through: Client, proxy: CuttingProxy, run_name: str) -> None:
    """And to the end of the process, if there is no other call."""
    run = opened(through, run_name, reconnect_timeout=0.5)
    break_off(run, proxy)
    sender = run._sender
    wait_for(lambda: sender._final.failure, lambda failure: failure is not None)
    assert id(sender) in ending._watched
    said = sender.finish(0)
    assert said is not None
    assert said.startswith(f"step 2 of run {run_name!r} may be lost: UNAVAILABLE")
    with pytest.raises(shadowkeep.UnavailableError):
        run.flush()
    assert id(sender) not in ending._watched


def test_an_abandoned_run_is_left_alone(through: Client, proxy: CuttingProxy, run_name: str) -> None:
    run = opened(through, run_name)
    break_off(run, proxy)
    wait_for(lambda: run._sender._healing.is_under_way, bool)
    run.abandon()
    wait_for(lambda: run._sender._healing.is_under_way, lambda heals: not heals)
    with pytest.raises(shadowkeep.UnavailableError, match="abandoned"):
        run.flush()
