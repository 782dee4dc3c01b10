"""Checksums of tensors' bytes, a part at a time: finds writes that torch does not count.

piece 0                            piece 1
| unit 0 | unit 1 | unit 2 .. |    | unit 3 .... |       each step looks at the next units, round and round
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch

from ..checksums import find_checksum
from ..wire import Bytes1D, Checksum

# The sender holds the interpreter for so long at a time: about 0.2 ms.
UNIT_BYTES = 4 << 20
# What is looked at after each step: a few milliseconds of the sender's time. 14 GB are seen once in some 200 steps.
STEP_BYTES = 64 << 20

_crc: Checksum = find_checksum(None) or cast(Checksum, zlib.crc32)


class Unit(NamedTuple):
    """Bytes of a piece; one that is not contiguous in memory is one unit."""

    piece: int
    start: int
    stop: int


class Digests:
    """What the bytes of some tensors were.

    Args:
        pieces: views of them; they are not kept.
    """

    def __init__(self, pieces: Sequence[torch.Tensor]) -> None:
        self._units = [unit for number, view in enumerate(pieces) for unit in _units(number, view)]
        self._reader = _HostReader(pieces)
        self._reader.wait_for_training()
        self._sums = [_crc(self._reader.read(pieces[unit.piece], unit), 0) for unit in self._units]
        self._next = 0

    def due(self) -> list[int]:
        """Return the numbers of the next units to look at."""
        due: list[int] = []
        left = STEP_BYTES
        while len(due) < len(self._units) and (left > 0 or not due):
            unit = self._units[self._next]
            left -= unit.stop - unit.start
            if left < 0 and due:
                break
            due.append(self._next)
            self._next = (self._next + 1) % len(self._units)
        return due

    def piece_of(self, number: int) -> int:
        """Return the piece that a unit is of."""
        return self._units[number].piece

    def of_piece(self, piece: int) -> list[int]:
        """Return the units of a piece."""
        return [number for number, unit in enumerate(self._units) if unit.piece == piece]

    def differs(self, number: int, view: torch.Tensor) -> bool:
        """Return whether a unit of the piece has other bytes than at first."""
        return _crc(self._reader.read(view, self._units[number]), 0) != self._sums[number]

    def wait_for_training(self) -> None:
        """Let what is read from now on be what the calling thread's stream has been given to write."""
        self._reader.wait_for_training()


class _HostReader:
    """Brings bytes to the host, from a GPU on a stream of its own, beside the training."""

    def __init__(self, pieces: Sequence[torch.Tensor]) -> None:
        devices = {view.device for view in pieces if view.device.type == "cuda"}
        self._streams = {device: torch.cuda.Stream(device) for device in devices}  # type: ignore[no-untyped-call]
        self._pinned = torch.empty(UNIT_BYTES, dtype=torch.uint8, device="cpu", pin_memory=True) if devices else None

    def wait_for_training(self) -> None:
        for device, stream in self._streams.items():
            stream.wait_stream(torch.cuda.current_stream(device))

    def read(self, view: torch.Tensor, unit: Unit) -> Bytes1D:
        """Return the bytes; they stay until the next call."""
        stream = self._streams.get(view.device)
        if stream is None or self._pinned is None:
            here: Bytes1D = _bytes(view)[unit.start : unit.stop].cpu().numpy()
            return here
        with torch.cuda.stream(stream):
            source = _bytes(view)[unit.start : unit.stop]
            fits = source.numel() <= UNIT_BYTES
            host = self._pinned[: source.numel()] if fits else torch.empty_like(source, device="cpu")
            host.copy_(source, non_blocking=True)
        stream.synchronize()
        copied: Bytes1D = host.numpy()
        return copied


def _units(number: int, view: torch.Tensor) -> list[Unit]:
    size = view.numel() * view.element_size()
    step = UNIT_BYTES if view.is_contiguous() else max(size, 1)
    return [Unit(number, start, min(start + step, size)) for start in range(0, size, step)]


def _bytes(view: torch.Tensor) -> torch.Tensor:
    return view.detach().contiguous().reshape(-1).view(torch.uint8)
