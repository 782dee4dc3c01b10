"""From arrays to chunks: the bytes, what is refused, and what is not copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shadowkeep import FailedPreconditionError, TensorSpec
from shadowkeep.boxes import Part
from shadowkeep.chunks import fill_chunk, plan_chunks
from shadowkeep.layout import Layout
from shadowkeep.step import StepChecker
from shadowkeep.wire import DType

CHUNK_BYTES = [16, 48, 64, 80, 1024, 1 << 20]


def checker(layout: Layout) -> StepChecker:
    return StepChecker(Part.whole(layout).places, {tensor.name for tensor in layout.tensors})


def step_chunks(layout: Layout, tensors: dict[str, Any], chunk_bytes: int = 64) -> list[bytes]:
    source = checker(layout).source(tensors)
    plan = plan_chunks(((tensor.size_bytes, tensor.gap_bytes) for tensor in layout.sent), chunk_bytes)
    chunks = [b"".join(fill_chunk(chunk, source)) for chunk in plan]
    assert [chunk.size for chunk in plan] == [len(chunk) for chunk in chunks]
    assert [chunk.offset for chunk in plan] == [index * chunk_bytes for index in range(len(chunks))]
    return chunks


def step_bytes(layout: Layout, tensors: dict[str, Any]) -> bytes:
    return b"".join(step_chunks(layout, tensors))


def test_step_is_little_endian_row_major_with_zero_gaps() -> None:
    matrix = np.arange(6, dtype=">f4").reshape(2, 3).T
    layout = Layout({"m": matrix, "s": ("F32", ())})
    expected = np.zeros(32, np.float32)
    expected[:6] = [0, 3, 1, 4, 2, 5]
    expected[16] = 8
    assert step_bytes(layout, {"m": matrix, "s": np.float32(8)}) == expected.tobytes()


def test_step_in_the_wire_dtype() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.array([1, 1.001, -2.5], np.float32)
    narrow = values.astype(ml_dtypes.bfloat16)
    layout = Layout({"w": values}, DType.BF16)
    assert step_bytes(layout, {"w": values}) == narrow.tobytes() + bytes(58)
    assert step_bytes(layout, {"w": narrow}) == narrow.tobytes() + bytes(58)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"b": None}, "tensor 'b' is missing"),
        ({"c": np.zeros(1, np.float32)}, "tensor 'c' is not in the run"),
        ({"b": np.zeros(5, np.float32)}, r"tensor 'b' has shape \[5\], \[4\] in the run"),
        ({"b": np.zeros(4, np.float64)}, "tensor 'b' has dtype F64, F32 in the run"),
    ],
)
def test_mismatch_names_the_tensor(change: dict[str, Any], problem: str) -> None:
    tensors: dict[str, Any] = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float32)}
    layout = Layout(tensors)
    changed = {name: value for name, value in {**tensors, **change}.items() if value is not None}
    with pytest.raises(FailedPreconditionError, match=problem) as caught:
        checker(layout).source(changed)
    assert caught.value.reason == "LAYOUT_MISMATCH"
    assert caught.value.metadata["tensor"] in ("b", "c")


@pytest.mark.parametrize("chunk_bytes", CHUNK_BYTES)
@pytest.mark.parametrize("wire_dtype", [DType.UNSPECIFIED, DType.F64])
def test_cut_keeps_the_bytes(rng: np.random.Generator, chunk_bytes: int, wire_dtype: DType) -> None:
    sizes = [0, 1, 15, 16, 17, 64, 250, 1024, 3, 13, 0]
    tensors = {f"t{index}": rng.standard_normal(size, dtype=np.float32) for index, size in enumerate(sizes)}
    layout = Layout({**tensors, "skipped": TensorSpec("F32", (9,), "IGNORE")}, wire_dtype)
    wide = np.float64 if wire_dtype else np.float32
    expected = b"".join(t.astype(wide).tobytes() + bytes(-t.astype(wide).nbytes % 64) for t in tensors.values())
    chunks = step_chunks(layout, tensors, chunk_bytes)
    assert b"".join(chunks) == expected
    assert len(expected) == layout.step_bytes
    assert all(len(chunk) == chunk_bytes for chunk in chunks[:-1])


def test_tensors_are_not_copied() -> None:
    tensors = {"large": np.zeros(1 << 18, np.float32), "small": np.zeros(3, np.float32)}
    layout = Layout(tensors)
    plan = plan_chunks(((tensor.size_bytes, tensor.gap_bytes) for tensor in layout.sent), 1 << 18)
    source = checker(layout).source(tensors)
    parts = [part for chunk in plan for part in fill_chunk(chunk, source)]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    assert len(plan) == len(arrays) == 5
    assert all(np.shares_memory(part, tensors["large"]) for part in arrays[:4])
    assert arrays[4] is tensors["small"]


def test_conversion_holds_one_tensor_at_a_time() -> None:
    tensors = {name: np.ones(100, np.float32) for name in "ab"}
    source = checker(Layout(tensors, DType.BF16)).source(tensors)
    assert source(0) is source(0)
    first = source(0)
    source(1)
    assert source(0) is not first
