"""Services that are not there yet, proxies, and requests whose connection breaks."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cutting_proxy import CuttingProxy, free_port
from support import F32, Server

import shadowkeep
from shadowkeep import Average, Client
from shadowkeep.backoff import is_unknown_host, was_not_sent
from shadowkeep.errors import from_status
from shadowkeep.proxies import host_of, is_loopback, proxy_of

MEAN = [Average.mean("mean")]
WEIGHTS: dict[str, F32] = {"w": np.ones(4, np.float32)}
UNUSED_ADDRESS = "192.0.2.1:50051"
PROXY_VARIABLES = ["grpc_proxy", "https_proxy", "http_proxy"]


def push_once(client: Client, run: str) -> None:
    with client.open_run(run, WEIGHTS, MEAN) as opened:
        opened.update(1, WEIGHTS)


def open_and_push(client: Client, run: str) -> None:
    with client.open_run(run + "-other", WEIGHTS, MEAN) as opened:
        opened.update(1, WEIGHTS)


CALLS: dict[str, Callable[[Client, str], Any]] = {
    "open_run": open_and_push,
    "get_run": lambda client, run: client.get_run(run),
    "list_runs": lambda client, _: client.list_runs(),
    "get_shadow": lambda client, run: client.get_shadow(run, "mean"),
    "get_shadow by boxes": lambda client, run: client.get_shadow(run, "mean", boxes=[shadowkeep.Box("w")]),
    "watch_run": lambda client, run: next(client.watch_run(run)),
    "add_average": lambda client, run: client.add_average(run, Average.mean("other")),
    "remove_average": lambda client, run: client.remove_average(run, "spare"),
    "delete_run": lambda client, run: client.delete_run(run),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_service_that_comes_up_late_is_waited_for(
    server: Server, client: Client, run_name: str, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    push_once(client, run_name)
    client.add_average(run_name, Average.mean("spare"))
    port = free_port()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            with shadowkeep.connect(f"127.0.0.1:{port}") as early:
                CALLS[call](early, run_name)
        except BaseException as error:
            failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    while "trying again" not in caplog.text:
        asking.join(0.01)
        assert asking.is_alive(), failures
    assert f"127.0.0.1:{port}" in caplog.text
    with CuttingProxy(server.target, port):
        asking.join(60)
    assert not asking.is_alive()
    assert failures == []


@pytest.mark.parametrize("call", ["open_run", "list_runs", "get_shadow", "delete_run"])
def test_a_service_that_does_not_come_up(call: str, run_name: str) -> None:
    target = f"127.0.0.1:{free_port()}"
    for seconds in (0, 0.3):
        with (
            shadowkeep.connect(target, reconnect_timeout=seconds) as client,
            pytest.raises(shadowkeep.UnavailableError, match=target),
        ):
            CALLS[call](client, run_name)


@pytest.mark.parametrize("call", ["get_run", "get_shadow", "delete_run", "add_average", "watch_run"])
def test_a_refusal_is_not_tried_again(client: Client, call: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(shadowkeep.NotFoundError):
        CALLS[call](client, "no-such-run")
    assert "trying again" not in caplog.text


def cut_before_the_answer(proxy: CuttingProxy, call: Callable[[], Any]) -> list[BaseException]:
    """Cut the connection when a request has passed and its answer has not."""
    raised: list[BaseException] = []
    sent = proxy.sent

    def ask() -> None:
        try:
            call()
        except shadowkeep.ShadowkeepError as error:
            raised.append(error)

    proxy.hold_answers()
    asking = threading.Thread(target=ask)
    asking.start()
    while proxy.sent == sent:
        asking.join(0.01)
    asking.join(0.2)
    proxy.cut()
    asking.join(60)
    assert not asking.is_alive()
    return raised


@pytest.mark.parametrize("call", ["get_run", "list_runs", "get_shadow", "open_run"])
def test_a_request_that_can_be_repeated_is(client: Client, proxy: CuttingProxy, run_name: str, call: str) -> None:
    push_once(client, run_name)
    with shadowkeep.connect(proxy.target) as through:
        through.list_runs()
        assert cut_before_the_answer(proxy, lambda: CALLS[call](through, run_name)) == []
    assert proxy.connections > 1


@pytest.mark.parametrize("call", ["delete_run", "add_average", "remove_average"])
def test_a_request_that_may_have_arrived_is_not_repeated(
    client: Client, proxy: CuttingProxy, run_name: str, call: str
) -> None:
    """Its second answer would be of the first one's effect: no such run, a name that is taken."""
    push_once(client, run_name)
    client.add_average(run_name, Average.mean("spare"))
    with shadowkeep.connect(proxy.target) as through:
        through.list_runs()
        (failure,) = cut_before_the_answer(proxy, lambda: CALLS[call](through, run_name))
    assert isinstance(failure, shadowkeep.UnavailableError)


def test_a_read_that_is_tried_again_waits_no_longer(client: Client, proxy: CuttingProxy, run_name: str) -> None:
    push_once(client, run_name)
    with shadowkeep.connect(proxy.target) as through:
        threading.Timer(0.3, proxy.cut).start()
        with pytest.raises(shadowkeep.DeadlineExceededError) as caught:
            through.get_shadow(run_name, min_step=9, timeout=1.0)
    assert caught.value.reason == "WAIT_TIMEOUT"
    assert proxy.connections > 1


def test_a_watch_that_breaks_says_nothing_twice(client: Client, proxy: CuttingProxy, run_name: str) -> None:
    with client.open_run(run_name, WEIGHTS, MEAN) as run, shadowkeep.connect(proxy.target) as through:
        run.update(1, WEIGHTS)
        run.flush()
        events = through.watch_run(run_name)
        assert next(events).committed_step == 1
        proxy.cut()
        run.update(2, WEIGHTS)
        assert next(events).committed_step == 2
        events.close()
        assert through.get_run(run_name).committed_step == 2


