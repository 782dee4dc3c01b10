"""The door for both sides: `connect(target)` gives trainers `open_run` and evaluators `get_shadow`."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import grpc

from . import wire
from .allocator import keep_freed_blocks
from .averages import Average
from .checksums import find_checksum
from .dtypes import FLOATS, FloatName
from .errors import from_rpc
from .layout import Layout, TensorSpecs
from .run import Run
from .shadow import Shadow, receive
from .stub import CHANNEL_OPTIONS, StreamCall, Stub

WAIT_SECONDS_DEFAULT = 60.0


def connect(target: str, *, checksums: bool | None = None, timeout: float = 60.0) -> Client:
    """Return a client of the service at `target`; the connection is made by the first call.

    Args:
        target: "HOST:PORT".
        checksums: send and verify crc32c of each chunk. None: when google-crc32c or crc32c is installed.
        timeout: deadline of single requests, seconds; streams of tensors have none.

    Raises:
        ImportError: `checksums=True`, and no package computes them.
    """
    return Client(target, checksums=checksums, timeout=timeout)


class Client:
    """A connection to the service; a context manager that closes it. Safe to use from several threads."""

    def __init__(self, target: str, *, checksums: bool | None = None, timeout: float = 60.0) -> None:
        keep_freed_blocks()
        self.target = target
        self._checksum = find_checksum(checksums)
        self._timeout = timeout
        self._channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        self._stub = Stub(self._channel, timeout)

    def open_run(
        self,
        name: str,
        tensors: TensorSpecs,
        averages: Sequence[Average],
        *,
        wire_dtype: FloatName | None = None,
        incarnation: str | None = None,
    ) -> Run:
        """Create a run or attach to it; the same layout and averages get the same run.

        Args:
            name: `^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$` without "..".
            tensors: an array, a `TensorSpec` or (dtype, shape) per tensor, in the order in which they travel.
            averages: 1 to 16 of `Average.ema` and `Average.mean`.
            wire_dtype: dtype in which averaged tensors travel; "BF16" halves the bytes of float32 weights.
            incarnation: names this life of the trainer. A new id fences every older one, so that a process that was
                thought dead changes nothing; None: nobody is fenced, and a writer that is still connected is an
                error (WRITER_BUSY).

        Raises:
            FailedPreconditionError: LAYOUT_MISMATCH or AVERAGES_MISMATCH, naming the first difference.
            ResourceExhaustedError: the service has no memory for it.
        """
        layout = Layout(tensors, _float_dtype(wire_dtype))
        request = wire.OpenRunRequest(
            name,
            layout.to_messages(),
            [average.to_message() for average in averages],
            incarnation=incarnation or "",
        )
        return Run(self._stub, self._stub.open_run(request), layout, self._checksum, self._timeout)

    def get_shadow(
        self,
        run: str | Run,
        average: str | None = None,
        *,
        min_step: int | None = None,
        step: int | None = None,
        timeout: float = WAIT_SECONDS_DEFAULT,
        dtype: FloatName | None = None,
        names: Sequence[str] | None = None,
        reuse: Shadow | None = None,
    ) -> Shadow:
        """Read the averaged weights of one exact step.

        Args:
            run: the run or its name.
            average: required when the run has several.
            min_step: the newest version, once it is at or past this step.
            step: exactly this step, while the service holds it.
            timeout: seconds to wait for that step, or for the first commit; at most 3,600.
            dtype: averaged tensors are cast to it, rounded once to nearest even. None: the shadow's precision.
            names: tensor names, in which "*" matches any run of characters. None: all.
            reuse: an earlier shadow that is not needed any more. Its memory is written over, also when the read fails,
                and its arrays with it; fresh memory can cost as much time as the transfer.

        Raises:
            NotFoundError: no such run, average or version.
            DeadlineExceededError: WAIT_TIMEOUT.
            DataLossError: bytes changed on the way.
        """
        if min_step is not None and step is not None:
            raise ValueError(f"min_step ({min_step}) and step ({step}) exclude each other")
        request = wire.GetShadowRequest(
            run if isinstance(run, str) else run.name,
            average or "",
            step=step,
            min_step=min_step,
            wait_ms=round(timeout * 1000),
            names=list(names or ()),
            dtype=_float_dtype(dtype),
            checksums=self._checksum is not None,
        )
        with _streaming(self._stub.get_shadow(request)) as responses:
            return receive(responses, self._checksum, reuse)

    def watch_run(self, name: str, *, every: int = 1) -> Generator[wire.RunEvent, None, None]:
        """Yield the run's present state, then each commit whose step is a multiple of `every`.

        A slow follower gets the newest commit, not each one. Closing the iterator ends the stream.
        """
        with _streaming(self._stub.watch_run(wire.WatchRunRequest(name, every))) as events:
            yield from events

    def get_run(self, name: str) -> wire.RunInfo:
        """Return a run's state, sizes and rates. Raises NotFoundError."""
        return self._stub.get_run(wire.GetRunRequest(name))

    def list_runs(self) -> list[wire.RunInfo]:
        """Return all runs in the order of their names, without their tensors."""
        return self._stub.list_runs(wire.ListRunsRequest()).runs

    def delete_run(self, name: str) -> int:
        """Delete a run with its memory and files; return the freed bytes. Its streams end with RUN_DELETED."""
        return self._stub.delete_run(wire.DeleteRunRequest(name)).freed_bytes

    def close(self) -> None:
        """Close the connection; streams that are still open fail."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _float_dtype(name: FloatName | None) -> wire.DType:
    if name is None:
        return wire.DType.UNSPECIFIED
    dtype = wire.DType.__members__.get(name)
    if dtype not in FLOATS:
        raise ValueError(f"dtype must be F16, BF16, F32 or F64, got {name!r}")
    return dtype


@contextmanager
def _streaming(call: StreamCall) -> Iterator[StreamCall]:
    """Cancel the call on the way out, whatever happened, and turn its failure into ours."""
    try:
        yield call
    except grpc.RpcError as error:
        raise from_rpc(error) from None
    finally:
        call.cancel()
