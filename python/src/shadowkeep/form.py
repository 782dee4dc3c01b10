"""What a step is made of: with the tensors that are sent once, or without them."""

from __future__ import annotations

from collections.abc import Sequence

from .chunks import plan_chunks
from .layout import Layout, PlacedTensor
from .step import StepChecker


class StepForm:
    """How steps that send the tensors `sent`, the first ones of the byte space, are checked and cut into chunks.

    Attributes:
        size: length of the step, bytes.
        checker: of the caller's arrays.
        plan: the chunks of a step in arrays.
        space_plan: those of a step that is one piece already.
    """

    def __init__(self, layout: Layout, sent: Sequence[PlacedTensor], size: int, chunk_bytes: int) -> None:
        self.size = size
        self.checker = StepChecker(layout, sent)
        self.plan = plan_chunks(((tensor.size_bytes, tensor.gap_bytes) for tensor in sent), chunk_bytes)
        self.space_plan = plan_chunks([(size, 0)], chunk_bytes)
