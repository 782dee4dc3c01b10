"""What a run can be told besides its averages: policies, frozen tensors, skipped and rejected steps, snapshots."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from support import F32

import shadowkeep
from shadowkeep import Average, Client, Snapshots, TensorSpec

MEAN = [Average.mean("mean")]


def test_policies_by_pattern(client: Client, run_name: str) -> None:
    specs: dict[str, Any] = {
        "layer.weight": TensorSpec("F32", (2,)),
        "layer.running_mean": TensorSpec("F32", (2,)),
        "layer.running_var": TensorSpec("F32", (2,), "AVERAGE"),
        "mask": TensorSpec("U8", (3,)),
    }
    policies: Any = {"*.running_*": "COPY", "mask": "IGNORE"}
    with client.open_run(run_name, specs, MEAN, policies=policies) as run:
        assert [tensor.name for tensor in run.layout.sent] == list(specs)[:3]
        for step in (1, 2):
            value = np.full(2, step, np.float32)
            run.update(step, dict.fromkeys(list(specs)[:3], value))
    shadow = client.get_shadow(run_name)
    assert {name: value.tolist() for name, value in shadow.tensors.items()} == {
        "layer.weight": [1.5, 1.5],
        "layer.running_mean": [2, 2],
        "layer.running_var": [1.5, 1.5],
    }


def test_the_last_policy_that_matches_wins(client: Client, run_name: str) -> None:
    specs = {"a.x": ("F32", (1,)), "a.y": ("F32", (1,)), "b": ("F32", (1,))}
    run = client.open_run(run_name, specs, MEAN, policies={"a.*": "COPY", "*.y": "AVERAGE"})
    names = [tensor.policy.name for tensor in client.get_run(run_name).tensors]
    assert names == [tensor.policy.name for tensor in run.layout.tensors] == ["COPY", "AVERAGE", "AVERAGE"]


@pytest.mark.parametrize(
    ("policies", "error", "problem"),
    [
        ({"nothing.*": "COPY"}, shadowkeep.InvalidArgumentError, "nothing"),
        ({"w": "AVERAGED"}, ValueError, "policy of 'w' must be AVERAGE, COPY, IGNORE or COPY_ONCE, got 'AVERAGED'"),
        ({"count": "AVERAGE"}, shadowkeep.InvalidArgumentError, "count|I64"),
    ],
)
def test_bad_policies_are_refused(
    client: Client, run_name: str, policies: Any, error: type[Exception], problem: str
) -> None:
    specs = {"w": ("F32", (1,)), "count": ("I64", (1,))}
    with pytest.raises(error, match=problem):
        client.open_run(run_name, specs, MEAN, policies=policies)


def frozen_weights(value: float) -> dict[str, F32]:
    return {
        "frozen.a": np.full(40_000, 7, np.float32),
        "head": np.full(10, value, np.float32),
        "frozen.b": np.full(3, 8, np.float32),
    }


def test_frozen_tensors_travel_once(client: Client, run_name: str) -> None:
    policies: Any = {"frozen.*": "COPY_ONCE"}
    with client.open_run(run_name, frozen_weights(0), MEAN, policies=policies) as run:
        assert [tensor.name for tensor in run.layout.sent] == ["head", "frozen.a", "frozen.b"]
        assert (run.layout.step_bytes, run.layout.first_step_bytes) == (64, 64 + 160_000 + 64)
        run.update(1, frozen_weights(1))
        # The answer to the first one may not be here yet: the client waits for it, since these are left out.
        run.update(2, {"head": np.full(10, 2, np.float32)})
        run.update(3, frozen_weights(3))
        run.flush()
        received = client.get_run(run_name).bytes_received
        assert received < 2 * run.layout.first_step_bytes
        run.update(4, frozen_weights(4))
        run.flush()
        assert client.get_run(run_name).bytes_received - received <= run.layout.step_bytes + 64
    with client.open_run(run_name, frozen_weights(0), MEAN, policies=policies) as again:
        again.update(5, {"head": np.full(10, 5, np.float32)})
    shadow = client.get_shadow(run_name)
    assert {name: float(value[-1]) for name, value in shadow.tensors.items()} == {
        "head": 3,
        "frozen.a": 7,
        "frozen.b": 8,
    }


def test_frozen_tensors_must_come_first(client: Client, run_name: str) -> None:
    policies: Any = {"frozen.*": "COPY_ONCE"}
    with client.open_run(run_name, frozen_weights(0), MEAN, policies=policies) as run:
        with pytest.raises(shadowkeep.FailedPreconditionError, match=r"'frozen\.a' is missing"):
            run.update(1, {"head": np.ones(10, np.float32)})
        run.update(1, frozen_weights(1))
        run.flush()
        with pytest.raises(shadowkeep.FailedPreconditionError, match="'other' is not in the run"):
            run.update(2, {**frozen_weights(2), "other": np.ones(1, np.float32)})


def test_push_space_takes_both_lengths(client: Client, run_name: str) -> None:
    with client.open_run(run_name, frozen_weights(0), MEAN, policies={"frozen.*": "COPY_ONCE"}) as run:
        with pytest.raises(ValueError, match=r"space has 128 bytes, a step of run .* has 64 or 160128"):
            run.push_space(1, np.zeros(128, np.uint8))
        run.push_space(1, np.zeros(run.layout.first_step_bytes, np.uint8))
        run.flush()
        run.push_space(2, np.zeros(run.layout.step_bytes, np.uint8))
    assert client.get_shadow(run_name).num_updates == 2


def test_skipped_steps_are_acknowledged_and_not_folded(client: Client, run_name: str) -> None:
    weights = {"w": np.ones(3, np.float32)}
    with client.open_run(run_name, weights, MEAN) as run:
        run.update(1, weights)
        run.skip(2)
        run.update(3, {"w": np.full(3, 4, np.float32)})
        run.flush()
        with pytest.raises(ValueError, match="step must be from 0"):
            run.skip(-1)
    shadow = client.get_shadow(run_name)
    assert (shadow.step, shadow.num_updates, shadow.tensors["w"].tolist()) == (3, 2, [2.5] * 3)


BAD = {"a": np.array([1, np.nan, 3], np.float32), "b": np.full(2, 5, np.float32)}
GOOD = {"a": np.ones(3, np.float32), "b": np.ones(2, np.float32)}


def test_steps_with_nan_are_rejected_and_said_once(client: Client, run_name: str) -> None:
    with client.open_run(run_name, GOOD, MEAN) as run:
        run.update(1, GOOD)
        run.update(2, BAD)
        with pytest.warns(
            RuntimeWarning, match=rf"run '{run_name}', step 2 was rejected and is in no average .*SKIP_TENSOR.*: .*a"
        ):
            run.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run.update(3, BAD)
            run.flush()
            run.update(4, GOOD)
            run.flush()
        assert run.rejected_steps == 2
        assert run.committed_step == 4
    shadow = client.get_shadow(run_name)
    assert (shadow.num_updates, shadow.tensors["b"].tolist()) == (2, [1, 1])
    info = client.get_run(run_name)
    assert (info.non_finite_steps, info.non_finite.name) == (2, "REJECT_STEP")


def test_tensors_with_nan_are_skipped_by_choice(client: Client, run_name: str) -> None:
    with client.open_run(run_name, GOOD, MEAN, non_finite="SKIP_TENSOR") as run:
        run.update(1, GOOD)
        run.update(2, BAD)
        with pytest.warns(RuntimeWarning, match="step 2: .*a"):
            run.flush()
        assert run.rejected_steps == 0
    shadow = client.get_shadow(run_name)
    assert {name: value.tolist() for name, value in shadow.tensors.items()} == {"a": [1, 1, 1], "b": [3, 3]}


def test_nan_is_folded_by_choice(client: Client, run_name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with client.open_run(run_name, GOOD, MEAN, non_finite="ACCEPT") as run:
            run.update(1, GOOD)
            run.update(2, BAD)
    assert np.isnan(client.get_shadow(run_name).tensors["a"]).tolist() == [False, True, False]
    bad: Any = "IGNORE"
    with pytest.raises(ValueError, match="non_finite must be one of ACCEPT, REJECT_STEP, SKIP_TENSOR, got 'IGNORE'"):
        client.open_run(run_name, GOOD, MEAN, non_finite=bad)


def test_averages_come_and_go(client: Client, run_name: str) -> None:
    with client.open_run(run_name, {"w": ("F32", (2,))}, MEAN) as run:
        run.update(1, {"w": np.full(2, 1, np.float32)})
        run.flush()
        late = shadowkeep.averages.torch_swa(name="late", precision="F64")
        assert client.add_average(run, late) == 1
        with pytest.raises(shadowkeep.InvalidArgumentError, match="late"):
            client.add_average(run_name, late)
        with pytest.raises(shadowkeep.FailedPreconditionError, match="INITIAL"):
            client.add_average(run_name, Average.ema("other", decay=0.9, start="INITIAL"))
        for step in (2, 3):
            run.update(step, {"w": np.full(2, step, np.float32)})
        run.flush()
        assert client.get_shadow(run_name, "late").tensors["w"].tolist() == [2.5, 2.5]
        assert client.get_shadow(run_name, "mean").tensors["w"].tolist() == [2, 2]
        states = client.get_run(run_name).states
        assert [(state.name, state.num_updates, state.added_at_step) for state in states] == [
            ("mean", 3, None),
            ("late", 2, 1),
        ]
        client.remove_average(run, "mean")
        with pytest.raises(shadowkeep.NotFoundError):
            client.remove_average(run, "mean")
        with pytest.raises(shadowkeep.FailedPreconditionError):
            client.remove_average(run, "late")
        run.update(4, {"w": np.full(2, 4, np.float32)})
    assert client.get_shadow(run_name).tensors["w"].tolist() == [3, 3]


def test_movement_is_reported(client: Client, run_name: str) -> None:
    with client.open_run(run_name, {"w": ("F32", (6400,))}, [Average.ema("ema", decay=0.5, start="INITIAL")]) as run:
        run.push_initial({"w": np.ones(6400, np.float32)})
        run.update(1, {"w": np.full(6400, 3, np.float32)})
        run.flush()
        movement = client.get_shadow(run_name).movement
        assert movement is not None
        assert movement.distance_rel == pytest.approx(2)
        assert movement.changed_share == 1
        run.update(2, {"w": np.full(6400, 2, np.float32)})
    last = client.get_run(run_name).states[0].movement
    assert last is not None
    assert (last.distance_rel, last.changed_share) == (0, 0)


def solved(parts: list[tuple[int, float]], target: tuple[int, float]) -> tuple[list[float], float]:
    """Return algorithm 3 of Karras et al. 2023 (weights that sum to one) and the distance of the profiles."""

    def product(a: tuple[float, float], b: tuple[float, float]) -> float:
        (time_a, gamma_a), (time_b, gamma_b) = sorted([a, b])
        # The integral over tau <= time_a <= time_b of both profiles, (gamma + 1) tau^gamma / time^(gamma + 1).
        scale = (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1)
        return float(scale * (time_a / time_b) ** gamma_b / time_b)

    matrix = np.array([[product(a, b) for b in parts] for a in parts])
    side = np.array([product(a, target) for a in parts])
    weights = np.linalg.solve(matrix, side)
    weights /= weights.sum()
    norm = product(target, target)
    square = weights @ matrix @ weights - 2 * weights @ side + norm
    return list(weights), float(np.sqrt(square / norm))


def test_any_width_after_the_training(client: Client, run_name: str) -> None:
    """p_t = t, so that a profile's mean position is what is read: (gamma + 1) / (gamma + 2) of the training."""
    steps, gamma = 400, 12.0
    snapshots = Snapshots(every_steps=50, count_max=64, dtype="F64")
    kept = shadowkeep.averages.edm2(stds=[0.05, 0.1], precision="F64")
    with client.open_run(run_name, {"w": ("F64", (2,))}, [kept], snapshots=snapshots) as run:
        for step in range(1, steps + 1):
            run.update(step, {"w": np.full(2, step, np.float64)})
    info = client.get_run(run_name)
    assert info.snapshots is not None
    assert (info.snapshots.every_steps, info.snapshots.count_max, info.snapshots.dtype.name) == (50, 64, "F64")
    assert {snapshot.average for snapshot in info.snapshots_held} == {"edm2-0.05", "edm2-0.1"}
    shadow = client.get_shadow(run_name, gamma=gamma)
    assert shadow.step == steps
    weights, error = solved([(part.step, part.gamma) for part in shadow.contributions], (steps, gamma))
    assert [part.weight for part in shadow.contributions] == pytest.approx(weights, abs=1e-6)
    assert sum(part.weight for part in shadow.contributions) == pytest.approx(1, abs=1e-9)
    assert shadow.fit_error == pytest.approx(error, rel=1e-4)
    assert error < 0.02
    assert shadow.tensors["w"][0] / steps == pytest.approx((gamma + 1) / (gamma + 2), rel=0.005)
    width = ((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) ** 0.5
    same = client.get_shadow(run_name, sigma_rel=width)
    assert same.tensors["w"][0] == pytest.approx(shadow.tensors["w"][0], rel=1e-9)
    early = client.get_shadow(run_name, gamma=gamma, step=200)
    assert early.step == 200
    assert early.tensors["w"][0] / 200 == pytest.approx((gamma + 1) / (gamma + 2), rel=0.01)


def test_bad_widths_are_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="sigma_rel must be a number from"):
        client.get_shadow("run", sigma_rel=0.3)
    with pytest.raises(ValueError, match="exclude each other"):
        client.get_shadow("run", "ema", gamma=1)
    with pytest.raises(ValueError, match="count_max must be from 2 to"):
        Snapshots(every_steps=1, count_max=1).to_message()
    with pytest.raises(ValueError, match="count_max must be from 2 to 256, got 257"):
        Snapshots(every_steps=1, count_max=257).to_message()
    with pytest.raises(ValueError, match="every_steps must be from 1"):
        Snapshots(every_steps=0, count_max=2).to_message()
