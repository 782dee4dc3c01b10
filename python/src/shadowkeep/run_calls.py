"""What anybody may ask about the runs of a service, or change in them: single requests, and a watch."""

from __future__ import annotations

from collections.abc import Callable, Generator

from . import wire
from .apart import Answer
from .averages import Average
from .connection import Connection
from .parts import all_runs, whole_run
from .reads import watch_run
from .run import Run
from .stub import Stub


class RunCalls:
    """Calls that need no trainer.

    Args:
        calls: the connection.
        reconnect_timeout: seconds for which a service that is not there is waited for.
    """

    def __init__(self, calls: Connection, reconnect_timeout: float) -> None:
        self._calls = calls
        self._reconnect_timeout = reconnect_timeout

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
        request = wire.AddAverageRequest(name_of(run), average.to_message())
        return self._call(lambda stub: stub.add_average(request), repeatable=False).added_at_step

    def remove_average(self, run: str | Run, name: str) -> None:
        """Take an average from a run and free its memory; reads of it that are under way go on.

        Raises:
            NotFoundError: there is no such run or average.
            FailedPreconditionError: it is the run's last one.
        """
        request = wire.RemoveAverageRequest(name_of(run), name)
        self._call(lambda stub: stub.remove_average(request), repeatable=False)

    def delete_run(self, name: str) -> int:
        """Delete a run with its memory and files; return the freed bytes. Its streams end with RUN_DELETED."""
        return self._call(lambda stub: stub.delete_run(wire.DeleteRunRequest(name)), repeatable=False).freed_bytes

    def _call(self, invoke: Callable[[Stub], Answer], *, repeatable: bool = True) -> Answer:
        return self._calls.call(invoke, self._reconnect_timeout, repeatable=repeatable)


def name_of(run: str | Run) -> str:
    """Return the name of a run that is given by it, or as its handle."""
    return run if isinstance(run, str) else run.name
