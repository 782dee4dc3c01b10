"""Watches the tensors that are sent once, so that the service never has old ones without anybody's knowing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ..client import Client
from ..shadow import Shadow
from .load import shadow_tensors
from .names import NamedTensor

# What is read at a time to be compared, unless one tensor is larger.
BATCH_BYTES = 256 << 20


class FrozenTensors:
    """A trainer's frozen tensors, which the run has since its first step and takes no more.

    Args:
        client: for reading them back.
        run: the run's name.
        average: one of its averages; copied tensors are the same in all.
        tensors: those of policy COPY_ONCE.
    """

    def __init__(self, client: Client, run: str, average: str, tensors: Sequence[NamedTensor]) -> None:
        self._client = client
        self._run = run
        self._average = average
        self._tensors = tensors
        self._marks = [_mark(named.tensor) for named in tensors]

    def check(self) -> None:
        """Look at each tensor, in less than a microsecond; those that were written or replaced are verified.

        Writes through `.data`, which torch does not count, are not seen.

        Raises:
            RuntimeError: a tensor is trained now, or differs from the service's; the message names it.
        """
        live = [named.tensor for named in self._tensors]
        for named, tensor in zip(self._tensors, live, strict=True):
            if tensor.requires_grad:
                raise RuntimeError(
                    f"parameter {named.name!r} was frozen when it was registered and is trained now, but the service "
                    'would keep it as it was: register the model unfrozen, or with frozen="average" or "copy"'
                )
        marks = [_mark(tensor) for tensor in live]
        pairs = zip(self._tensors, marks, self._marks, strict=True)
        self.verify([named for named, mark, before in pairs if mark != before])
        self._marks = marks

    def verify(self, tensors: Sequence[NamedTensor] | None = None) -> None:
        """Compare tensors (None: all) with the service's. Raises RuntimeError, which names the first that differs."""
        shadow: Shadow | None = None
        for batch in _batches(self._tensors if tensors is None else tensors):
            names = [named.name for named in batch]
            shadow = self._client.get_shadow(self._run, self._average, names=names, reuse=shadow)
            theirs = shadow_tensors(shadow)
            for named in batch:
                if not _same_bytes(named.tensor, theirs[named.name]):
                    raise RuntimeError(
                        f"frozen tensor {named.name!r} is not what run {self._run!r} got with its first step and "
                        'keeps: open another run, or with frozen="average" or "copy" from the start'
                    )


def _mark(tensor: torch.Tensor) -> tuple[int, int, int]:
    version = 0 if tensor.is_inference() else tensor._version
    return id(tensor), tensor.data_ptr(), version


def _batches(tensors: Sequence[NamedTensor]) -> Iterator[list[NamedTensor]]:
    batch: list[NamedTensor] = []
    size = 0
    for named in tensors:
        if batch and size + named.tensor.nbytes > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(named)
        size += named.tensor.nbytes
    if batch:
        yield batch


def _same_bytes(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Compare bit by bit: a NaN equals itself."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    flat = ours.detach().cpu().contiguous().reshape(-1)
    return torch.equal(flat.view(torch.uint8), theirs.reshape(-1).view(torch.uint8))
