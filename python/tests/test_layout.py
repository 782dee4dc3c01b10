"""Where tensors lie in a step, what is refused, and how a step is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shadowkeep import FailedPreconditionError, TensorSpec
from shadowkeep.layout import Layout, cut, step_pieces
from shadowkeep.wire import Bytes1D, DType, Policy


def step_bytes(layout: Layout, tensors: dict[str, Any]) -> bytes:
    return b"".join(piece.tobytes() for piece in step_pieces(layout.check(tensors)))


def test_tensors_lie_on_multiples_of_64() -> None:
    layout = Layout(
        {
            "scalar": TensorSpec("F32", ()),
            "empty": ("F32", (0, 5)),
            "odd": np.zeros(33, np.uint8),
            "ignored": TensorSpec("F32", (7,), "IGNORE"),
            "last": ("float64", (9,)),
        }
    )
    assert [(t.offset, t.size_bytes) for t in layout.tensors] == [(0, 4), (64, 0), (64, 33), (128, 0), (128, 72)]
    assert layout.step_bytes == 256
    assert [t.policy for t in layout.tensors] == [
        Policy.AVERAGE,
        Policy.AVERAGE,
        Policy.COPY,
        Policy.IGNORE,
        Policy.AVERAGE,
    ]


def test_wire_dtype_is_for_averaged_tensors_only() -> None:
    layout = Layout({"a": ("F32", (3,)), "b": TensorSpec("F32", (3,), "COPY"), "c": ("I64", (3,))}, DType.BF16)
    assert [t.wire_dtype for t in layout.tensors] == [DType.BF16, DType.F32, DType.I64]
    assert [t.size_bytes for t in layout.tensors] == [6, 12, 24]


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
        layout.check(changed)
    assert caught.value.reason == "LAYOUT_MISMATCH"
    assert caught.value.metadata["tensor"] in ("b", "c")


@pytest.mark.parametrize(
    ("spec", "error"),
    [(("complex64", (1,)), ValueError), (("F32", (-1,)), ValueError), ([1, 2], TypeError)],
)
def test_bad_specs_are_refused(spec: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="'w'"):
        Layout({"w": spec})


@pytest.mark.parametrize("chunk_bytes", [16, 48, 64, 1024, 1 << 20])
def test_cut_keeps_the_bytes(rng: np.random.Generator, chunk_bytes: int) -> None:
    sizes = [0, 1, 15, 64, 64, 1000, 4096, 3, 13]
    pieces: list[Bytes1D] = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    chunks = [b"".join(part.tobytes() for part in parts) for parts in cut(iter(pieces), chunk_bytes)]
    assert b"".join(chunks) == b"".join(piece.tobytes() for piece in pieces)
    assert [len(chunk) for chunk in chunks[:-1]] == [chunk_bytes] * (len(chunks) - 1)
    assert 0 < len(chunks[-1]) <= chunk_bytes


def test_large_tensors_are_not_copied() -> None:
    tensor = np.zeros(1 << 18, np.float32)
    chunks = list(cut(step_pieces(Layout({"w": tensor}).check({"w": tensor})), 1 << 18))
    assert len(chunks) == 4
    assert all(np.shares_memory(part, tensor) for parts in chunks for part in parts)
