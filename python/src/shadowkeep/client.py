"""The door for both sides: `connect(target)` gives trainers `open_run` and evaluators `get_shadow`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from . import wire
from .allocator import keep_freed_blocks
from .averages import Average
from .averages.checks import not_negative, positive, step_number
from .averages.table import EXPONENT, WIDTH, within
from .boxes import Box
from .catalog import Catalog
from .checksums import find_checksum
from .connection import Connection
from .dtypes import FloatName, float_dtype
from .errors import ShadowkeepError
from .layout import PolicyName, TensorSpecs
from .not_copied import NotCopied
from .opening import RunOpener
from .options import RECONNECT_SECONDS_DEFAULT, NonFiniteName, OpenRunOptions
from .reads import Reception, read_shadow
from .retention import Retention
from .run import Run
from .run_calls import RunCalls, name_of
from .shadow import Shadow
from .snapshots import Snapshots
from .target import checked_target

WAIT_SECONDS_DEFAULT = 60.0


def connect(
    target: str,
    *,
    checksums: bool | None = None,
    timeout: float = 60.0,
    reconnect_timeout: float = RECONNECT_SECONDS_DEFAULT,
) -> Client:
    """Return a client of the service at `target`; the connection is made by the first call.

    A proxy of the environment (`http_proxy`) is used, but never for this machine's own addresses.

    Args:
        target: "HOST:PORT".
        checksums: send and verify crc32c of each chunk. None: when google-crc32c or crc32c is installed.
        timeout: deadline of single requests, seconds; streams of tensors have none.
        reconnect_timeout: seconds for which a service that is not there is waited for, also before it is up for the
            first time, until the failure is raised; 0: at once. A host that does not exist is not waited for.

    Raises:
        ImportError: `checksums=True`, and no package computes them.
        ValueError: `target` has no port, or one out of range.
    """
    return Client(target, checksums=checksums, timeout=timeout, reconnect_timeout=reconnect_timeout)


class Client(RunCalls, NotCopied):
    """A connection to the service; a context manager that closes it. Safe to use from several threads.

    A forked process that uses it gets connections of its own; runs that were opened before stay with the process that
    opened them.
    """

    def __init__(
        self,
        target: str,
        *,
        checksums: bool | None = None,
        timeout: float = 60.0,
        reconnect_timeout: float = RECONNECT_SECONDS_DEFAULT,
    ) -> None:
        self.target = checked_target(target)
        keep_freed_blocks()
        self._checksum = find_checksum(checksums)
        positive("timeout", timeout)
        # Steps and reads have channels of their own: a read holds up no trainer, and an interrupt costs it its channel.
        super().__init__(Connection(target, timeout), not_negative("reconnect_timeout", reconnect_timeout))
        self._reads = Connection(target, timeout)
        self._streams = Connection(target, timeout)
        self._catalog = Catalog(self.get_run)
        self._opener = RunOpener(self._calls, self._streams, self._checksum, timeout, self._reconnect_timeout)

    def open_run(
        self,
        name: str,
        tensors: TensorSpecs,
        averages: Sequence[Average | Sequence[Average]],
        *,
        policies: Mapping[str, PolicyName] | None = None,
        non_finite: NonFiniteName = "REJECT_STEP",
        snapshots: Snapshots | None = None,
        wire_dtype: FloatName | None = None,
        writers: int = 1,
        writer: int = 0,
        boxes: Sequence[Box] | None = None,
        incarnation: str | None = None,
        resume_step: int | None = None,
        trainer_step: int | None = None,
        retain: Retention | None = None,
        reconnect_timeout: float | None = None,
    ) -> Run:
        """Create a run or attach to it; the same layout and averages get the same run.

        A trainer of several processes calls it in each, with the same arguments but `writer` and `boxes`; together
        their boxes have every element of every tensor once. The keywords are the fields of
        `shadowkeep.options.OpenRunOptions`, which explains them.

        Args:
            name: `^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$` without "..".
            tensors: an array, a `TensorSpec` or (dtype, shape) per tensor, in the order in which they travel.
            averages: 1 to 16 of `Average`'s class methods or `shadowkeep.averages`; lists of them, too.

        Raises:
            FailedPreconditionError: LAYOUT_MISMATCH or AVERAGES_MISMATCH, naming the first difference;
                WRITERS_MISMATCH: the processes of one incarnation differ in `writers`; TRAINER_BEHIND.
            NotFoundError: no version to rewind to.
            ResourceExhaustedError: the service has no memory for it.
            ValueError: an argument is out of its bounds; of a box, the message names it and the tensor.
        """
        return self._opener.open(name, tensors, averages, OpenRunOptions.of(locals()))

    def get_shadow(
        self,
        run: str | Run,
        average: str | None = None,
        *,
        sigma_rel: float | None = None,
        gamma: float | None = None,
        min_step: int | None = None,
        step: int | None = None,
        timeout: float = WAIT_SECONDS_DEFAULT,
        dtype: FloatName | None = None,
        names: Sequence[str] | None = None,
        boxes: Sequence[Box] | None = None,
        reuse: Shadow | None = None,
        reconnect_timeout: float | None = None,
    ) -> Shadow:
        """Read the averaged weights of one exact step.

        Args:
            run: the run or its name.
            average: required when the run has several, but not with a width.
            sigma_rel: a relative width, above 0 and at most 1 / sqrt(12), in place of an average: the power-function
                average of that width, which need not have been kept, as the combination of the run's `snapshots` and
                power-function averages that fits it best. `step` is then that of a snapshot, or the newest.
            gamma: the same by the exponent of its profile, 0 or above.
            min_step: the newest version, once it is at or past this step.
            step: exactly this step, while the service holds it.
            timeout: seconds to wait for the run, and for that step or the first commit; at most 3,600.
            dtype: averaged tensors are cast to it, rounded once to nearest even. None: the shadow's precision.
            names: tensor names, in which "*" matches any run of characters. None: all.
            boxes: parts of tensors, in this order and as often as they are named, in place of `names`; `Shadow.arrays`
                has them.
            reuse: an earlier shadow that is not needed any more. Its memory is written over, also when the read fails,
                and its arrays with it; fresh memory can cost as much time as the transfer.
            reconnect_timeout: seconds for which a read that broke, or did not begin, is tried again, before its failure
                is raised. It goes on in the same version, from the byte where it broke. None: the client's.

        Raises:
            NotFoundError: no such run, average or version; or the version of a read that broke is not held any more.
            DeadlineExceededError: WAIT_TIMEOUT.
            DataLossError: bytes changed on the way.
        """
        if min_step is not None and step is not None:
            raise ValueError(f"min_step ({min_step}) and step ({step}) exclude each other")
        if [average, sigma_rel, gamma].count(None) < 2:
            raise ValueError(f"average ({average}), sigma_rel ({sigma_rel}) and gamma ({gamma}) exclude each other")
        if boxes is not None and names is not None:
            raise ValueError("boxes and names exclude each other")
        name = name_of(run)
        request = wire.GetShadowRequest(
            name,
            average or "",
            step=None if step is None else step_number("step", step),
            min_step=None if min_step is None else step_number("min_step", min_step),
            wait_ms=round(timeout * 1000),
            names=list(names or ()),
            dtype=float_dtype(dtype),
            checksums=self._checksum is not None,
            sigma_rel=None if sigma_rel is None else within("sigma_rel", sigma_rel, WIDTH),
            gamma=None if gamma is None else within("gamma", gamma, EXPONENT),
        )
        if boxes is not None:
            known = run.layout if isinstance(run, Run) and not run.is_reordered else None
            request.boxes = self._catalog.to_messages(name, known, boxes)
        reception = Reception(self._checksum, reuse)
        try:
            shadow = read_shadow(self._reads, request, reception, self._patience(reconnect_timeout))
        except ShadowkeepError:
            self._catalog.forget(name)
            raise
        if boxes is not None:
            self._catalog.compare(name, boxes, shadow)
        return shadow

    def close(self) -> None:
        """Close the connections at once; streams that are still open fail."""
        self._calls.close()
        self._reads.close()
        self._streams.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.target}>"

    def _patience(self, reconnect_timeout: float | None) -> float:
        if reconnect_timeout is None:
            return self._reconnect_timeout
        return not_negative("reconnect_timeout", reconnect_timeout)
