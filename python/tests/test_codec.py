"""The codec against protobuf's own, both ways, for every message of the proto."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import pytest
from support import Stubs

from shadowkeep import wire
from shadowkeep.wire import codec, messages, reads, runs, status, types
from shadowkeep.wire.fields import Field

SEED = 7
CASES_PER_MESSAGE = 40
EDGES = [0, 1, 127, 128, 300, (1 << 32) - 1]
EDGES_64 = [*EDGES, 1 << 53, (1 << 64) - 1]
TEXTS = ["", "a", "layer.0.weight", "Gewicht ä 重み"]


def message_classes() -> list[type[codec.Message]]:
    found = []
    for module in (types, messages, reads, runs, status):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, codec.Message) and value is not codec.Message:
                found.append(value)
    return list(dict.fromkeys(found))


def message_modules(stubs: Stubs) -> list[Any]:
    return [stubs.types, stubs.status, stubs.error_details]


def proto_class(stubs: Stubs, message: type[codec.Message]) -> Any:
    """Find the generated class: ours are in types.proto."""
    if message is status.Any:
        from google.protobuf import any_pb2

        return any_pb2.Any
    name = "Run" if message is runs.RunInfo else message.__name__
    return next(getattr(module, name) for module in message_modules(stubs) if hasattr(module, name))


def test_each_message_of_the_proto_has_a_class(stubs: Stubs) -> None:
    ours = {"Run" if message is runs.RunInfo else message.__name__ for message in message_classes()}
    theirs = {name for module in message_modules(stubs) for name in module.DESCRIPTOR.message_types_by_name}
    assert ours == theirs | {"Any"}


@pytest.mark.parametrize("message", message_classes(), ids=lambda message: str(message.__name__))
def test_fields_are_those_of_the_proto(stubs: Stubs, message: type[codec.Message]) -> None:
    theirs = {field.name: field.number for field in proto_class(stubs, message).DESCRIPTOR.fields}
    ours = {row.name: row.number for row in codec.fields_of(message)}
    assert ours == theirs


@pytest.mark.parametrize(
    ("prefix", "ours"),
    {
        "DTYPE": wire.DType,
        "POLICY": wire.Policy,
        "START": wire.Start,
        "DELAY_MODE": wire.DelayMode,
        "DECAY_UNIT": wire.DecayUnit,
        "INDEX_UNIT": wire.IndexUnit,
        "NON_FINITE": wire.NonFinite,
        "STEP_STATE": wire.StepState,
    }.items(),
)
def test_enums_are_those_of_the_proto(stubs: Stubs, prefix: str, ours: type[IntEnum]) -> None:
    theirs = getattr(stubs.types, prefix.title().replace("_", ""))
    assert {f"{prefix}_{value.name}": int(value) for value in ours} == dict(theirs.items())


@pytest.mark.parametrize("message", message_classes(), ids=lambda message: str(message.__name__))
def test_both_ways_through_protobuf(stubs: Stubs, message: type[codec.Message]) -> None:
    rng = random.Random(SEED)
    for _ in range(CASES_PER_MESSAGE):
        ours = random_message(rng, message)
        theirs = proto_class(stubs, message).FromString(ours.encode())
        assert ours.encode() == theirs.SerializeToString(deterministic=True)
        assert message.decode(theirs.SerializeToString()) == ours


def test_unpacked_numbers_are_read(stubs: Stubs) -> None:
    assert types.Tensor.decode(b"\x18\x05\x18\xac\x02").shape == [5, 300]


def test_unknown_fields_are_skipped() -> None:
    unknown = b"\xf8\x07\x01" + b"\xf9\x07" + bytes(8) + b"\xfa\x07\x03abc" + b"\xfd\x07" + bytes(4)
    assert types.Box.decode(unknown + b"\x08\x07" + unknown) == types.Box(tensor=7)


def test_a_field_of_another_wire_type_is_unknown() -> None:
    assert types.Box.decode(b"\x0d\x01\x00\x00\x00") == types.Box()


def test_enum_values_of_a_newer_server_stay_numbers() -> None:
    assert types.Tensor.decode(b"\x10\x63").dtype == 99


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x08", "no end of the varint"),
        (b"\x08" + b"\xff" * 11, "no end of the varint"),
        (b"\x12\x05ab", "5 bytes wanted"),
        (b"\x0b", "wire type 3"),
        (b"\x12\x02\x01\x80", "no end of the varint"),
    ],
)
def test_malformed_messages_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        types.Box.decode(data)


def test_numbers_out_of_range_are_refused() -> None:
    for value in (-1, 1 << 64):
        with pytest.raises(ValueError, match="unsigned"):
            types.Box(tensor=value).encode()


def random_message(rng: random.Random, message: type[codec.Message]) -> codec.Message:
    """Fill about half of the fields, of a oneof at most one."""
    chosen = {row.name: row for row in codec.fields_of(message) if rng.random() < 0.5}
    for group in oneofs(message):
        kept = rng.choice(group)
        for name in group:
            if name != kept:
                chosen.pop(name, None)
    return message(**{name: random_value(rng, message, name, row) for name, row in chosen.items()})


def oneofs(message: type[codec.Message]) -> Iterator[list[str]]:
    names = [field.name for field in dataclasses.fields(message)]  # type: ignore[arg-type]
    if message is types.Average:
        yield names[names.index("constant") : names.index("bias_correction")]
    elif message is types.PowerFunction:
        yield names
    elif message is reads.GetShadowRequest:
        yield ["step", "min_step", "resume"]
        yield ["sigma_rel", "gamma"]
    elif message in (messages.UpdateRequest, messages.UpdateResponse, reads.GetShadowResponse):
        yield names


def random_value(rng: random.Random, message: type[codec.Message], name: str, row: Field) -> Any:
    if row.kind == "map":
        # One entry: protobuf orders the others by its own rule.
        return {rng.choice(TEXTS): rng.choice(TEXTS)} if rng.random() < 0.5 else {}
    if row.repeated:
        return [random_scalar(rng, message, name, row) for _ in range(rng.randrange(4))]
    return random_scalar(rng, message, name, row)


def random_scalar(rng: random.Random, message: type[codec.Message], name: str, row: Field) -> Any:
    if row.kind == "enum":
        return rng.choice(list(row.type))
    if row.kind == "message":
        return random_message(rng, row.type)
    # uint32 fields of the proto; the codec reads and writes all integers as 64 bits.
    small_names = (
        "tensor",
        "replica_group",
        "writers",
        "writer",
        "chunk_bytes",
        "tensor_count",
        "count_max",
        "left_out",
        "lost_by",
        "tensor_order",
        "first_tensor",
    )
    small = name in small_names or name.endswith("_connected")
    choices: dict[str, list[Any]] = {
        "uint64": EDGES if small else EDGES_64,
        "int64": [0, 1, 13, -1],
        "bool": [False, True],
        "double": [0.0, 0.999, -1.5, 1e300, float("inf")],
        "fixed32": EDGES,
        "string": TEXTS,
        "bytes": [b"", b"\x00", bytes(range(200))],
    }
    return rng.choice(choices[row.kind])
