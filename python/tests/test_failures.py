"""What fails says why: reason, code and metadata of the service's table, and nothing is lost."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cutting_proxy import free_port
from support import F32, Server

import shadowkeep
from shadowkeep import Average, Client, wire
from shadowkeep.errors import from_status
from shadowkeep.reads import Reception

MEAN = [Average.mean("mean")]
INITIAL = [Average.ema("ema", decay=0.9, start="INITIAL")]


def ones(count: int = 4) -> dict[str, F32]:
    return {"w": np.ones(count, np.float32)}


def push(run: shadowkeep.Run, step: int) -> None:
    run.update(step, ones())
    run.flush()


def reason_of(action: Callable[[], Any]) -> str:
    with pytest.raises(shadowkeep.ShadowkeepError) as caught:
        action()
    return caught.value.reason


def test_unknown_run(client: Client) -> None:
    with pytest.raises(shadowkeep.NotFoundError, match="no-such-run") as caught:
        client.get_shadow("no-such-run", timeout=0)
    assert (caught.value.code, caught.value.reason) == ("NOT_FOUND", "RUN_NOT_FOUND")
    assert reason_of(lambda: next(client.watch_run("no-such-run"))) == "RUN_NOT_FOUND"
    assert reason_of(lambda: client.delete_run("no-such-run")) == "RUN_NOT_FOUND"


def test_another_layout_names_the_tensor(client: Client, run_name: str) -> None:
    client.open_run(run_name, ones(), MEAN)
    with pytest.raises(shadowkeep.FailedPreconditionError, match='"w"') as caught:
        client.open_run(run_name, ones(5), MEAN)
    assert caught.value.reason == "LAYOUT_MISMATCH"
    assert caught.value.metadata["tensor"] == "w"
    assert reason_of(lambda: client.open_run(run_name, ones(), INITIAL)) == "AVERAGES_MISMATCH"


def test_mismatch_is_found_before_anything_is_sent(client: Client, run_name: str) -> None:
    with client.open_run(run_name, ones(), MEAN) as run:
        run.update(1, ones())
        assert reason_of(lambda: run.update(2, ones(5))) == "LAYOUT_MISMATCH"
        run.update(2, ones())
    assert client.get_shadow(run_name).num_updates == 2


def test_initial_push_is_required_and_not_too_late(client: Client, run_name: str) -> None:
    run = client.open_run(run_name, ones(), INITIAL)
    run.update(1, ones())
    assert reason_of(run.flush) == "INITIAL_REQUIRED"
    with pytest.raises(shadowkeep.FailedPreconditionError) as caught:
        run.update(2, ones())
    told = "".join(traceback.format_exception(caught.value))
    assert told.count("INITIAL_REQUIRED: ") == told.count("Traceback") == 1, told
    assert 'push the initial weights of run "' in told
    assert "or start it from FIRST" in told
    again = client.open_run(run_name, ones(), INITIAL)
    again.push_initial(ones())
    assert reason_of(lambda: again.push_initial(ones(), step=1)) == "INITIAL_TOO_LATE"


def test_a_failed_stream_keeps_its_reason_and_the_run_goes_on(client: Client, run_name: str) -> None:
    run = client.open_run(run_name, ones(), MEAN)
    run.update(1, ones())
    run.flush()
    newer = client.open_run(run_name, ones(), MEAN, incarnation="newer")
    newer.update(2, ones())
    newer.flush()
    for _ in range(2):
        assert reason_of(lambda: push(run, 3)) == "GENERATION_FENCED"
    newer.update(3, ones())
    newer.close()
    assert client.get_shadow(run_name).num_updates == 3


def test_a_second_writer_is_refused(client: Client, run_name: str) -> None:
    with client.open_run(run_name, ones(), MEAN) as run:
        run.update(1, ones())
        second = client.open_run(run_name, ones(), MEAN)
        assert reason_of(lambda: second.update(2, ones())) == "WRITER_BUSY"


def test_deleted_while_pushed_and_watched(client: Client, run_name: str) -> None:
    run = client.open_run(run_name, ones(), MEAN)
    run.update(1, ones())
    run.flush()
    events = client.watch_run(run_name)
    next(events)
    client.delete_run(run_name)
    assert reason_of(lambda: next(events)) == "RUN_DELETED"
    assert reason_of(lambda: push(run, 2)) == "RUN_DELETED"


def test_leaving_the_block_by_an_error_drops_the_unfinished_step(client: Client, run_name: str) -> None:
    weights = ones(2_000_000)

    specs = {"w": weights["w"], "last": np.ones(3, np.float32)}
    run = client.open_run(run_name, specs, MEAN)
    # Exports no buffer, so that joining its chunk fails, after those before it were sent.
    broken: Any = SimpleNamespace(shape=(3,), dtype=np.dtype(np.float32), flags=SimpleNamespace(c_contiguous=True))
    with pytest.raises(TypeError), run:
        run.update(1, {"w": weights["w"], "last": broken})
    assert reason_of(lambda: client.get_shadow(run_name, timeout=0)) == "NOTHING_COMMITTED"
    with client.open_run(run_name, specs, MEAN, incarnation="again") as again:
        again.update(1, specs)
    assert client.get_shadow(run_name).step == 1


def test_server_dies_while_steps_are_on_their_way(run_name: str) -> None:
    weights = ones(4_000_000)
    with Server() as server, shadowkeep.connect(server.target) as client:
        run = client.open_run(run_name, weights, MEAN, reconnect_timeout=1)
        run.update(1, weights)
        run.flush()
        threading.Timer(0.2, server.kill).start()

        def push_until_it_breaks() -> None:
            for step in range(2, 10_000):
                run.update(step, weights)

        with pytest.raises(shadowkeep.UnavailableError):
            push_until_it_breaks()
        with pytest.raises(shadowkeep.UnavailableError):
            run.update(10_000, weights)


def test_nobody_listens() -> None:
    with (
        shadowkeep.connect(f"127.0.0.1:{free_port()}", reconnect_timeout=0) as client,
        pytest.raises(shadowkeep.UnavailableError) as caught,
    ):
        client.list_runs()
    assert caught.value.reason == caught.value.code == "UNAVAILABLE"


@pytest.mark.parametrize("step", [-1, 1 << 60, 1.5, "1"])
def test_bad_steps(client: Client, run_name: str, step: Any) -> None:
    with client.open_run(run_name, ones(), MEAN) as run, pytest.raises((ValueError, TypeError)):
        run.update(step, ones())


def test_bad_options(client: Client, run_name: str) -> None:
    bad: Any = "F8"
    with pytest.raises(ValueError, match='"F16", "BF16", "F32" or "F64"'):
        client.get_shadow(run_name, dtype=bad)
    with pytest.raises(ValueError, match="exclude each other"):
        client.get_shadow(run_name, step=1, min_step=1)
    with pytest.raises(ValueError, match=r"from 0 to 1, got 1\.5"):
        Average.ema("ema", decay=1.5)
    assert reason_of(lambda: client.open_run("../x", ones(), MEAN)) == "INVALID_NAME"


def test_a_closed_run_takes_nothing(client: Client, run_name: str) -> None:
    run = client.open_run(run_name, ones(), MEAN)
    run.close()
    run.close()
    with pytest.raises(RuntimeError, match="is closed"):
        run.update(1, ones())


def test_foreign_status_details_are_ignored() -> None:
    error = from_status("UNAVAILABLE", "from a proxy", b"\xff\xff")
    assert isinstance(error, shadowkeep.UnavailableError)
    assert (error.reason, error.message) == ("UNAVAILABLE", "from a proxy")


def header(dtype: wire.DType = wire.DType.F32, count: int = 16, offset: int = 0) -> wire.GetShadowResponse:
    tensor = wire.ShadowTensor("w", dtype, [count], offset, True)
    return wire.GetShadowResponse(header=wire.ShadowHeader(run="r", tensors=[tensor], total_bytes=64))


def chunk(offset: int, size: int, crc: int | None = None) -> wire.GetShadowResponse:
    return wire.GetShadowResponse(chunk=wire.ShadowChunk(offset, crc, bytes(size)))


@pytest.mark.parametrize(
    ("responses", "error", "problem"),
    [
        ([], shadowkeep.InternalError, "header"),
        ([chunk(0, 64)], shadowkeep.InternalError, "header"),
        ([header(), chunk(0, 48)], shadowkeep.DataLossError, "48 of 64"),
        ([header(), chunk(16, 48)], shadowkeep.InternalError, "expected at 0"),
        ([header(), chunk(0, 80)], shadowkeep.InternalError, "80 bytes"),
        ([header(count=17)], shadowkeep.InternalError, "'w'"),
        ([header(offset=64, count=1)], shadowkeep.InternalError, "'w'"),
        ([header(dtype=wire.DType.UNSPECIFIED)], shadowkeep.InternalError, "'w'"),
        ([header(), chunk(0, 64, crc=1)], shadowkeep.DataLossError, "crc32c"),
    ],
)
def test_broken_reads(
    responses: list[wire.GetShadowResponse], error: type[shadowkeep.ShadowkeepError], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        Reception(lambda data, crc: 2).take(iter(responses))


def test_a_damaged_run_is_listed_with_what_is_wrong(tmp_path: Path) -> None:
    server = Server(data_dir=str(tmp_path))
    with shadowkeep.connect(server.target) as client:
        run = client.open_run("r", ones(), MEAN)
        push(run, 1)
        run.close()
        assert client.list_damaged_runs() == []
    server.stop()
    for manifest in tmp_path.glob("r/**/manifest.json"):
        manifest.write_bytes(b"{")
    server = Server(data_dir=str(tmp_path))
    with shadowkeep.connect(server.target) as client:
        assert client.list_runs() == []
        (damaged,) = client.list_damaged_runs()
        assert damaged.run == "r"
        assert "manifest.json" in damaged.problem
        assert reason_of(lambda: client.get_run("r")) == "RUN_DAMAGED"
    server.stop()
