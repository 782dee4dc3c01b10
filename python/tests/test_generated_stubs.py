"""The hand-written framing is the same protocol: what stubs push our client pulls, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from support import F32, Server, Stubs, random_weights

import shadowkeep
from shadowkeep import Average, Client

CHUNK_BYTES = 48 * 1024


@pytest.fixture
def service(server: Server, stubs: Stubs) -> Iterator[Any]:
    with grpc.insecure_channel(server.target) as channel:
        yield stubs.service.ShadowWeightsStub(channel)


def open_with_stubs(service: Any, types: Any, run: str, weights: dict[str, F32]) -> Any:
    dtype = types.DTYPE_F32
    return service.OpenRun(
        types.OpenRunRequest(
            run=run,
            tensors=[types.Tensor(name=name, dtype=dtype, shape=value.shape) for name, value in weights.items()],
            averages=[types.Average(name="ema", start=types.START_INITIAL, constant=types.ConstantDecay(decay=0.5))],
        )
    )


def byte_space(weights: dict[str, F32]) -> bytes:
    return b"".join(value.tobytes() + bytes(-value.nbytes % 64) for value in weights.values())


def update_requests(types: Any, run: str, generation: int, steps: list[dict[str, F32]]) -> Iterator[Any]:
    yield types.UpdateRequest(open=types.UpdateOpen(run=run, generation=generation))
    for step, weights in enumerate(steps):
        space = byte_space(weights)
        for offset in range(0, len(space), CHUNK_BYTES):
            data = space[offset : offset + CHUNK_BYTES]
            yield types.UpdateRequest(chunk=types.Chunk(step=step, offset=offset, data=data))
        yield types.UpdateRequest(commit=types.Commit(step=step, bytes=len(space), initial=step == 0))


def read_with_stubs(service: Any, types: Any, run: str) -> tuple[Any, bytes]:
    responses = list(service.GetShadow(types.GetShadowRequest(run=run, chunk_bytes=CHUNK_BYTES)))
    kinds = [response.WhichOneof("message") for response in responses]
    assert kinds == ["header", *["chunk"] * (len(kinds) - 2), "end"]
    return responses[0].header, b"".join(response.chunk.data for response in responses[1:-1])


def test_push_and_pull_with_generated_stubs_only(
    service: Any, stubs: Stubs, run_name: str, rng: np.random.Generator
) -> None:
    types = stubs.types
    steps = [random_weights(rng, [("a", (300, 71)), ("b", (1,))]) for _ in range(3)]
    opened = open_with_stubs(service, types, run_name, steps[0])
    answers = list(service.Update(update_requests(types, run_name, opened.generation, steps)))
    assert [answer.WhichOneof("message") for answer in answers] == ["opened", "ack", "ack", "ack"]
    committed = types.STEP_STATE_COMMITTED
    assert [(answer.ack.step, answer.ack.state) for answer in answers[1:]] == [(i, committed) for i in range(3)]
    header, data = read_with_stubs(service, types, run_name)
    expected = steps[0]["a"]
    for step in steps[1:]:
        expected = expected + np.float32(0.5) * (step["a"] - expected)
    assert (header.step, header.num_updates) == (2, 2)
    place = header.tensors[0]
    found = np.frombuffer(data, np.float32, expected.size, place.offset).reshape(expected.shape)
    assert np.array_equal(found, expected)


def test_stubs_push_and_our_client_pulls(
    client: Client, service: Any, stubs: Stubs, run_name: str, rng: np.random.Generator
) -> None:
    weights = {"a": rng.standard_normal((500, 500), dtype=np.float32)}
    opened = open_with_stubs(service, stubs.types, run_name, weights)
    list(service.Update(update_requests(stubs.types, run_name, opened.generation, [weights])))
    assert np.array_equal(client.get_shadow(run_name).tensors["a"], weights["a"])


def test_our_client_pushes_and_stubs_pull(
    client: Client, service: Any, stubs: Stubs, run_name: str, rng: np.random.Generator
) -> None:
    weights = {"a": rng.standard_normal((500, 501), dtype=np.float32), "b": np.ones(3, np.float32)}
    with client.open_run(run_name, weights, [Average.mean("mean")]) as run:
        run.update(1, weights)
    header, data = read_with_stubs(service, stubs.types, run_name)
    assert [(t.name, t.dtype, list(t.shape)) for t in header.tensors] == [
        ("a", stubs.types.DTYPE_F32, [500, 501]),
        ("b", stubs.types.DTYPE_F32, [3]),
    ]
    assert data == byte_space(weights)


def test_error_details_are_standard(service: Any, stubs: Stubs, client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        service.GetRun(stubs.types.GetRunRequest(run="nobody"))
    call: Any = caught.value
    trailer = dict(call.trailing_metadata())["grpc-status-details-bin"]
    status = stubs.status.Status.FromString(trailer)
    info = stubs.error_details.ErrorInfo()
    assert status.details[0].Unpack(info)
    with pytest.raises(shadowkeep.NotFoundError) as ours:
        client.get_run("nobody")
    assert (info.reason, info.domain) == (ours.value.reason, "shadowkeep.dev")
    assert dict(info.metadata) == ours.value.metadata
