"""A protobuf codec for dataclasses, so that the package needs no protobuf at run time.

Wire format (protobuf.dev/programming-guides/encoding): a message is a sequence of records.

    tag = varint(field number << 3 | wire type)
    wire type 0  varint                 uint64, int64 (two's complement), bool, enum
    wire type 1  8 bytes little-endian  double
    wire type 2  varint length, bytes   string, bytes, message, packed numbers, one entry of a map
    wire type 5  4 bytes little-endian  fixed32

A field of a message class is declared with `field(number, kind)`. As in proto3, a singular field that equals
its default is left out; an optional or oneof field is left out when it is None. Unknown fields are skipped.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Self

Buffer = bytes | bytearray | memoryview

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
VARINT_BYTES_MAX = 10
UINT64_MASK = (1 << 64) - 1

_DEFAULTS: dict[str, Any] = {
    "uint64": 0, "int64": 0, "bool": False, "enum": 0, "double": 0.0, "fixed32": 0, "string": "", "bytes": b"",
    "message": None,
}  # fmt: skip
_WIRE_TYPES = {"double": FIXED64, "fixed32": FIXED32, "string": BYTES, "bytes": BYTES, "message": BYTES}


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One row of a message's field table."""

    number: int
    kind: str
    type: Any
    repeated: bool
    default: Any

    @property
    def wire_type(self) -> int:
        """The wire type of one value."""
        return _WIRE_TYPES.get(self.kind, VARINT)

    @property
    def packed(self) -> bool:
        """Whether repeated values ride in one record."""
        return self.repeated and self.wire_type != BYTES


def field(number: int, kind: str, type: Any = None, *, optional: bool = False, repeated: bool = False) -> Any:
    """Declare a field of a `Message`; `type` is the enum's or message's class (or its name, when declared later)."""
    row = {"number": number, "kind": kind, "type": type, "repeated": repeated}
    if kind == "map":
        return dataclasses.field(default_factory=dict, metadata=row)
    if repeated:
        return dataclasses.field(default_factory=list, metadata=row)
    default = type(0) if kind == "enum" and not optional else _DEFAULTS[kind]
    return dataclasses.field(default=None if optional else default, metadata=row)


_TABLES: dict[type[Any], dict[int, tuple[str, Field]]] = {}


def fields_of(message: type[Any]) -> dict[int, tuple[str, Field]]:
    """Return the field table of a message class by field number; made once, since `slots=True` makes classes anew."""
    if message not in _TABLES:
        rows = ((f.name, Field(default=f.default, **f.metadata)) for f in dataclasses.fields(message))
        _TABLES[message] = {row.number: (name, row) for name, row in rows}
    return _TABLES[message]


