"""What a step is made of: with the tensors that are sent once, or without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from . import wire
from .boxes import Box, Part, PlacedBox
from .chunks import plan_chunks
from .errors import FailedPreconditionError
from .layout import Layout
from .step import Arrays, StepChecker


class StepForm:
    """How steps that send the places `sent` are checked and cut into chunks.

    Attributes:
        size: length of the step, bytes.
        checker: of the caller's arrays.
        plan: the chunks of a step in arrays.
        space_plan: those of a step that is one piece already.
    """

    def __init__(self, sent: Sequence[PlacedBox], size: int, checker: StepChecker, chunk_bytes: int) -> None:
        self.size = size
        self.checker = checker
        self.plan = plan_chunks(((place.size_bytes, place.gap_bytes) for place in sent), chunk_bytes)
        self.space_plan = plan_chunks([(size, 0)], chunk_bytes)


class PartForms:
    """The two forms of a writer's steps.

    Args:
        layout: of the run.
        part: what the writer sends.
        box_count: of its declared boxes; None: it sends the whole layout, and its arrays come by name.
        chunk_bytes: of data in one chunk.

    Attributes:
        part: what the writer sends.
        whole: with the tensors that are sent once.
        usual: without them; the same form where there are none.
    """

    def __init__(self, layout: Layout, part: Part, box_count: int | None, chunk_bytes: int) -> None:
        names = {tensor.name for tensor in layout.tensors}
        once = part.places[len(part.each_step) :]
        self.part = part
        checker = StepChecker(part.places, names, (), box_count)
        self.whole = self.usual = StepForm(part.places, part.first_step_bytes, checker, chunk_bytes)
        self._once = [place.name if box_count is None else place.box_index for place in once]
        if once:
            checker = StepChecker(part.each_step, names, [place.name for place in once], box_count)
            self.usual = StepForm(part.each_step, part.step_bytes, checker, chunk_bytes)

    @classmethod
    def of_opened(
        cls, run: str, opened: wire.UpdateOpened, layout: Layout, boxes: Sequence[Box] | None, chunk_bytes: int
    ) -> Self:
        """Return the forms of a writer whose stream is open.

        Raises:
            FailedPreconditionError: LAYOUT_MISMATCH: the service has another part of the run for it.
        """
        if boxes is None:
            part, box_count = Part.whole(layout), None
        else:
            part, box_count = Part.of_boxes(layout, boxes, opened.left_out), len(boxes)
        theirs, ours = [(sized.step_bytes, sized.first_step_bytes) for sized in (opened, part)]
        if theirs != ours:
            raise FailedPreconditionError(
                f"a step of run {run!r} has {theirs[0]} bytes, the first one {theirs[1]}, here {ours[0]} and {ours[1]}",
                reason="LAYOUT_MISMATCH",
            )
        return cls(layout, part, box_count, chunk_bytes)

    def lacks_once(self, arrays: Arrays) -> bool:
        """Whether an array of those that are sent once is not given."""
        given = arrays.keys() if isinstance(arrays, Mapping) else {i for i, a in enumerate(arrays) if a is not None}
        return any(key not in given for key in self._once)

    def of_size(self, size: int) -> StepForm | None:
        """Return the form of steps of `size` bytes."""
        return {form.size: form for form in (self.whole, self.usual)}.get(size)
