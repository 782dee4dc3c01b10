"""Where bytes lie, and which boxes are none: the cases that the service and the Node.js client run, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shadowkeep import Box, TensorSpec
from shadowkeep.boxes import Part, checked_boxes
from shadowkeep.layout import Layout
from shadowkeep.wire import DType

CASES = json.loads((Path(__file__).parents[2] / "test" / "common" / "byte-space.json").read_text())


def layout_of(tensors: list[dict[str, Any]], wire_dtype: str | None = None) -> Layout:
    specs = {t["name"]: TensorSpec(t["dtype"], t["shape"], t.get("policy")) for t in tensors}
    return Layout(specs, DType[wire_dtype] if wire_dtype else DType.UNSPECIFIED)


def box_of(box: dict[str, Any]) -> Box:
    return Box(box["tensor"], box.get("offset", ()), box.get("extent", ()), box.get("replicaGroup", 0))


@pytest.mark.parametrize("case", CASES["spaces"], ids=lambda case: case["what"])
def test_a_byte_space_is_laid_out_as_by_the_service(case: dict[str, Any]) -> None:
    layout = layout_of(case.get("tensors", CASES["tensors"]), case.get("wireDtype"))
    if "boxes" in case:
        boxes = checked_boxes(layout, [box_of(box) for box in case["boxes"]])
        part = Part.of_boxes(layout, boxes, case.get("leftOut", ()))
    else:
        part = Part.whole(layout)
    places = [[place.name, place.offset, place.size_bytes] for place in part.places if place.size_bytes > 0]
    assert places == case["places"]
    assert (part.step_bytes, part.first_step_bytes) == (case["stepBytes"], case["firstStepBytes"])


@pytest.mark.parametrize("case", CASES["boxes"] + CASES["clientBoxes"], ids=lambda case: case["what"])
def test_a_box_is_taken_or_refused_as_by_the_service(case: dict[str, Any]) -> None:
    layout = layout_of(CASES["tensors"])
    if case.get("isRefused"):
        with pytest.raises((ValueError, TypeError), match=r"box 0"):
            checked_boxes(layout, [box_of(case["box"])])
    else:
        checked_boxes(layout, [box_of(case["box"])])
