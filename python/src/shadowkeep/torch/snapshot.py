"""A copy of a model's tensors in the form in which they travel, taken between two training steps.

On the CPU it is one pass over the weights, which also casts them to the wire dtype. On a GPU the copies run on a stream
of their own into pinned memory, and `take` only launches them. Of a sharded model it is this process's part.
"""

from __future__ import annotations

import torch

from ..boxes import Part
from ..wire import Bytes1D
from .ambient import plain_torch
from .copy_guard import CopyGuard
from .share import Share
from .staging import StagedCopy, place_view


class Snapshot:
    """A host buffer of one step without the tensors that are sent once; its memory is allocated once.

    Args:
        share: what is sent.
        part: where each piece of it lies.
    """

    def __init__(self, share: Share, part: Part) -> None:
        places = part.each_step
        self._sources = share.sources(places)
        live = self._sources.live()
        with plain_torch():
            devices = {view.device for view in self._sources.views(live)}
            device = devices.pop() if len(devices) == 1 else torch.device("cpu")
            on_gpu = device.type == "cuda"
            # Zeroed once: the gaps stay zero, and the pages are touched here, not in the first step.
            self._host = torch.zeros(part.step_bytes, dtype=torch.uint8, device="cpu", pin_memory=on_gpu)
            self._views = [place_view(self._host, place) for place in places]
            self._staged = StagedCopy(places, self._host, device) if on_gpu else None
            self._guard = CopyGuard(device) if on_gpu else None
            self._space: Bytes1D = self._host.numpy()

    @property
    def space(self) -> Bytes1D:
        """The step's bytes; read them after `wait`."""
        return self._space

    def take(self) -> None:
        """Copy the tensors as they are now; the snapshot before must have been read.

        Raises:
            RuntimeError: a tensor has another shape or is on another device than before; the message names it.
        """
        live = self._sources.live()
        with plain_torch():
            views = self._sources.views(live)
            staged = self._staged
            if self._guard is not None and staged is not None:
                self._guard.launch(lambda: staged.copy(views))
            elif views:
                torch._foreach_copy_(self._views, views)

    def wait(self) -> None:
        """Wait until the copies have arrived; called by the sender, not by the trainer."""
        if self._guard is not None:
            self._guard.wait()

    def close(self) -> None:
        """Remove the hook on optimizers, if there is one."""
        if self._guard is not None:
            self._guard.close()


def whole_step(share: Share, part: Part) -> Bytes1D:
    """Return the bytes of a step with all tensors, those that are sent once among them, in memory of their own."""
    sources = share.sources(part.places)
    live = sources.live()
    with plain_torch():
        host = torch.zeros(part.first_step_bytes, dtype=torch.uint8, device="cpu")
        views = sources.views(live)
        if views:
            torch._foreach_copy_([place_view(host, place) for place in part.places], views)
        space: Bytes1D = host.numpy()
    return space
