"""Several writers of one run: the pieces make a whole, exactly once, and who differs is told."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from cutting_proxy import CuttingProxy
from support import Server, random_weights
from writers_support import Weights, in_threads, ones, parts, push_all, wait_for, world_of

import shadowkeep
from shadowkeep import Average, Box, Client, Retention, Run, TensorSpec

DECAY = 0.9
EMA = [Average.ema("ema", decay=DECAY, start="INITIAL")]
MEAN = [Average.mean("mean")]
SHAPES: list[tuple[str, tuple[int, ...]]] = [
    ("layer.weight", (37, 24)),
    ("embed", (3_000, 80)),
    ("bias", (24,)),
    ("scalar", ()),
    ("empty", (0, 4)),
    ("frozen", (9, 7)),
]
POLICIES: Any = {"frozen": "COPY_ONCE"}
# Uneven rows, columns, a middle part, empty boxes, and tensors that several writers hold.
WORLD = [
    [
        Box("layer.weight", (0, 0), (20, 10)),
        Box("frozen", (0, 0), (9, 3)),
        Box("embed", (0, 0), (1_700, 80)),
        Box("counter", replica_group=1),
        Box("bias", (0,), (0,)),
    ],
    [
        Box("counter", replica_group=1),
        Box("frozen", (0, 3), (9, 4)),
        Box("embed", (1_700, 33), (1_300, 47)),
        Box("bias", (0,), (24,), 2),
        Box("layer.weight", (0, 10), (20, 14)),
    ],
    [
        Box("layer.weight", (20, 0), (17, 24)),
        Box("bias", (0,), (24,), 2),
        Box("scalar"),
        Box("embed", (1_700, 0), (1_300, 33)),
        Box("counter", replica_group=1),
        Box("embed", (3_000, 0), (0, 80)),
    ],
]
HALVES = [
    [Box("layer.weight", (0, 0), (37, 5)), Box("embed"), Box("scalar")],
    [Box("layer.weight", (0, 5), (37, 19)), Box("bias"), Box("counter"), Box("frozen")],
]


def weights_of(rng: np.random.Generator, step: int) -> Weights:
    return {**random_weights(rng, SHAPES), "counter": np.arange(5) + step}


def folded(shadow: Weights, weights: Weights) -> Weights:
    """The textbook, in float32 and in this order."""
    weight = np.float32(1 - DECAY)
    after = {name: shadow[name] + weight * (weights[name] - shadow[name]) for name, _ in SHAPES}
    return {**after, "frozen": shadow["frozen"], "counter": weights["counter"]}


def check(client: Client, name: str, expected: Weights, num_updates: int) -> None:
    shadow = client.get_shadow(name)
    assert shadow.num_updates == num_updates
    for tensor, value in expected.items():
        assert np.array_equal(shadow.tensors[tensor], value), tensor


def test_three_writers_equal_the_textbook(client: Client, run_name: str, rng: np.random.Generator) -> None:
    first = weights_of(rng, 0)
    steps = 5
    with world_of(client, run_name, first, WORLD, EMA, policies=POLICIES) as runs:
        push_all(runs, 0, first, initial=True)
        expected = first
        for step in range(1, steps + 1):
            weights = weights_of(rng, step)
            push_all(runs, step, weights)
            expected = folded(expected, weights)
            check(client, run_name, expected, step)
        assert [run.committed_step for run in runs] == [steps] * 3
        total = sum(run.part.first_step_bytes for run in runs)
        assert total <= runs[0].layout.first_step_bytes + 64 * sum(map(len, WORLD))
        senders = [{place.name for place in run.part.places} for run in runs]
        assert [sum(name in sent for sent in senders) for name in ("counter", "bias")] == [1, 1]
        assert {place.box_index for place in runs[0].part.places} <= {0, 1, 2, 3}
    shadow = client.get_shadow(run_name, boxes=[WORLD[1][2], WORLD[2][0]])
    for array, value in zip(shadow.arrays, parts(expected, [WORLD[1][2], WORLD[2][0]]), strict=True):
        assert np.array_equal(array, value)


def test_another_world_goes_on(client: Client, run_name: str, rng: np.random.Generator) -> None:
    """3 writers, then 2, then 1; a step that is pushed again is not folded again."""
    first = weights_of(rng, 0)
    with world_of(client, run_name, first, WORLD, EMA, policies=POLICIES) as runs:
        push_all(runs, 0, first, initial=True)
        one = weights_of(rng, 1)
        push_all(runs, 1, one)
        expected = folded(first, one)
    with world_of(client, run_name, first, HALVES, EMA, policies=POLICIES) as runs:
        assert [run.committed_step for run in runs] == [1, 1]
        push_all(runs, 1, one)
        two = weights_of(rng, 2)
        push_all(runs, 2, two)
        expected = folded(expected, two)
    with world_of(client, run_name, first, [None], EMA, policies=POLICIES) as runs:
        three = weights_of(rng, 3)
        push_all(runs, 3, three)
        expected = folded(expected, three)
    check(client, run_name, expected, 3)


def test_spaces_and_writers_that_send_nothing(client: Client, run_name: str) -> None:
    specs = {"w": TensorSpec("F32", (6, 10)), "c": TensorSpec("I32", (2,))}
    world = [[Box("w", (0, 0), (6, 3)), Box("c")], None, [Box("w", (0, 3), (6, 7))]]
    with world_of(client, run_name, specs, world, MEAN) as runs:
        assert [run.part.step_bytes for run in runs] == [192, 0, 192]
        assert runs[1].boxes == ()

        def push(run: Run, step: int) -> None:
            space = np.zeros(run.part.step_bytes, np.uint8)
            for place in run.part.places:
                here = space[place.offset : place.offset + place.size_bytes]
                here.view(np.float32 if place.name == "w" else np.int32)[:] = step + run.writer
            run.push_space(step, space, until_acked=True)
            assert run.committed_step == step

        for step in (1, 3):
            in_threads([lambda run=run, step=step: push(run, step) for run in runs])  # type: ignore[misc]
        with pytest.raises(ValueError, match=f"space has 64 bytes, a step of run '{run_name}' has 192"):
            runs[0].push_space(4, np.zeros(64, np.uint8))
        in_threads([lambda run=run: run.skip(4) for run in runs])  # type: ignore[misc]
    shadow = client.get_shadow(run_name)
    assert (shadow.num_updates, shadow.tensors["c"].tolist()) == (2, [3, 3])
    assert (shadow.tensors["w"] == [2] * 3 + [4] * 7).all()


def test_states_of_the_writers(client: Client, run_name: str) -> None:
    with world_of(client, run_name, {"w": TensorSpec("F32", (6, 10))}, ROWS, MEAN) as runs:
        push_all(runs, 1, {"w": np.ones((6, 10), np.float32)})
        runs[0].update(2, [np.ones((2, 10), np.float32)])
        info = wait_for(lambda: client.get_run(run_name), lambda found: found.writer_states[0].step == 2)
        assert (info.writers, info.writers_connected) == (2, 2)
        assert [(state.writer, state.connected, state.step, state.lag_steps) for state in info.writer_states] == [
            (0, True, 2, 0),
            (1, True, 1, 1),
        ]
        assert [state.step_bytes for state in info.writer_states] == [128, 192]
        runs[1].update(2, [np.ones((4, 10), np.float32)])


ROWS = [[Box("w", (0, 0), (2, 10))], [Box("w", (2, 0), (4, 10))]]


def reasons(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Reason and message of each writer's failure to open."""

    def reason(run: Run) -> tuple[str, str]:
        with pytest.raises(shadowkeep.ShadowkeepError) as caught:
            run.open_stream()
        return caught.value.reason, caught.value.message

    return in_threads([lambda run=run: reason(run) for run in runs])  # type: ignore[misc]