class Message:
    """Base of the message dataclasses."""

    __slots__ = ()

    def encode(self) -> bytes:
        """Return the message's bytes."""
        out = bytearray()
        for name, row in fields_of(type(self)).values():
            value = getattr(self, name)
            if row.kind == "map":
                for key, item in value.items():
                    # As protobuf does, both are written even when empty.
                    entry = bytearray()
                    _write_bytes(entry, 1, key.encode())
                    _write_bytes(entry, 2, item.encode())
                    _write_bytes(out, row.number, entry)
            elif row.packed:
                if value:
                    _write_bytes(out, row.number, b"".join(_scalar(row.kind, item) for item in value))
            elif row.repeated:
                for item in value:
                    _write(out, row, item)
            elif value is not None and (row.default is None or value != row.default):
                _write(out, row, value)
        return bytes(out)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Parse a message; `bytes` fields are views of `data`. Raises ValueError when it is malformed."""
        message = cls()
        view = memoryview(data)
        rows = fields_of(cls)
        position, end = 0, len(view)
        while position < end:
            tag, position = read_varint(view, position)
            raw, position = _read_record(view, position, tag & 7)
            found = rows.get(tag >> 3)
            if found is not None:
                _store(message, found[0], found[1], raw, tag & 7)
        return message


@dataclasses.dataclass(slots=True)
class _MapEntry(Message):
    key: str = field(1, "string")
    value: str = field(2, "string")


def varint(value: int) -> bytes:
    """Encode an unsigned integer below 2**64."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(view: memoryview, position: int) -> tuple[int, int]:
    """Return the varint at `position` and the position after it."""
    value = shift = 0
    for index in range(position, min(position + VARINT_BYTES_MAX, len(view))):
        byte = view[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & UINT64_MASK, index + 1
        shift += 7
    raise ValueError(f"malformed message: no end of the varint at byte {position}")


def _scalar(kind: str, value: Any) -> bytes:
    if kind == "double":
        return struct.pack("<d", value)
    if kind == "fixed32":
        return struct.pack("<I", value)
    if kind != "int64" and not 0 <= value <= UINT64_MASK:
        raise ValueError(f"{value} is not an unsigned integer of 64 bits")
    return varint(int(value) & UINT64_MASK)


def _write_bytes(out: bytearray, number: int, data: Buffer) -> None:
    out += varint(number << 3 | BYTES) + varint(len(data))
    out += data


def _write(out: bytearray, row: Field, value: Any) -> None:
    if row.kind in ("message", "string"):
        _write_bytes(out, row.number, value.encode())
    elif row.kind == "bytes":
        _write_bytes(out, row.number, value)
    else:
        out += varint(row.number << 3 | row.wire_type) + _scalar(row.kind, value)


def _read_record(view: memoryview, position: int, wire_type: int) -> tuple[int | memoryview, int]:
    if wire_type == VARINT:
        return read_varint(view, position)
    if wire_type == BYTES:
        size, position = read_varint(view, position)
    elif wire_type in (FIXED64, FIXED32):
        size = 8 if wire_type == FIXED64 else 4
    else:
        raise ValueError(f"malformed message: wire type {wire_type} before byte {position}")
    if size > len(view) - position:
        raise ValueError(f"malformed message: {size} bytes wanted at byte {position}, {len(view) - position} are left")
    return view[position : position + size], position + size


def _store(message: Message, name: str, row: Field, raw: int | memoryview, wire_type: int) -> None:
    if row.kind == "map":
        entry = _MapEntry.decode(_expect_bytes(raw, name))
        getattr(message, name)[entry.key] = entry.value
    elif row.packed and wire_type == BYTES:
        getattr(message, name).extend(_unpack(row, _expect_bytes(raw, name)))
    elif wire_type != row.wire_type:
        raise ValueError(f"malformed message: field {name} has wire type {wire_type}, not {row.wire_type}")
    elif row.repeated:
        getattr(message, name).append(_value(row, raw))
    else:
        setattr(message, name, _value(row, raw))


def _unpack(row: Field, data: memoryview) -> list[Any]:
    values, position = [], 0
    while position < len(data):
        raw, position = _read_record(data, position, row.wire_type)
        values.append(_value(row, raw))
    return values


def _expect_bytes(raw: int | memoryview, name: str) -> memoryview:
    if isinstance(raw, int):
        raise ValueError(f"malformed message: field {name} is a number")
    return raw


def _value(row: Field, raw: Any) -> Any:
    return _READERS[row.kind](row, raw)


def _read_enum(row: Field, raw: int) -> int:
    # proto3 enums are open: a newer server's value stays a number.
    enum: type[IntEnum] = row.type
    return enum(raw) if raw in enum._value2member_map_ else raw


_READERS: dict[str, Callable[[Field, Any], Any]] = {
    "uint64": lambda row, raw: raw,
    "int64": lambda row, raw: raw - (1 << 64) if raw >> 63 else raw,
    "bool": lambda row, raw: bool(raw),
    "enum": _read_enum,
    "double": lambda row, raw: struct.unpack("<d", raw)[0],
    "fixed32": lambda row, raw: struct.unpack("<I", raw)[0],
    "string": lambda row, raw: str(raw, "utf-8"),
    "bytes": lambda row, raw: raw,
    "message": lambda row, raw: row.type.decode(raw),
}
