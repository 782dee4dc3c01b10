"""A place where torch does what is asked, whatever the training script has switched on around the call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.utils._python_dispatch import _disable_current_modes


@contextmanager
def plain_torch() -> Iterator[None]:
    """Leave out the default device, TorchFunctionModes and TorchDispatchModes, inference mode, and autograd.

    What is allocated inside is real memory that may be written later, outside of inference mode. Autocast and the
    default dtype do not touch copies, nor what is allocated with a dtype.
    """
    with ExitStack() as stack:
        # The default device is such a mode, too.
        stack.enter_context(torch._C.DisableTorchFunction())
        stack.enter_context(_disable_current_modes())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        yield
