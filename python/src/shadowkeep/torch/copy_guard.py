"""A CUDA stream for copies, and what keeps the weights as they are until the copies have read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class CopyGuard:
    """Runs copies beside the training stream.

    The weights must not change before the copies have read them. A global hook makes the stream of the next optimizer
    step wait for the copies' event, on the device's side, so that forward and backward run beside them. Trainers
    whose steps do not go through `torch.optim.Optimizer` never call the hook: where none was seen since the last
    snapshot, the training stream waits at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._hook_seen = False
        self._hook = torch.optim.optimizer.register_optimizer_step_pre_hook(self._before_step)

    def launch(self, copy: Callable[[], None]) -> None:
        """Call `copy` on the side stream, after all that the training stream has been given so far."""
        training = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(training)
        with torch.cuda.stream(self._stream):
            copy()
            self._copied.record(self._stream)
        if not self._hook_seen:
            training.wait_event(self._copied)
        self._hook_seen = False

    def wait(self) -> None:
        """Wait until the copies have arrived."""
        self._copied.synchronize()

    def close(self) -> None:
        """Remove the hook."""
        self._hook.remove()

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        # A captured graph is replayed without this hook; then waiting at once is the safe way.
        if not torch.cuda.is_current_stream_capturing():
            torch.cuda.current_stream(self._device).wait_event(self._copied)
            self._hook_seen = True
