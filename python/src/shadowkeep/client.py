"""The door for both sides: `connect(target)` gives trainers `open_run` and evaluators `get_shadow`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

from . import wire
from .allocator import keep_freed_blocks
from .apart import Answer
from .averages import Average
from .averages.checks import count, member, not_negative, positive, step_number
from .averages.table import EXPONENT, WIDTH, within
from .boxes import Box, checked_boxes, to_messages
from .catalog import Catalog
from .checksums import find_checksum
from .connection import Connection
from .dtypes import FloatName, float_dtype
from .errors import InternalError, ShadowkeepError
from .layout import Layout, PolicyName, TensorSpecs
from .link import Link
from .not_copied import NotCopied
from .parts import all_runs, whole_run
from .progress import Progress
from .reads import Reception, read_shadow, watch_run
from .retention import Retention
from .run import Run
from .shadow import Shadow
from .snapshots import Snapshots
from .stream import STALL_SECONDS_MAX
from .stub import Stub
from .target import checked_target

WAIT_SECONDS_DEFAULT = 60.0
RECONNECT_SECONDS_DEFAULT = 60.0
WRITERS_MAX = 1024

NonFiniteName = Literal["REJECT_STEP", "SKIP_TENSOR", "ACCEPT"]


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


class Client(NotCopied):
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
        self._timeout = positive("timeout", timeout)
        self._reconnect_timeout = not_negative("reconnect_timeout", reconnect_timeout)
        # Steps and reads have channels of their own: a read holds up no trainer, and an interrupt costs it its channel.
        self._calls = Connection(target, timeout)
        self._reads = Connection(target, timeout)
        self._streams = Connection(target, timeout)
        self._catalog = Catalog(self.get_run)

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
        their boxes have every element of every tensor once.

        Args:
            name: `^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$` without "..".
            tensors: an array, a `TensorSpec` or (dtype, shape) per tensor, in the order in which they travel.
            averages: 1 to 16 of `Average`'s class methods or `shadowkeep.averages`; lists of them, too.
            policies: what is done with tensors, by name pattern, as {"*.running_*": "COPY", "backbone.*": "COPY_ONCE"},
                for those whose `TensorSpec` does not say. "*" matches any run of characters; the last pattern that
                matches wins; one that matches no tensor is an error.
            non_finite: what is done with a step that has infinities or NaN in averaged tensors: nothing is folded
                (REJECT_STEP, `Run.rejected_steps`), those tensors keep their shadows (SKIP_TENSOR), or they are folded
                as they are (ACCEPT).
            snapshots: states of the power-function averages to keep, for `get_shadow` with a width.
            wire_dtype: dtype in which averaged tensors travel; "BF16" halves the bytes of float32 weights.
            writers: processes of this trainer that push, 1 to 1,024.
            writer: the number of this one, from 0 on.
            boxes: what this process has of the tensors (`Box`), in the order in which its arrays come. None: the whole
                layout where there is one writer, nothing where there are several.
            incarnation: names this life of the trainer, the same in all its processes. A new id fences every older one,
                so that a process that was thought dead changes nothing; None: nobody is fenced, and a writer that is
                still connected is an error (WRITER_BUSY).
            resume_step: rewind to the newest retained version at or below this step, and undo what came after it.
                Needs a new incarnation.
            trainer_step: the step of the checkpoint that the trainer has restored. Below the committed one it is an
                error (TRAINER_BEHIND): go on without it, or rewind.
            retain: older versions to keep, for `resume_step` and for reads of exact steps. None: none of a new run;
                what an existing one has.
            reconnect_timeout: seconds for which a connection that broke, or a service that is not up yet, is tried
                again, before the failure is raised. None: the client's.

        Raises:
            FailedPreconditionError: LAYOUT_MISMATCH or AVERAGES_MISMATCH, naming the first difference;
                WRITERS_MISMATCH: the processes of one incarnation differ in `writers`; TRAINER_BEHIND.
            NotFoundError: no version to rewind to.
            ResourceExhaustedError: the service has no memory for it.
            ValueError: an argument is out of its bounds; of a box, the message names it and the tensor.
        """
        if not 0 <= count("writer", writer) < count("writers", writers, least=1) <= WRITERS_MAX:
            raise ValueError(f"writers must be from 1 to {WRITERS_MAX} and writer below it, got {writers} and {writer}")
        layout = Layout(tensors, float_dtype(wire_dtype, "wire_dtype"), policies)
        flat = [entry for group in averages for entry in ([group] if isinstance(group, Average) else group)]
        declared = _declared(layout, writers, boxes)
        request = wire.OpenRunRequest(
            name,
            layout.to_messages(),
            [average.to_message() for average in flat],
            writers,
            incarnation or "",
            member("non_finite", non_finite, wire.NonFinite),
            None if resume_step is None else step_number("resume_step", resume_step),
            layout.rules,
            None if snapshots is None else snapshots.to_message(),
            None if retain is None else retain.to_message(),
            None if trainer_step is None else step_number("trainer_step", trainer_step),
        )
        patience = self._patience(reconnect_timeout)
        opened = self._calls.call(lambda stub: stub.open_run(request), patience)
        progress = Progress(opened.committed_step, opened.durable_step)
        opening = wire.UpdateOpen(
            opened.run, opened.generation, writer, [], layout.wire_dtype, session=secrets.token_hex(16)
        )
        if declared is not None or opened.tensor_order:
            opening.boxes = _opening_boxes(layout, declared, opened.tensor_order)
        # The stream opens when the last writer has come; the service says so when one does not.
        step_seconds = opened.limits.step_timeout_ms / 1000 if writers > 1 and opened.limits else 0
        link = Link(
            self._streams,
            opening,
            progress,
            self._checksum,
            open_timeout=self._timeout + step_seconds,
            reconnect_timeout=patience,
            stall_seconds=STALL_SECONDS_MAX + step_seconds,
            shared=writers > 1,
        )
        warns = request.non_finite != wire.NonFinite.ACCEPT
        return Run(opened, layout, link, progress, writer=writer, boxes=declared, warns=warns)

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
        name = _name_of(run)
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

    def watch_run(self, name: str, *, every: int = 1) -> Generator[wire.RunEvent, None, None]:
        """Yield the run's present state, then each commit whose step is a multiple of `every`.

        A slow follower gets the newest commit, not each one. Closing the iterator ends the stream.
        """
        yield from watch_run(self._calls, wire.WatchRunRequest(name, every), self._reconnect_timeout)

    def get_run(self, name: str) -> wire.RunInfo:
        """Return a run's state, sizes and rates. Raises NotFoundError."""
        return self._call(lambda stub: whole_run(name, stub.get_run))

    def list_runs(self) -> list[wire.RunInfo]:
        """Return all runs in the order of their names, without their tensors and the patterns of their averages."""
        return self._call(lambda stub: all_runs(stub.list_runs))

    def list_damaged_runs(self) -> list[wire.DamagedRun]:
        """Return the runs that lie in the service's data directory and could not be loaded, with what is wrong."""
        return self._call(lambda stub: stub.list_runs(wire.ListRunsRequest())).damaged

    def add_average(self, run: str | Run, average: Average) -> int | None:
        """Give a run another average, which starts with the next step.

        Returns:
            The committed step at which it came: it knows nothing of that one and those before it. None: there is none.

        Raises:
            InvalidArgumentError: the run has one of this name, or a field is out of range.
            FailedPreconditionError: it starts from INITIAL, and the initial push is over.
            ResourceExhaustedError: the service has no memory for it.
        """
        request = wire.AddAverageRequest(_name_of(run), average.to_message())
        return self._call(lambda stub: stub.add_average(request), repeatable=False).added_at_step

    def remove_average(self, run: str | Run, name: str) -> None:
        """Take an average from a run and free its memory; reads of it that are under way go on.

        Raises:
            NotFoundError: there is no such run or average.
            FailedPreconditionError: it is the run's last one.
        """
        request = wire.RemoveAverageRequest(_name_of(run), name)
        self._call(lambda stub: stub.remove_average(request), repeatable=False)

    def delete_run(self, name: str) -> int:
        """Delete a run with its memory and files; return the freed bytes. Its streams end with RUN_DELETED."""
        return self._call(lambda stub: stub.delete_run(wire.DeleteRunRequest(name)), repeatable=False).freed_bytes

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

    def _call(self, invoke: Callable[[Stub], Answer], *, repeatable: bool = True) -> Answer:
        return self._calls.call(invoke, self._reconnect_timeout, repeatable=repeatable)

    def _patience(self, reconnect_timeout: float | None) -> float:
        if reconnect_timeout is None:
            return self._reconnect_timeout
        return not_negative("reconnect_timeout", reconnect_timeout)


def _declared(layout: Layout, writers: int, boxes: Sequence[Box] | None) -> tuple[Box, ...] | None:
    """Return a writer's boxes, checked; None: it sends the whole layout."""
    if boxes is None:
        return None if writers == 1 else ()
    if writers == 1 and not boxes:
        raise ValueError("boxes is empty, and the only writer of a run sends the whole layout: leave it out")
    return checked_boxes(layout, boxes)


def _opening_boxes(layout: Layout, declared: Sequence[Box] | None, order: Sequence[int]) -> list[wire.Box]:
    """Return a writer's boxes as they travel.

    `order` is where in the run each of our tensors is, when that has them in another order: then a writer of the whole
    layout declares each tensor as a box, and its steps stay as they are.
    """
    if order and len(order) != len(layout.tensors):
        raise InternalError(f"the run has an order of {len(order)} tensors, the layout has {len(layout.tensors)}")
    indices = {tensor.name: order[i] if order else i for i, tensor in enumerate(layout.tensors)}
    if declared is None:
        declared = [Box(tensor.name) for tensor in layout.tensors if tensor.policy != wire.Policy.IGNORE]
    return to_messages(declared, indices)


def _name_of(run: str | Run) -> str:
    return run if isinstance(run, str) else run.name
