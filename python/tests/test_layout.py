"""Where tensors lie in a step, and which layouts are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shadowkeep import TensorSpec
from shadowkeep.layout import Layout
from shadowkeep.wire import DType, Policy


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


@pytest.mark.parametrize(
    ("spec", "error"),
    [(("complex64", (1,)), ValueError), (("F32", (-1,)), ValueError), ([1, 2], TypeError)],
)
def test_bad_specs_are_refused(spec: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="'w'"):
        Layout({"w": spec})
