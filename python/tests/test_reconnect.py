"""Connections that break: what arrived is never sent again, and no step is lost or folded twice."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cutting_proxy import CuttingProxy
from support import F32, Server

import shadowkeep
from shadowkeep import Average, Client, wire
from shadowkeep.progress import Progress
from shadowkeep.stub import Stub
from shadowkeep.update_stream import UpdateStream

MEAN = [Average.mean("mean")]
MIB = 1 << 20
STEP_BYTES = 64 * MIB
# What can be lost on the way and must be sent again, whatever the buffers of sockets hold: an HTTP/2 window of 16 MiB,
# the messages that are being read beside it, and their framing.
IN_FLIGHT_BYTES = 20 * MIB


def large(value: float, step_bytes: int = STEP_BYTES) -> dict[str, F32]:
    half = step_bytes // 8
    return {"a": np.full(half, value, np.float32), "b": np.full(half, value + 0.5, np.float32)}


def small(value: float) -> dict[str, F32]:
    """Fits into the service's HTTP/2 window, so that it arrives when no answer passes."""
    return large(value, 2 * MIB)


def push(run: shadowkeep.Run, step: int, weights: dict[str, F32]) -> None:
    run.update(step, weights)
    run.flush()


def check(client: Client, run: str, values: list[float]) -> None:
    """The mean of these steps, each folded once."""
    shadow = client.get_shadow(run, min_step=len(values))
    assert shadow.num_updates == len(values)
    mean = np.float32(sum(values) / len(values))
    assert (shadow.tensors["a"] == mean).all()
    assert (shadow.tensors["b"] == mean + np.float32(0.5)).all()


