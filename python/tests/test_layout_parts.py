"""Layouts that are larger than a message, and layouts in another order than the run's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import shadowkeep
from shadowkeep import Average, Box, Client, FailedPreconditionError, TensorSpec, wire
from shadowkeep.parts import PART_BYTES, open_run_parts, take_header, whole_run

AVERAGES = [Average.ema("ema", decay=0.5, start="FIRST")]

SPECS = {
    "w": TensorSpec("F32", (2,)),
    "frozen": TensorSpec("F32", (1,), "COPY_ONCE"),
    "b": TensorSpec("F32", (20,)),
    "gone": TensorSpec("F32", (4,), "IGNORE"),
    "empty": TensorSpec("F32", (0,)),
    "count": TensorSpec("I64", (1,)),
}
REVERSED = dict(reversed(SPECS.items()))


def step_of(value: float) -> dict[str, Any]:
    return {
        "w": np.array([value, value + 1], np.float32),
        "frozen": np.array([7], np.float32),
        "b": np.full(20, value + 2, np.float32),
        "empty": np.empty(0, np.float32),
        "count": np.array([value], np.int64),
    }


@pytest.mark.parametrize("length", [4, 128, 512])
def test_parts_are_the_request_cut(length: int) -> None:
    tensors = [wire.Tensor(str(i).rjust(length, "n"), wire.DType.F32, [i, 2]) for i in range(20_000)]
    request = wire.OpenRunRequest("r", tensors, incarnation="life")
    parts = list(open_run_parts(request))
    assert [tensor for part in parts for tensor in part.tensors] == tensors
    assert all(len(part.encode()) <= PART_BYTES + 100 for part in parts)
    assert (parts[0].run, parts[0].incarnation) == ("r", "life")
    assert all(part == wire.OpenRunRequest(tensors=part.tensors) for part in parts[1:])
    assert list(open_run_parts(wire.OpenRunRequest("r"))) == [wire.OpenRunRequest("r")]


def test_names_of_512_bytes(client: Client, run_name: str) -> None:
    specs = {str(i).rjust(512, "n"): TensorSpec("F32", (), "AVERAGE" if i < 5 else "IGNORE") for i in range(20_000)}
    with client.open_run(run_name, specs, AVERAGES) as run:
        run.update(1, {name: np.array(i, np.float32) for i, name in zip(range(5), specs, strict=False)})
    assert [tensor.name for tensor in client.get_run(run_name).tensors] == list(specs)
    assert [float(array) for array in client.get_shadow(run_name).arrays] == [0, 1, 2, 3, 4]
    client.delete_run(run_name)


def test_a_header_in_several_messages(client: Client, run_name: str) -> None:
    specs = {str(i).rjust(500, "n"): TensorSpec("F32", (1,)) for i in range(6_000)}
    weights = {name: np.array([i], np.float32) for i, name in enumerate(specs)}
    with client.open_run(run_name, specs, AVERAGES) as run:
        run.update(1, weights)
    shadow = client.get_shadow(run_name)
    assert [float(array[0]) for array in shadow.arrays] == list(range(6_000))
    client.delete_run(run_name)


def test_a_header_that_stops_short_is_an_error() -> None:
    tensors = [wire.ShadowTensor("w")]
    header = wire.GetShadowResponse(header=wire.ShadowHeader("r", tensors=tensors, tensor_count=2))
    for rest in ([], [wire.GetShadowResponse(end=wire.ShadowEnd(0))]):
        with pytest.raises(shadowkeep.ShadowkeepError, match="has 2 tensors, 1 came"):
            take_header(iter([header, *rest]))


def test_a_run_that_is_opened_anew_between_two_parts() -> None:
    answers = iter(
        [
            wire.RunInfo("r", run_id=1, tensor_count=2, tensors=[wire.Tensor("a")]),
            wire.RunInfo("r", run_id=2, tensor_count=2, tensors=[wire.Tensor("d")]),
            wire.RunInfo("r", run_id=2, tensor_count=2, tensors=[wire.Tensor("c")]),
            wire.RunInfo("r", run_id=2, tensor_count=2, tensors=[wire.Tensor("d")]),
        ]
    )
    asked: list[int] = []

    def ask(request: wire.GetRunRequest) -> wire.RunInfo:
        asked.append(request.first_tensor)
        return next(answers)

    assert [tensor.name for tensor in whole_run("r", ask).tensors] == ["c", "d"]
    assert asked == [0, 1, 0, 1]


def test_all_runs_come_from_a_listing_in_parts(client: Client, run_name: str) -> None:
    averages = [Average.ema(f"a{i}", decay=0.5, start="FIRST") for i in range(16)]
    names = [f"{run_name}-{i:02}" for i in range(80)]
    for name in names:
        client.open_run(name, {"w": TensorSpec("F32", (1,))}, averages).close()
    listed = [run.run for run in client.list_runs()]
    assert [name for name in listed if name in names] == names
    for name in names:
        client.delete_run(name)


def test_another_order_attaches_and_keeps_its_own_steps(client: Client, run_name: str) -> None:
    with client.open_run(run_name, SPECS, AVERAGES) as run:
        run.update(1, step_of(10))
    with client.open_run(run_name, REVERSED, AVERAGES) as run:
        assert (run.created, run.is_reordered) == (False, True)
        run.update(2, step_of(20))
        run.flush()
        part = client.get_shadow(run, boxes=[Box("b", (3,), (2,)), Box("w")]).arrays
        assert [array.tolist() for array in part] == [[17, 17], [15, 16]]
    shadow = client.get_shadow(run_name)
    assert shadow.step == 2
    expected = {**step_of(15), "count": np.array([20])}
    assert {name: array.tolist() for name, array in shadow.tensors.items()} == {
        name: array.tolist() for name, array in expected.items()
    }
    assert [tensor.name for tensor in client.get_run(run_name).tensors] == list(SPECS)


def test_another_order_brings_what_is_sent_once(client: Client, run_name: str) -> None:
    client.open_run(run_name, SPECS, AVERAGES).close()
    with client.open_run(run_name, REVERSED, AVERAGES) as run:
        run.update(1, step_of(3))
        run.update(2, {name: array for name, array in step_of(3).items() if name != "frozen"})
    tensors = client.get_shadow(run_name).tensors
    assert (tensors["frozen"].tolist(), tensors["w"].tolist()) == ([7], [3, 4])


def test_another_order_with_boxes(client: Client, run_name: str) -> None:
    client.open_run(run_name, SPECS, AVERAGES).close()
    boxes = [Box("w"), Box("b"), Box("count"), Box("frozen")]
    with client.open_run(run_name, REVERSED, AVERAGES, boxes=boxes) as run:
        step = step_of(5)
        run.update(1, [step[box.tensor] for box in boxes])
    tensors = client.get_shadow(run_name).tensors
    assert (tensors["w"].tolist(), tensors["count"].tolist()) == ([5, 6], [5])


def test_other_tensors_in_another_order_are_another_model(client: Client, run_name: str) -> None:
    client.open_run(run_name, SPECS, AVERAGES).close()
    with pytest.raises(FailedPreconditionError, match=r'tensor 2 "b" has shape \[20\], \[21\] in the request'):
        client.open_run(run_name, {**REVERSED, "b": TensorSpec("F32", (21,))}, AVERAGES)