@pytest.mark.parametrize("variable", PROXY_VARIABLES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "ipv4:127.0.0.1"])
def test_no_proxy_stands_before_this_machine(
    server: Server, monkeypatch: pytest.MonkeyPatch, variable: str, host: str
) -> None:
    monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")
    port = server.target.rpartition(":")[2]
    with shadowkeep.connect(f"{host}:{port}", reconnect_timeout=10) as client:
        client.list_runs()


@pytest.mark.parametrize("variable", PROXY_VARIABLES)
def test_an_error_names_target_and_proxy(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv(variable, f"http://user:secret@{address}")
    with (
        shadowkeep.connect(UNUSED_ADDRESS, reconnect_timeout=0) as client,
        pytest.raises(shadowkeep.UnavailableError) as caught,
    ):
        client.list_runs()
    for part in (UNUSED_ADDRESS, address, variable, "no_proxy=192.0.2.1"):
        assert part in caught.value.message
    assert "secret" not in str(caught.value)


def test_which_proxy_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*PROXY_VARIABLES, "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(variable, raising=False)
    assert proxy_of("service:1") is None
    for variable in reversed(PROXY_VARIABLES):
        monkeypatch.setenv(variable, f"http://{variable}:3128")
        assert proxy_of("service:1") == (variable, f"{variable}:3128")
    monkeypatch.setenv("no_proxy", "other, .local")
    assert proxy_of("service:1") is not None
    assert proxy_of("service.local:1") is None


@pytest.mark.parametrize(
    ("target", "host", "loopback"),
    [
        ("127.0.0.1:1", "127.0.0.1", True),
        ("127.8.9.1:1", "127.8.9.1", True),
        ("[::1]:1", "::1", True),
        ("ipv6:[::1]:1", "::1", True),
        ("dns:///localhost:1", "localhost", True),
        ("dns://8.8.8.8/service:1", "service", False),
        ("localhost.example:1", "localhost.example", False),
        ("10.0.0.1:1", "10.0.0.1", False),
    ],
)
def test_hosts_of_targets(target: str, host: str, loopback: bool) -> None:
    assert (host_of(target), is_loopback(target)) == (host, loopback)


@pytest.mark.parametrize(
    ("message", "unknown"),
    [
        ("DNS resolution failed for x:1: C-ares status is not ARES_SUCCESS name=x: Domain name not found", True),
        ("DNS resolution failed for x:1: Name or service not known", True),
        ("DNS resolution failed for x:1: Could not contact DNS servers", False),
        ("failed to connect to all addresses; last error: UNKNOWN: Connection refused", False),
    ],
)
def test_a_host_that_does_not_exist_is_told_from_one_that_is_away(message: str, unknown: bool) -> None:
    failure = from_status("UNAVAILABLE", message, None)
    assert (is_unknown_host(failure), was_not_sent(failure)) == (unknown, True)
    assert not was_not_sent(from_status("UNAVAILABLE", "Socket closed", None))


def test_a_closed_client_says_so(server: Server) -> None:
    client = shadowkeep.connect(server.target)
    client.list_runs()
    client.close()
    client.close()
    with pytest.raises(shadowkeep.FailedPreconditionError, match="closed"):
        client.list_runs()


@pytest.mark.parametrize("dump", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_holds_a_connection_is_not_copied(client: Client, run_name: str, dump: Callable[[Any], Any]) -> None:
    run = client.open_run(run_name, WEIGHTS, MEAN)
    for held, name in ((client, "Client"), ({"a": [run]}, f"Run {run_name!r}")):
        if dump is copy.copy and isinstance(held, dict):
            continue
        with pytest.raises(TypeError, match=f"<{name}.* cannot be copied or pickled"):
            dump(held)
    run.abandon()


@pytest.mark.parametrize("step", [np.int64(3), np.uint8(3), np.array(3), 3])
def test_steps_are_taken_as_their_value(client: Client, run_name: str, step: Any) -> None:
    with client.open_run(run_name, WEIGHTS, MEAN) as run:
        run.update(step, WEIGHTS)
        if isinstance(step, np.ndarray):
            step += 4
        run.flush()
        assert run.committed_step == 3
    assert client.get_shadow(run_name, step=np.int64(3)).step == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [1.0, 1.5, True, np.True_, "1", None, -1, 1 << 53, np.float32(1), np.array([1, 2])])
def test_what_is_no_step_is_refused_by_the_call(client: Client, run_name: str, step: Any) -> None:
    with client.open_run(run_name, WEIGHTS, MEAN) as run:
        run.open_stream()
        space = np.zeros(run.part.step_bytes, np.uint8)
        calls: list[Callable[[], None]] = [
            lambda: run.update(step, WEIGHTS),
            lambda: run.skip(step),
            lambda: run.push_initial(WEIGHTS, step),
            lambda: run.push_space(step, space),
        ]
        for call in calls:
            with pytest.raises((TypeError, ValueError), match="step must be"):
                call()
        if step is not None:
            for option in ("step", "min_step"):
                with pytest.raises((TypeError, ValueError), match=f"{option} must be"):
                    client.get_shadow(run_name, **{option: step})
            for option in ("resume_step", "trainer_step"):
                with pytest.raises((TypeError, ValueError), match=f"{option} must be"):
                    client.open_run(run_name, WEIGHTS, MEAN, **{option: step})
        run.update(1, WEIGHTS)
        run.flush()
        assert run.committed_step == 1
