"""One copy of the model's tensors, laid out as the bytes of a step, taken with as little delay as the device allows.

On the CPU it is one pass over the weights, which also converts them to the wire dtype. On a GPU the copies run on
a stream of their own into pinned memory: `take` only launches them. The weights must not change before they are
read, so the next optimizer step waits, on the GPU's side, for the copies' event (`_CopyGuard`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..layout import Layout
from ..wire import Bytes1D, Policy
from .dtypes import torch_dtype


class Snapshot:
    """A host buffer of one step; its memory is allocated once.

    Args:
        tensors: the tensors that are sent, in the layout's order.
        layout: where they lie; ignored tensors must not be in it.
    """

    def __init__(self, tensors: Sequence[torch.Tensor], layout: Layout) -> None:
        assert all(tensor.policy != Policy.IGNORE for tensor in layout.tensors)
        cuda = [tensor.device for tensor in tensors if tensor.is_cuda]
        # Zeroed once: the gaps stay zero. The pages are touched here, not in the first step.
        self._flat = torch.zeros(layout.step_bytes, dtype=torch.uint8, pin_memory=bool(cuda))
        self._sources = [tensor.detach() for tensor in tensors]
        self._targets = [
            self._flat[place.offset : place.offset + place.size_bytes]
            .view(torch_dtype(place.wire_dtype))
            .view(place.shape)
            for place in layout.sent
        ]
        self._guard = _CopyGuard(cuda[0]) if cuda else None

    @property
    def space(self) -> Bytes1D:
        """The step's bytes; read them after `wait`."""
        space: Bytes1D = self._flat.numpy()
        return space

    def take(self) -> None:
        """Copy the tensors as they are now; the previous snapshot must have been read."""
        if self._guard is None:
            _copy(self._targets, self._sources)
        else:
            self._guard.copy(self._targets, self._sources)

    def wait(self) -> None:
        """Wait until the copies have arrived; called by the sender, not by the trainer."""
        if self._guard is not None:
            self._guard.wait()

    def close(self) -> None:
        """Remove the optimizer hook, if there is one."""
        if self._guard is not None:
            self._guard.close()


class _CopyGuard:
    """Copies on a side stream, and keeps the weights as they are until the copies have read them.

    A global hook makes the stream of the next optimizer step wait for the copies' event, so that forward and
    backward run beside them. Trainers whose steps do not go through torch.optim.Optimizer never call the hook: as
    long as none was seen since the last snapshot, the training stream waits at once instead.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._hook_seen = False
        self._hook = torch.optim.optimizer.register_optimizer_step_pre_hook(self._before_step)

    def copy(self, targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor]) -> None:
        training = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(training)
        with torch.cuda.stream(self._stream):
            _copy(targets, sources)
            self._copied.record(self._stream)
        if not self._hook_seen:
            training.wait_event(self._copied)
        self._hook_seen = False

    def wait(self) -> None:
        self._copied.synchronize()

    def close(self) -> None:
        self._hook.remove()

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        # A captured graph replays without this hook: then the wait at once is the safe one.
        if not torch.cuda.is_current_stream_capturing():
            torch.cuda.current_stream(self._stream.device).wait_event(self._copied)
            self._hook_seen = True


@torch.no_grad()
def _copy(targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor]) -> None:
    torch._foreach_copy_(list(targets), list(sources), non_blocking=True)