@pytest.mark.parametrize("cuts", [[STEP_BYTES // 2], [STEP_BYTES // 4, STEP_BYTES // 4], [MIB, 1000, 20 * MIB]])
def test_cut_in_the_middle_of_a_step(
    client: Client, through: Client, proxy: CuttingProxy, run_name: str, cuts: list[int]
) -> None:
    with through.open_run(run_name, large(0), MEAN) as run:
        run.update(1, large(1))
        run.flush()
        before = proxy.sent
        proxy.cut_after_sent(*cuts)
        run.update(2, large(3))
        run.flush()
        assert proxy.connections == 1 + len(cuts)
        assert STEP_BYTES <= proxy.sent - before <= STEP_BYTES + len(cuts) * IN_FLIGHT_BYTES
        run.update(3, large(5))
    check(client, run_name, [1, 3, 5])


def test_cut_before_the_ack_sends_nothing_again(
    client: Client, through: Client, proxy: CuttingProxy, run_name: str
) -> None:
    with through.open_run(run_name, small(0), MEAN) as run:
        run.update(1, small(1))
        run.flush()
        proxy.hold_answers()
        run.update(2, small(3))
        client.get_shadow(run_name, min_step=2, names=["a"])
        before = proxy.sent
        proxy.cut()
        run.flush()
        assert run.committed_step == 2
        assert proxy.sent - before < 10_000
    check(client, run_name, [1, 3])


def test_cut_while_the_caller_waits_for_the_ack(
    client: Client, through: Client, proxy: CuttingProxy, run_name: str
) -> None:
    with through.open_run(run_name, small(0), MEAN) as run:
        run.open_stream()
        proxy.hold_answers()

        def cut_when_committed() -> None:
            client.get_shadow(run_name, min_step=1, names=["a"])
            proxy.cut()

        thread = threading.Thread(target=cut_when_committed)
        thread.start()
        before = proxy.sent
        run.push_space(1, space_of(small(1)), until_acked=True)
        thread.join()
        assert run.committed_step == 1
        assert proxy.sent - before <= 2 * MIB + 10_000
        proxy.cut_after_sent(MIB)
        run.push_space(2, space_of(small(3)), until_acked=True)
        assert run.committed_step == 2
    check(client, run_name, [1, 3])


def space_of(weights: dict[str, F32]) -> wire.Bytes1D:
    return np.concatenate([array.view(np.uint8) for array in weights.values()])


def test_steps_that_had_been_pushed_before_the_cut(
    client: Client, through: Client, proxy: CuttingProxy, run_name: str, rng: np.random.Generator
) -> None:
    """Small steps run ahead of their acknowledgements; what was on its way is sent again."""
    steps = 600
    weights: dict[str, F32] = {"w": np.zeros(5_000, np.float32)}
    proxy.cut_after_sent(*rng.integers(1, 4 * MIB, size=5).tolist())
    with through.open_run(run_name, weights, [Average.mean("mean", precision="F64")]) as run:
        for step in range(1, steps + 1):
            weights["w"].fill(step)
            if step % 7 == 0:
                run.skip(step)
            else:
                run.update(step, weights)
    pushed = [step for step in range(1, steps + 1) if step % 7]
    assert proxy.connections == 6
    shadow = client.get_shadow(run_name, min_step=pushed[-1])
    assert shadow.num_updates == len(pushed)
    np.testing.assert_allclose(shadow.tensors["w"], np.mean(pushed), rtol=1e-12)


def test_deadline_names_the_failure(through: Client, proxy: CuttingProxy, run_name: str) -> None:
    weights: dict[str, F32] = {"w": np.ones(4, np.float32)}
    run = through.open_run(run_name, weights, MEAN, reconnect_timeout=0.5)
    run.update(1, weights)
    run.flush()
    proxy.refuse()
    failures = []
    for step in (2, 3):
        with pytest.raises(shadowkeep.UnavailableError) as caught:
            push(run, step, weights)
        failures.append(caught.value.message)
    assert failures[0] == failures[1]
    with pytest.raises(shadowkeep.UnavailableError):
        run.close()


def test_a_flush_with_a_timeout_leaves_the_run_usable(
    client: Client, through: Client, proxy: CuttingProxy, run_name: str
) -> None:
    weights: dict[str, F32] = {"w": np.ones(4, np.float32)}
    with through.open_run(run_name, weights, MEAN) as run:
        push(run, 1, weights)
        proxy.hold_answers()
        run.update(2, weights)
        proxy.refuse()
        for _ in range(2):
            with pytest.raises(shadowkeep.DeadlineExceededError):
                run.flush(0.3)
        proxy.refuse(False)
        run.flush()
    assert client.get_shadow(run_name).num_updates == 2


def test_a_flush_that_is_interrupted_while_it_sends_again(
    client: Client, through: Client, proxy: CuttingProxy, run_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one does not wait for what the first has not sent."""
    with through.open_run(run_name, small(0), MEAN) as run:
        push(run, 1, small(1))
        proxy.stall()
        run.update(2, small(3))

        def interrupt(stream: UpdateStream, message: bytes) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(UpdateStream, "send", interrupt)
            proxy.cut()
            proxy.go_on()
            with pytest.raises(KeyboardInterrupt):
                run.flush()
        run.flush(60)
    check(client, run_name, [1, 3])


def test_a_stream_that_was_replaced_does_not_come_back(server: Server, client: Client, run_name: str) -> None:
    weights: dict[str, F32] = {"w": np.ones(4, np.float32)}
    run = client.open_run(run_name, weights, MEAN, incarnation="one")
    push(run, 1, weights)
    opening = replace(run._sender._streams._opening, takeover=True)
    stub = Stub(server.target, 60)
    other = UpdateStream(stub, opening, Progress(None, None))
    assert other.wait_opened(60).committed_step == 1
    other.take_acks()
    for _ in range(2):
        with pytest.raises(shadowkeep.AbortedError) as caught:
            push(run, 2, weights)
        assert caught.value.reason == "STREAM_REPLACED"
    other.commit(wire.Commit(2, skipped=True))
    other.close(60)
    stub.close()


def test_a_service_that_is_started_again(run_name: str, tmp_path: Path) -> None:
    """In order it has all steps; after a crash those since its last checkpoint are gone, and that is said."""
    weights: dict[str, F32] = {"w": np.ones(4, np.float32)}
    service = Server(data_dir=str(tmp_path))
    with CuttingProxy(service.target) as proxy, shadowkeep.connect(proxy.target) as through:
        run = through.open_run(run_name, weights, MEAN)
        for step, ends in ((1, "stop"), (2, "kill")):
            push(run, step, weights)
            getattr(service, ends)()
            proxy.refuse()
            service = Server(data_dir=str(tmp_path))
            proxy.upstream = service.target
            proxy.refuse(False)
        with service, pytest.raises(shadowkeep.UnavailableError, match="gone back from step 2 to 1"):
            push(run, 3, weights)


def test_abandoned_while_it_reconnects(through: Client, proxy: CuttingProxy, run_name: str) -> None:
    weights: dict[str, F32] = {"w": np.ones(4, np.float32)}
    run = through.open_run(run_name, weights, MEAN)
    push(run, 1, weights)
    proxy.refuse()
    threading.Timer(0.5, run.abandon).start()
    with pytest.raises(shadowkeep.UnavailableError, match="abandoned"):
        push(run, 2, weights)


@pytest.mark.parametrize("cuts", [[STEP_BYTES // 2], [MIB, 10 * MIB, 20 * MIB]])
def test_a_read_goes_on_where_it_broke(
    client: Client, through: Client, proxy: CuttingProxy, run_name: str, cuts: list[int]
) -> None:
    weights = large(1)
    with client.open_run(run_name, weights, MEAN) as run:
        run.update(1, weights)
    before = proxy.answered
    proxy.cut_after_answered(*cuts)
    shadow = through.get_shadow(run_name)
    assert proxy.connections == 1 + len(cuts)
    assert STEP_BYTES <= proxy.answered - before <= STEP_BYTES + len(cuts) * IN_FLIGHT_BYTES
    assert all(np.array_equal(shadow.tensors[name], value) for name, value in weights.items())


@pytest.mark.parametrize("lease", ["60s", "1ms"])
def test_a_read_goes_on_in_its_version_or_says_that_it_is_gone(run_name: str, lease: str) -> None:
    with (
        Server("--read-lease", lease) as server,
        CuttingProxy(server.target) as proxy,
        shadowkeep.connect(server.target) as client,
        shadowkeep.connect(proxy.target) as through,
        client.open_run(run_name, large(0), MEAN) as run,
    ):
        push(run, 1, large(1))
        proxy.cut_after_answered(STEP_BYTES // 4)
        proxy.refuse_after_cut()

        def commit_another() -> None:
            assert proxy.was_cut.wait(60)
            push(run, 2, large(3))
            proxy.refuse(False)

        thread = threading.Thread(target=commit_another)
        thread.start()
        if lease == "60s":
            shadow = through.get_shadow(run_name)
            assert (shadow.step, (shadow.tensors["a"] == 1).all()) == (1, True)
        else:
            with pytest.raises(shadowkeep.NotFoundError) as caught:
                through.get_shadow(run_name)
            assert caught.value.reason == "VERSION_NOT_FOUND"
        thread.join()
        assert client.get_shadow(run_name).step == 2


def test_takeover_is_a_field_of_the_opening() -> None:
    opening = wire.UpdateOpen("r", 1, 2)
    again = wire.UpdateOpen.decode(replace(opening, takeover=True).encode())
    assert (again.writer, again.takeover, opening.takeover) == (2, True, False)