def opened(client: Client, name: str, world: Sequence[Any], incarnation: str = "one", **options: Any) -> list[Run]:
    specs = {"w": TensorSpec("F32", (6, 10))}
    return [
        client.open_run(
            name, specs, MEAN, writers=len(world), writer=writer, boxes=boxes, incarnation=incarnation, **options
        )
        for writer, boxes in enumerate(world)
    ]


@pytest.mark.parametrize(
    ("second", "reason", "element"),
    [(Box("w", (3, 0), (3, 10)), "BOX_GAP", "[2,0]"), (Box("w", (1, 4), (5, 6)), "BOX_OVERLAP", "[1,4]")],
)
def test_boxes_that_make_no_whole(client: Client, run_name: str, second: Box, reason: str, element: str) -> None:
    found = reasons(opened(client, run_name, [[Box("w", (0, 0), (2, 10))], [second]]))
    assert [told[0] for told in found] == [reason, reason]
    for _, message in found:
        assert '"w"' in message
        assert element in message


def test_processes_that_differ(client: Client, run_name: str) -> None:
    opened(client, run_name, ROWS)
    with pytest.raises(shadowkeep.FailedPreconditionError) as caught:
        opened(client, run_name, [*ROWS, None])
    assert caught.value.reason == "WRITERS_MISMATCH"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"writers": 0}, "writers must be from 1"),
        ({"writers": 1025}, "writers must be from 1 to 1024 and writer below it, got 1025 and 0"),
        ({"writers": 2, "writer": 2}, "got 2 and 2"),
        ({"writers": 2, "writer": -1}, "writer must be from 0"),
        ({"boxes": []}, "boxes is empty"),
        ({"boxes": [Box("x")]}, "box 0 is of tensor 'x'"),
        ({"retain": Retention(0, 1)}, "every_steps must be from 1"),
        ({"retain": Retention(1, 65)}, "count_max must be from 1 to 64, got 65"),
        ({"reconnect_timeout": -1}, "reconnect_timeout must be 0 or above, got -1"),
    ],
)
def test_bad_options(client: Client, run_name: str, options: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        client.open_run(run_name, {"w": TensorSpec("F32", (6, 10))}, MEAN, **options)


def test_the_part_is_known_once_the_stream_is_open(client: Client, run_name: str) -> None:
    (run,) = opened(client, run_name, [None])
    with pytest.raises(RuntimeError, match="known once its stream is open"):
        _ = run.part
    run.open_stream()
    assert run.part.step_bytes == 256
    run.close()


def test_a_step_that_misses_a_writer_is_dropped(run_name: str) -> None:
    with Server("--step-timeout", "1s") as server, shadowkeep.connect(server.target) as client:
        runs = opened(client, run_name, ROWS)
        in_threads([run.open_stream for run in runs])
        runs[0].update(1, ones(ROWS[0]))
        with pytest.warns(RuntimeWarning, match=f"run '{run_name}', step 1 was dropped"):
            runs[0].flush(60)
        assert (runs[0].dropped_steps, runs[0].committed_step) == (1, None)
        runs[1].update(1, ones(ROWS[1]))
        with pytest.warns(RuntimeWarning, match="dropped"):
            runs[1].flush(60)
        for run, boxes in zip(runs, ROWS, strict=True):
            run.update(2, ones(boxes, 3))
        in_threads([run.close for run in runs])
        assert [run.committed_step for run in runs] == [2, 2]
        shadow = client.get_shadow(run_name)
        assert (shadow.num_updates, (shadow.tensors["w"] == 3).all()) == (1, True)


def test_a_writer_that_does_not_come_is_named(run_name: str) -> None:
    with Server("--step-timeout", "1s") as server, shadowkeep.connect(server.target) as client:
        run = opened(client, run_name, [*ROWS, None])[0]
        with pytest.raises(shadowkeep.DeadlineExceededError) as caught:
            run.open_stream()
        assert caught.value.reason == "WRITERS_MISSING"
        assert "1" in caught.value.message
        assert "2" in caught.value.message


def test_rewind_and_refusal(client: Client, run_name: str) -> None:
    retain = Retention(every_steps=2, count_max=4)
    with world_of(client, run_name, {"w": TensorSpec("F32", (6, 10))}, ROWS, MEAN, retain=retain) as runs:
        assert runs[0].retained_steps == ()
        for step in range(1, 8):
            push_all(runs, step, {"w": np.full((6, 10), step, np.float32)})
    info = client.get_run(run_name)
    assert (info.retained_steps, info.retain) == ([2, 4, 6], shadowkeep.wire.Retention(2, 4))
    with pytest.raises(shadowkeep.FailedPreconditionError) as caught:
        opened(client, run_name, ROWS, "two", trainer_step=5)
    assert caught.value.reason == "TRAINER_BEHIND"
    runs = opened(client, run_name, ROWS, "three", resume_step=5, trainer_step=5)
    assert [(run.committed_step, run.retained_steps) for run in runs] == [(4, (2, 4))] * 2
    in_threads([run.open_stream for run in runs])
    push_all(runs, 5, {"w": np.full((6, 10), 10, np.float32)})
    in_threads([run.close for run in runs])
    shadow = client.get_shadow(run_name)
    assert (shadow.num_updates, (shadow.tensors["w"] == np.float32((1 + 2 + 3 + 4 + 10) / 5)).all()) == (5, True)
    with pytest.raises(shadowkeep.NotFoundError):
        opened(client, run_name, ROWS, "four", resume_step=1)


def test_a_writer_that_is_ahead_comes_back(server: Server, client: Client, run_name: str) -> None:
    """Step 2 is whole and waits for the other writer; step 3 is cut in its middle, and then when it is whole, too."""
    rows, step_bytes = 1 << 19, 4 << 20
    specs = {"w": TensorSpec("F32", (rows, 3))}
    world = [[Box("w", (0, 0), (rows, 2))], [Box("w", (0, 2), (rows, 1))]]
    with (
        CuttingProxy(server.target) as proxy,
        shadowkeep.connect(proxy.target) as through,
        world_of([through, client], run_name, specs, world, MEAN) as runs,
    ):
        push_all(runs, 1, {"w": np.full((rows, 3), 1, np.float32)})
        runs[0].update(2, ones(world[0], 3))
        wait_for(lambda: client.get_run(run_name), lambda found: found.writer_states[0].step == 2)
        before = proxy.sent
        proxy.cut_after_sent(step_bytes // 2)
        runs[0].update(3, ones(world[0], 5))

        def try_flush() -> Any:
            with pytest.raises(shadowkeep.DeadlineExceededError):
                runs[0].flush(0.5)
            return client.get_run(run_name).writer_states[0].step

        wait_for(try_flush, lambda step: step == 3)
        # How much is sent twice depends on how far a busy service had come; test_reconnect.py counts it.
        assert proxy.sent - before >= step_bytes
        before = proxy.sent
        proxy.cut()
        runs[1].update(2, ones(world[1], 3))
        runs[1].update(3, ones(world[1], 5))
        in_threads([run.flush for run in runs])
        assert proxy.sent - before < 10_000
    shadow = client.get_shadow(run_name)
    assert (shadow.step, shadow.num_updates, (shadow.tensors["w"] == 3).all()) == (3, 3, True)


def test_an_acknowledgement_on_the_heels_of_an_opening(
    server: Server, client: Client, run_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is committed between the new stream's `opened` and the moment at which the writer looks at it."""
    specs = {"w": TensorSpec("F32", (4,))}
    world = [[Box("w", (0,), (1,))], [Box("w", (1,), (3,))]]
    with (
        CuttingProxy(server.target) as proxy,
        shadowkeep.connect(proxy.target) as through,
        world_of([through, client], run_name, specs, world, MEAN) as runs,
    ):
        runs[0].update(1, ones(world[0], 3))
        wait_for(lambda: client.get_run(run_name), lambda found: found.writer_states[0].step == 1)
        streams = runs[0]._sender._streams
        look = streams._on_opened

        def look_late(*opened: Any) -> int | None:
            runs[1].update(1, ones(world[1], 3))
            runs[1].flush(60)
            threading.Event().wait(0.3)
            return look(*opened)

        monkeypatch.setattr(streams, "_on_opened", look_late)
        proxy.cut()
        runs[0].flush(60)
        assert runs[0].committed_step == 1
    assert client.get_shadow(run_name).num_updates == 1


def test_connections_of_writers_break_again_and_again(
    server: Server, client: Client, run_name: str, rng: np.random.Generator
) -> None:
    rows, columns, steps = 900, 1_000, 12
    specs = {"w": TensorSpec("F32", (rows, columns))}
    edges = [0, 400, 401, columns]
    world = [[Box("w", (0, a), (rows, b - a))] for a, b in itertools.pairwise(edges)]
    step_bytes = sum(4 * rows * (b - a) + 64 for a, b in itertools.pairwise(edges))
    values = [rng.standard_normal((rows, columns), dtype=np.float32) for _ in range(steps)]
    with CuttingProxy(server.target) as proxy:
        clients = [shadowkeep.connect(proxy.target) for _ in world]
        with world_of(clients, run_name, specs, world, MEAN) as runs:
            cuts = rng.integers(1_000, 6 * step_bytes // 4, size=6).tolist()
            proxy.cut_after_sent(*cuts)

            def train(run: Run) -> None:
                assert run.boxes is not None
                for step, value in enumerate(values, 1):
                    run.update(step, parts({"w": value}, run.boxes))
                # A stream that breaks behind the last step is healed by who waits for the acks; the others need it.
                run.flush()

            in_threads([lambda run=run: train(run) for run in runs])  # type: ignore[misc]
        for connected in clients:
            connected.close()
        assert proxy.connections > len(world)
    shadow = client.get_shadow(run_name)
    assert (shadow.step, shadow.num_updates) == (steps, steps)
    expected = values[0]
    for k, value in enumerate(values[1:], 2):
        expected = expected + np.float32(1 / k) * (value - expected)
    np.testing.assert_allclose(shadow.tensors["w"], expected, rtol=0, atol=1e-6)
