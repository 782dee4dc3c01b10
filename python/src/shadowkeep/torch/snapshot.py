"""One copy of the model's tensors, laid out as the bytes of a step, taken with as little delay as the device allows.

On the CPU it is one pass over the weights, which also casts them to the wire dtype. On a GPU the copies run on a stream
of their own into pinned memory, and `take` only launches them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..layout import Layout
from ..wire import Bytes1D
from .copy_guard import CopyGuard
from .names import NamedTensor
from .staging import StagedCopy, place_view


class Snapshot:
    """A host buffer of one step; its memory is allocated once.

    Args:
        tensors: what is sent, in the layout's order.
        layout: where each lies; it ignores none.
    """

    def __init__(self, tensors: Sequence[NamedTensor], layout: Layout) -> None:
        self._tensors = tensors
        live = [named.tensor for named in tensors]
        self._expected = [(tensor.shape, tensor.device) for tensor in live]
        devices = {tensor.device for tensor in live}
        on_gpu = len(devices) == 1 and live[0].is_cuda
        # Zeroed once: the gaps stay zero, and the pages are touched here, not in the first step.
        self._host = torch.zeros(layout.step_bytes, dtype=torch.uint8, pin_memory=on_gpu)
        self._views = [place_view(self._host, place) for place in layout.sent]
        self._staged = StagedCopy(layout, self._host, live[0].device) if on_gpu else None
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
        live = [named.tensor for named in self._tensors]
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
