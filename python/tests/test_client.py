"""The client against the real server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import F32, random_weights, ulp_distance

import shadowkeep
from shadowkeep import Average, Client, TensorSpec

SHAPES = [("layer.weight", (33, 17)), ("layer.bias", (17,)), ("scalar", ()), ("empty", (0, 4)), ("big", (700, 1000))]
EMA = Average.ema("ema", decay=0.9, start="INITIAL")
ULP_PER_STEP = 2


def test_push_and_pull_equals_the_textbook(client: Client, run_name: str, rng: np.random.Generator) -> None:
    weights: dict[str, Any] = random_weights(rng, SHAPES)
    weights["counter"] = np.array([0, 1 << 40], np.int64)
    averages = [
        EMA,
        Average.ema("zeros", decay=0.5, start="ZEROS"),
        Average.mean("swa"),
        Average.mean("swa64", precision="F64"),
    ]
    steps = 6
    with client.open_run(run_name, weights, averages) as run:
        assert run.created
        run.push_initial(weights)
        expected = {name: weights[name] for name, _ in SHAPES}
        pushed = []
        for step in range(1, steps + 1):
            weights = {**random_weights(rng, SHAPES), "counter": weights["counter"] + 1}
            run.update(step, weights)
            pushed.append(weights)
            expected = {k: v + np.float32(1 - 0.9) * (weights[k] - v) for k, v in expected.items()}
        run.flush()
        assert run.committed_step == steps

    ema = client.get_shadow(run_name, "ema", step=steps)
    assert (ema.step, ema.num_updates, ema.generation) == (steps, steps, run.generation)
    assert ema.weight == pytest.approx(0.1)
    assert np.array_equal(ema.tensors["counter"], weights["counter"])
    for name, _ in SHAPES:
        assert ulp_distance(ema.tensors[name], expected[name], np.full_like(expected[name], 4)) <= ULP_PER_STEP * steps
    mean = {name: np.mean([step[name].astype(np.float64) for step in pushed], axis=0) for name, _ in SHAPES}
    swa64 = client.get_shadow(run_name, "swa64")
    assert swa64.tensors["big"].dtype == np.float64
    for name, _ in SHAPES:
        np.testing.assert_allclose(swa64.tensors[name], mean[name], rtol=0, atol=1e-14)
        np.testing.assert_allclose(client.get_shadow(run_name, "swa").tensors[name], mean[name], rtol=0, atol=3e-6)
    zeros = client.get_shadow(run_name, "zeros", names=["layer.*"])
    assert list(zeros.tensors) == ["layer.weight", "layer.bias"]


def test_arrays_may_be_changed_after_update(client: Client, run_name: str) -> None:
    weights = {"w": np.ones(3_000_000, np.float32)}
    with client.open_run(run_name, weights, [Average.mean("mean")]) as run:
        for step in range(1, 5):
            weights["w"].fill(step)
            run.update(step, weights)
    weights["w"].fill(-1)
    assert (client.get_shadow(run_name, min_step=4).tensors["w"] == 2.5).all()


@pytest.mark.parametrize("wire_dtype", ["BF16", "F16", "F64"])
def test_wire_dtypes(client: Client, run_name: str, rng: np.random.Generator, wire_dtype: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    weights = random_weights(rng, SHAPES)
    with client.open_run(run_name, weights, [Average.mean("mean")], wire_dtype=wire_dtype) as run:
        run.update(1, weights)
    narrow = {"BF16": ml_dtypes.bfloat16, "F16": np.float16, "F64": np.float64}[wire_dtype]
    shadow = client.get_shadow(run_name)
    for name, value in weights.items():
        assert np.array_equal(shadow.tensors[name], value.astype(narrow).astype(np.float32))


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
def test_reads_in_another_dtype(client: Client, run_name: str, rng: np.random.Generator, dtype: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    weights: dict[str, Any] = {**random_weights(rng, SHAPES), "mask": np.array([True, False])}
    with client.open_run(run_name, weights, [Average.mean("mean")]) as run:
        run.update(1, weights)
    wanted = {"BF16": ml_dtypes.bfloat16, "F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype]
    shadow = client.get_shadow(run_name, dtype=dtype)
    assert shadow.tensors["mask"].tolist() == [True, False]
    for name, _ in SHAPES:
        assert shadow.tensors[name].dtype == wanted
        assert np.array_equal(shadow.tensors[name], weights[name].astype(wanted))


def test_tensors_are_aligned_views_of_one_buffer(client: Client, run_name: str, rng: np.random.Generator) -> None:
    weights = random_weights(rng, SHAPES)
    with client.open_run(run_name, weights, [Average.mean("mean")]) as run:
        run.update(1, weights)
    shadow = client.get_shadow(run_name)
    for tensor in shadow.tensors.values():
        if tensor.size:
            assert np.shares_memory(tensor, shadow.buffer)
            assert tensor.ctypes.data % 64 == 0


def test_memory_of_an_earlier_shadow_is_reused(client: Client, run_name: str) -> None:
    weights: dict[str, F32] = {"a": np.ones(100, np.float32), "b": np.ones(70_000, np.float32)}
    with client.open_run(run_name, weights, [Average.mean("mean")]) as run:
        run.update(1, weights)
        first = client.get_shadow(run_name)
        run.update(2, {name: value * 3 for name, value in weights.items()})
        second = client.get_shadow(run_name, min_step=2, reuse=first)
    part = client.get_shadow(run_name, names=["a"], reuse=second)
    whole = client.get_shadow(run_name, reuse=part)
    assert np.shares_memory(whole.buffer, first.buffer)
    assert part.buffer.nbytes == 448
    assert (whole.step, (whole.tensors["b"] == 2).all(), (part.tensors["a"] == 2).all()) == (2, True, True)
    larger = client.get_shadow(run_name, dtype="F64", reuse=whole)
    assert not np.shares_memory(larger.buffer, whole.buffer)
    assert (larger.tensors["b"] == 2).all()


def test_policies(client: Client, run_name: str) -> None:
    specs = {
        "averaged": TensorSpec("F32", (2,)),
        "copied": TensorSpec("F32", (2,), "COPY"),
        "ignored": TensorSpec("F32", (2,), "IGNORE"),
    }
    with client.open_run(run_name, specs, [Average.mean("mean")]) as run:
        for step in (1, 2):
            value = np.full(2, step, np.float32)
            run.update(step, {"averaged": value, "copied": value})
    shadow = client.get_shadow(run_name)
    assert {name: value.tolist() for name, value in shadow.tensors.items()} == {
        "averaged": [1.5, 1.5],
        "copied": [2, 2],
    }
    assert [spec.averaged for spec in shadow.specs] == [True, False]


def test_many_small_tensors_ride_together(client: Client, run_name: str, rng: np.random.Generator) -> None:
    weights = {f"t{index}": rng.standard_normal(index % 50, dtype=np.float32) for index in range(5_000)}
    with client.open_run(run_name, weights, [Average.mean("mean")]) as run:
        run.update(1, weights)
    shadow = client.get_shadow(run_name)
    assert all(np.array_equal(shadow.tensors[name], value) for name, value in weights.items())


def test_attach_again_continues(client: Client, run_name: str) -> None:
    weights = {"w": np.ones(4, np.float32)}
    with client.open_run(run_name, weights, [Average.mean("mean")], incarnation="first") as run:
        run.update(7, weights)
    with client.open_run(run_name, weights, [Average.mean("mean")], incarnation="second") as again:
        assert (again.created, again.committed_step) == (False, 7)
        assert again.generation > run.generation
        again.update(7, weights)
        again.flush()
        again.update(9, weights)
    assert client.get_shadow(run_name).num_updates == 2


def test_min_step_waits_for_the_commit(client: Client, run_name: str) -> None:
    weights: dict[str, F32] = {"w": np.ones(4, np.float32)}
    with client.open_run(run_name, weights, [Average.mean("mean")]) as run:
        run.update(1, weights)
        with pytest.raises(shadowkeep.DeadlineExceededError) as caught:
            client.get_shadow(run_name, min_step=2, timeout=0.05)
        assert caught.value.reason == "WAIT_TIMEOUT"
        run.update(2, weights)
        assert client.get_shadow(run_name, min_step=2, timeout=30).step == 2


def test_watch_run_follows_commits(client: Client, run_name: str) -> None:
    weights: dict[str, F32] = {"w": np.ones(4, np.float32)}
    with client.open_run(run_name, weights, [Average.mean("mean")]) as run:
        events = client.watch_run(run_name, every=2)
        assert next(events).committed_step is None
        seen = []
        for step in (2, 4):
            run.update(step - 1, weights)
            run.update(step, weights)
            event = next(events)
            seen.append((event.committed_step, event.averages[0].num_updates))
        assert seen == [(2, 2), (4, 4)]
        events.close()


def test_describe_list_and_delete(client: Client, run_name: str) -> None:
    weights: dict[str, F32] = {"w": np.ones((2, 3), np.float32)}
    with client.open_run(run_name, weights, [EMA]) as run:
        run.push_initial(weights, step=3)
    info = client.get_run(run_name)
    assert (info.run, info.committed_step, info.averaged_elements, info.tensor_count) == (run_name, 3, 6, 1)
    assert [(tensor.name, tensor.shape) for tensor in info.tensors] == [("w", [2, 3])]
    assert info.averages[0].constant is not None
    assert info.averages[0].constant.decay == 0.9
    assert run_name in [listed.run for listed in client.list_runs()]
    assert client.delete_run(run_name) > 0
    with pytest.raises(shadowkeep.NotFoundError) as caught:
        client.get_run(run_name)
    assert caught.value.reason == "RUN_NOT_FOUND"


@pytest.mark.parametrize("checksums", [True, False])
def test_with_and_without_checksums(server: Any, run_name: str, checksums: bool) -> None:
    if checksums:
        pytest.importorskip("google_crc32c")
    weights: dict[str, F32] = {"w": np.arange(500_000, dtype=np.float32)}
    with shadowkeep.connect(server.target, checksums=checksums) as client:
        with client.open_run(run_name, weights, [Average.mean("mean")]) as run:
            run.update(1, weights)
        assert np.array_equal(client.get_shadow(run_name).tensors["w"], weights["w"])
