"""One copy of the model's tensors, laid out as the bytes of a step, taken with as little delay as the device allows.

On the CPU it is one pass over the weights, which also casts them to the wire dtype. On a GPU the copies run on a stream
of their own into pinned memory, and `take` only launches them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..layout import Layout, PlacedTensor
from ..wire import Bytes1D
from .copy_guard import CopyGuard
from .names import NamedTensor
from .staging import StagedCopy, place_view
from .weights import PushedTensors


class Snapshot:
    """A host buffer of one step without the tensors that are sent once; its memory is allocated once.

    Args:
        pushed: what is sent.
        layout: where each tensor lies; it ignores none.
    """

    def __init__(self, pushed: PushedTensors, layout: Layout) -> None:
        self._pushed = pushed
        places = layout.each_step
        self._tensors = _in_order(pushed, places)
        live = pushed.live(self._tensors)
        self._expected = [(tensor.shape, tensor.device) for tensor in live]
        devices = {tensor.device for tensor in live}
        on_gpu = len(devices) == 1 and live[0].is_cuda
        # Zeroed once: the gaps stay zero, and the pages are touched here, not in the first step.
        self._host = torch.zeros(layout.step_bytes, dtype=torch.uint8, pin_memory=on_gpu)
        self._views = [place_view(self._host, place) for place in places]
        self._staged = StagedCopy(places, self._host, live[0].device) if on_gpu else None
        self._guard = CopyGuard(live[0].device) if on_gpu else None

    @property
    def space(self) -> Bytes1D:
        """The step's bytes; read them after `wait`."""
        space: Bytes1D = self._host.numpy()
        return space

    @torch.no_grad()
    def take(self) -> None:
        """Copy the tensors as they are now; the snapshot before must have been read.

        Raises:
            RuntimeError: a tensor has another shape or is on another device than before; the message names it.
        """
        live = self._pushed.live(self._tensors)
        if [(tensor.shape, tensor.device) for tensor in live] != self._expected:
            self._raise_changed(live)
        staged = self._staged
        if self._guard is None or staged is None:
            torch._foreach_copy_(self._views, live)
        else:
            self._guard.launch(lambda: staged.copy(live))

    def wait(self) -> None:
        """Wait until the copies have arrived; called by the sender, not by the trainer."""
        if self._guard is not None:
            self._guard.wait()

    def close(self) -> None:
        """Remove the hook on optimizers, if there is one."""
        if self._guard is not None:
            self._guard.close()

    def _raise_changed(self, live: Sequence[torch.Tensor]) -> None:
        for named, tensor, (shape, device) in zip(self._tensors, live, self._expected, strict=True):
            if (tensor.shape, tensor.device) != (shape, device):
                raise RuntimeError(
                    f"tensor {named.name!r} has shape {list(tensor.shape)} on {tensor.device}, "
                    f"{list(shape)} on {device} when it was registered"
                )


@torch.no_grad()
def whole_step(pushed: PushedTensors, layout: Layout) -> Bytes1D:
    """Return the bytes of a step with all tensors, those that are sent once among them, in memory of their own."""
    host = torch.zeros(layout.first_step_bytes, dtype=torch.uint8)
    views = [place_view(host, place) for place in layout.sent]
    torch._foreach_copy_(views, pushed.live(_in_order(pushed, layout.sent)))
    space: Bytes1D = host.numpy()
    return space


def _in_order(pushed: PushedTensors, places: Sequence[PlacedTensor]) -> list[NamedTensor]:
    by_name = {named.name: named for named in pushed.tensors}
    return [by_name[place.name] for place in places]
