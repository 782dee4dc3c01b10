"""Parts of tensors: how they are checked, how they lie in a writer's bytes, and how they are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import F32, random_weights

import shadowkeep
from shadowkeep import Average, Box, Client, FailedPreconditionError, TensorSpec
from shadowkeep.boxes import Part, checked_boxes, to_messages
from shadowkeep.chunks import chunks_from, fill_chunk
from shadowkeep.form import PartForms
from shadowkeep.layout import Layout
from shadowkeep.wire import DType

SPECS = {
    "w": TensorSpec("F32", (6, 5)),
    "frozen": TensorSpec("F32", (8, 2), "COPY_ONCE"),
    "ids": TensorSpec("I64", (3,)),
    "cache": TensorSpec("F32", (4,), "IGNORE"),
    "scalar": TensorSpec("F32", ()),
    "empty": TensorSpec("F32", (0, 3)),
}
BOXES = [
    Box("w", (1, 0), (4, 2)),
    Box("frozen", (0, 1), (8, 1)),
    Box("w", (6, 0), (0, 5)),
    Box("ids"),
    Box("scalar"),
    Box("w", (0, 3), (6, 2), 7),
]
CHUNK_BYTES = [16, 48, 64, 80, 1024]


def arrays_of(rng: np.random.Generator) -> tuple[dict[str, Any], list[Any]]:
    """Whole tensors, and views of their parts."""
    whole: dict[str, Any] = random_weights(rng, [("w", (6, 5)), ("frozen", (8, 2)), ("scalar", ())])
    whole["ids"] = np.arange(3) + 9
    return whole, [part_of(whole[box.tensor], box) for box in BOXES]


def part_of(array: Any, box: Box) -> Any:
    where = tuple(slice(start, start + count) for start, count in zip(box.offset, box.extent, strict=True))
    return array[where] if where else array


def step_of(form: Any, arrays: Any, offset: int = 0) -> bytes:
    source = form.checker.source(arrays)
    return b"".join(part for chunk in chunks_from(form.plan, offset) for part in fill_chunk(chunk, source))


def forms_of(wire_dtype: DType = DType.UNSPECIFIED, left_out: Any = (), chunk_bytes: int = 64) -> PartForms:
    layout = Layout(SPECS, wire_dtype)
    part = Part.of_boxes(layout, checked_boxes(layout, BOXES), left_out)
    return PartForms(layout, part, len(BOXES), chunk_bytes)


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        (Box("x"), "box 1 is of tensor 'x', the run has none of that name"),
        (Box("w", (0, 0), (7, 1)), "box 1 of tensor 'w' goes from 0 to 7 in dimension 0, the tensor from 0 to 6"),
        (Box("w", (0, 4), (1, 2)), "box 1 of tensor 'w' goes from 4 to 6 in dimension 1, the tensor from 0 to 5"),
        (Box("w", (-1, 0), (1, 1)), "box 1 of tensor 'w' goes from -1 to 0 in dimension 0"),
        (Box("w", (0, 0), (1, -1)), "box 1 of tensor 'w' goes from 0 to -1 in dimension 1"),
        (Box("w", (0,), (1,)), r"box 1 of tensor 'w' has offset \[0\] and extent \[1\], the tensor has 2 dimensions"),
        (Box("w", (0, 0), ()), r"offset \[0, 0\] and extent \[\]"),
        (Box("scalar", (0,), (1,)), "the tensor has 0 dimensions"),
        (Box("cache"), "box 1 is of tensor 'cache', which has policy IGNORE"),
        (Box("w", replica_group=-1), "replica_group of box 1 must be from 0 to 4294967295, got -1"),
    ],
)
def test_bad_boxes_are_named(box: Box, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        checked_boxes(Layout(SPECS), [Box("w"), box])


def test_boxes_are_made_of_integers() -> None:
    half: Any = (0.5, 0)
    with pytest.raises(TypeError, match="box 0 of tensor 'w' must be made of integers"):
        checked_boxes(Layout(SPECS), [Box("w", half, (1, 1))])
    offset: Any = np.array([1, 0])
    extent: Any = np.array([2, 5])
    assert checked_boxes(Layout(SPECS), [Box("w", offset, extent)]) == (Box("w", (1, 0), (2, 5)),)


def test_boxes_travel_by_index() -> None:
    indices = {name: index for index, name in enumerate(SPECS)}
    sent = to_messages(checked_boxes(Layout(SPECS), BOXES), indices)
    assert [(box.tensor, box.offset, box.extent, box.replica_group) for box in sent] == [
        (0, [1, 0], [4, 2], 0),
        (1, [0, 1], [8, 1], 0),
        (0, [6, 0], [0, 5], 0),
        (2, [], [], 0),
        (4, [], [], 0),
        (0, [0, 3], [6, 2], 7),
    ]


def test_part_of_boxes() -> None:
    part = forms_of().part
    assert [(p.box_index, p.name, p.shape, p.offset, p.size_bytes, p.gap_bytes) for p in part.places] == [
        (0, "w", (4, 2), 0, 32, 32),
        (3, "ids", (3,), 64, 24, 40),
        (4, "scalar", (), 128, 4, 60),
        (5, "w", (6, 2), 192, 48, 16),
        (1, "frozen", (8, 1), 256, 32, 32),
    ]
    assert (part.step_bytes, part.first_step_bytes, len(part.each_step)) == (256, 320, 4)


def test_part_without_the_boxes_that_others_send() -> None:
    part = forms_of(DType.F64, left_out=[0, 3]).part
    assert [(p.box_index, p.wire_dtype.name, p.offset, p.size_bytes) for p in part.places] == [
        (4, "F64", 0, 8),
        (5, "F64", 64, 96),
        (1, "F32", 192, 32),
    ]
    assert (part.step_bytes, part.first_step_bytes) == (192, 256)


def test_part_of_the_only_writer_is_the_layout() -> None:
    layout = Layout(SPECS)
    part = Part.whole(layout)
    assert [(p.box_index, p.name, p.offset) for p in part.places] == [
        (0, "w", 0),
        (2, "ids", 128),
        (4, "scalar", 192),
        (5, "empty", 256),
        (1, "frozen", 256),
    ]
    assert (part.step_bytes, part.first_step_bytes) == (layout.step_bytes, layout.first_step_bytes) == (256, 320)


@pytest.mark.parametrize("chunk_bytes", CHUNK_BYTES)
def test_strided_boxes_are_packed_from_any_byte_on(rng: np.random.Generator, chunk_bytes: int) -> None:
    forms = forms_of(chunk_bytes=chunk_bytes)
    _, arrays = arrays_of(rng)
    order = [0, 3, 4, 5, 1]
    expected = b"".join(arrays[i].tobytes() + bytes(-arrays[i].nbytes % 64) for i in order)
    assert step_of(forms.whole, arrays) == expected
    arrays[1] = arrays[2] = None
    assert step_of(forms.usual, arrays) == expected[:256]
    for offset in range(0, 257, 16):
        assert step_of(forms.usual, arrays, offset) == expected[offset:256]


def test_boxes_in_the_wire_dtype(rng: np.random.Generator) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    forms = forms_of(DType.BF16, left_out=[3, 4, 5])
    _, arrays = arrays_of(rng)
    for given in (arrays[0], arrays[0].astype(">f4"), arrays[0].astype(ml_dtypes.bfloat16)):
        found = step_of(forms.usual, [given, *[None] * 5])
        assert found == arrays[0].astype(ml_dtypes.bfloat16).tobytes() + bytes(48)


@pytest.mark.parametrize(
    ("index", "value", "problem"),
    [
        (0, None, "box 0 of tensor 'w' is missing"),
        (0, np.zeros((2, 4), np.float32), r"box 0 of tensor 'w' has shape \[2, 4\], \[4, 2\] in the run"),
        (3, np.zeros(3, np.int32), "box 3 of tensor 'ids' has dtype I32, I64 in the run"),
    ],
)
def test_mismatch_names_the_box(rng: np.random.Generator, index: int, value: Any, problem: str) -> None:
    _, arrays = arrays_of(rng)
    arrays[index] = value
    with pytest.raises(FailedPreconditionError, match=problem) as caught:
        forms_of().usual.checker.source(arrays)
    assert caught.value.reason == "LAYOUT_MISMATCH"


def test_arrays_come_one_per_box(rng: np.random.Generator) -> None:
    whole, arrays = arrays_of(rng)
    forms = forms_of()
    with pytest.raises(FailedPreconditionError, match="5 arrays were given for 6 boxes"):
        forms.usual.checker.source(arrays[:5])
    with pytest.raises(TypeError, match="by box, in a sequence, got dict"):
        forms.usual.checker.source(whole)
    by_name = PartForms(Layout(SPECS), Part.whole(Layout(SPECS)), None, 64)
    with pytest.raises(TypeError, match="by name, got list"):
        by_name.usual.checker.source(arrays)


def pushed(client: Client, run: str, rng: np.random.Generator) -> dict[str, Any]:
    weights: dict[str, Any] = random_weights(rng, [("w", (60, 50)), ("s", ()), ("cube", (7, 8, 9))])
    weights["ids"] = np.arange(100).reshape(20, 5)
    with client.open_run(run, weights, [Average.mean("mean")]) as opened:
        opened.update(3, weights)
    return weights


READ = [
    Box("cube", (1, 2, 3), (5, 6, 4)),
    Box("w", (0, 10), (60, 7)),
    Box("ids", (19, 0), (1, 5)),
    Box("s"),
    Box("w"),
    Box("w", (0, 10), (60, 7), 3),
    Box("w", (60, 0), (0, 50)),
]


@pytest.mark.parametrize("dtype", [None, "F16", "F64"])
@pytest.mark.parametrize("by_name", [True, False])
def test_reads_by_boxes(client: Client, run_name: str, rng: np.random.Generator, dtype: Any, by_name: bool) -> None:
    weights = pushed(client, run_name, rng)
    run: Any = run_name if by_name else client.open_run(run_name, weights, [Average.mean("mean")])
    shadow = client.get_shadow(run, boxes=READ, dtype=dtype)
    assert shadow.step == 3
    wide = {None: np.float32, "F16": np.float16, "F64": np.float64}[dtype]
    for box, spec, array in zip(READ, shadow.specs, shadow.arrays, strict=True):
        expected = part_of(weights[box.tensor], box)
        expected = expected.astype(wide) if spec.averaged else expected
        assert spec.name == box.tensor
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)
        assert spec.global_shape == list(weights[box.tensor].shape)
        assert spec.box_offset == list(box.offset or [0] * weights[box.tensor].ndim)
    with pytest.raises(ValueError, match="tensor 'w' was read by several boxes"):
        _ = shadow.tensors


def test_a_read_by_boxes_of_different_tensors_has_names(
    client: Client, run_name: str, rng: np.random.Generator
) -> None:
    weights = pushed(client, run_name, rng)
    shadow = client.get_shadow(run_name, boxes=READ[:3])
    assert list(shadow.tensors) == ["cube", "w", "ids"]
    assert np.array_equal(shadow.tensors["w"], weights["w"][:, 10:17])


def test_bad_reads_by_boxes(client: Client, run_name: str, rng: np.random.Generator) -> None:
    pushed(client, run_name, rng)
    with pytest.raises(ValueError, match="box 0 is of tensor 'x', the run has none"):
        client.get_shadow(run_name, boxes=[Box("x")])
    with pytest.raises(ValueError, match="box 1 of tensor 'w' goes from 0 to 61 in dimension 0"):
        client.get_shadow(run_name, boxes=[Box("s"), Box("w", (0, 0), (61, 1))])
    with pytest.raises(ValueError, match="boxes and names exclude each other"):
        client.get_shadow(run_name, boxes=[Box("w")], names=["w"])
    with pytest.raises(shadowkeep.NotFoundError):
        client.get_shadow("no-such-run", boxes=[Box("w")])


def test_a_run_that_was_opened_anew_is_noticed(client: Client, run_name: str) -> None:
    mean = [Average.mean("mean")]
    first: dict[str, F32] = {"a": np.zeros(4, np.float32), "b": np.ones(4, np.float32)}
    with client.open_run(run_name, first, mean) as run:
        run.update(1, first)
    assert client.get_shadow(run_name, boxes=[Box("b")]).arrays[0][0] == 1
    client.delete_run(run_name)
    turned = dict(reversed(first.items()))
    with client.open_run(run_name, turned, mean) as run:
        run.update(1, turned)
    with pytest.raises(FailedPreconditionError, match=r"tensor 'b' of run .* was meant, 'a' came"):
        client.get_shadow(run_name, boxes=[Box("b")])
    assert client.get_shadow(run_name, boxes=[Box("b")]).arrays[0][0] == 1
