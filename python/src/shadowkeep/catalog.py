"""Where runs have their tensors, for reads by boxes; asked of the service once per run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import wire
from .boxes import Box, check_box, to_messages
from .errors import FailedPreconditionError
from .layout import Layout
from .shadow import Shadow

Shapes = dict[str, tuple[int, ...]]


class Catalog:
    """Shapes of the tensors of runs, in the order of their layouts.

    Args:
        describe: asks the service for a run.
    """

    def __init__(self, describe: Callable[[str], wire.RunInfo]) -> None:
        self._describe = describe
        self._shapes: dict[str, Shapes] = {}

    def to_messages(self, run: str, layout: Layout | None, boxes: Sequence[Box]) -> list[wire.Box]:
        """Return the boxes of a read as they travel. Raises ValueError, which names the box and its bound."""
        if layout is not None:
            shapes = {tensor.name: tensor.shape for tensor in layout.tensors}
        else:
            shapes = self._shapes_of(run)
        checked = [check_box(number, box, shapes)._replace(replica_group=0) for number, box in enumerate(boxes)]
        return to_messages(checked, {name: index for index, name in enumerate(shapes)})

    def compare(self, run: str, boxes: Sequence[Box], shadow: Shadow) -> None:
        """Check that the read brought the tensors that were meant: the run may have been opened anew since."""
        for box, spec in zip(boxes, shadow.specs, strict=True):
            if box.tensor != spec.name:
                self.forget(run)
                raise FailedPreconditionError(
                    f"tensor {box.tensor!r} of run {run!r} was meant, {spec.name!r} came: its layout has changed",
                    reason="LAYOUT_MISMATCH",
                    metadata={"tensor": box.tensor},
                )

    def forget(self, run: str) -> None:
        """Ask the service again at the next read."""
        self._shapes.pop(run, None)

    def _shapes_of(self, run: str) -> Shapes:
        if run not in self._shapes:
            self._shapes[run] = {tensor.name: tuple(tensor.shape) for tensor in self._describe(run).tensors}
        return self._shapes[run]
