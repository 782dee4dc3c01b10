"""From a message to bytes: one record per field that is set, in the order of the field numbers.

record = varint(field number << 3 | wire type), then by the wire type
0  varint                 uint64, int64 (two's complement), bool, enum
1  8 bytes little-endian  double
2  varint length, bytes   string, bytes, message, packed numbers, one entry of a map
5  4 bytes little-endian  fixed32

A writer opens its stream with 10,000 boxes, so each field has a function that appends its record, made once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from .fields import BYTES, Field, fields_of

UINT64_MASK = (1 << 64) - 1

# Appends a value, or the record of one.
Write = Callable[[bytearray, Any], None]

_WRITERS: dict[type[Any], list[tuple[str, Any, Write]]] = {}


def varint(value: int) -> bytes:
    """Encode an unsigned integer below 2**64: seven bits a byte, lowest first, the top bit says that more follow."""
    out = bytearray()
    _write_varint(out, value)
    return bytes(out)


def encode(message: Any) -> bytes:
    """Return a message's bytes. Raises ValueError for a number that is out of range."""
    out = bytearray()
    _write_message(out, message)
    return bytes(out)


def _write_message(out: bytearray, message: Any) -> None:
    kind = type(message)
    for name, default, write in _WRITERS.get(kind) or _writers_of(kind):
        value = getattr(message, name)
        if value is not None and value != default:
            write(out, value)


def _writers_of(message_type: type[Any]) -> list[tuple[str, Any, Write]]:
    """Return name, the value that is left out, and the function of each field."""
    rows = []
    for row in fields_of(message_type):
        default = {} if row.kind == "map" else [] if row.repeated else row.default
        rows.append((row.name, default, _writer_of(row)))
    _WRITERS[message_type] = rows
    return rows


def _writer_of(row: Field) -> Write:
    if row.kind == "map":
        return _map_writer(row.number)
    if row.packed:
        return _packed_writer(row)
    write = _record_writer(row)
    if not row.repeated:
        return write

    def write_each(out: bytearray, values: Any) -> None:
        for value in values:
            write(out, value)

    return write_each


def _record_writer(row: Field) -> Write:
    """Return what appends one value with its tag before it."""
    tag, number = varint(row.number << 3 | row.wire_type), _NUMBERS.get(row.kind, _write_varint)

    def write_number(out: bytearray, value: Any) -> None:
        out += tag
        number(out, value)

    def write_message(out: bytearray, value: Any) -> None:
        body = bytearray()
        _write_message(body, value)
        _write_bytes(out, tag, body)

    if row.kind == "message":
        return write_message
    if row.kind == "string":
        return lambda out, value: _write_bytes(out, tag, value.encode())
    if row.kind == "bytes":
        return lambda out, value: _write_bytes(out, tag, value)
    return write_number


def _packed_writer(row: Field) -> Write:
    tag, number = varint(row.number << 3 | BYTES), _NUMBERS.get(row.kind, _write_varint)

    def write(out: bytearray, values: Any) -> None:
        body = bytearray()
        for value in values:
            number(body, value)
        _write_bytes(out, tag, body)

    return write


def _map_writer(field_number: int) -> Write:
    tag, key_tag, value_tag = varint(field_number << 3 | BYTES), varint(1 << 3 | BYTES), varint(2 << 3 | BYTES)

    def write(out: bytearray, entries: dict[str, str]) -> None:
        for key, value in entries.items():
            # As protobuf does, both are written even when empty.
            entry = bytearray()
            _write_bytes(entry, key_tag, key.encode())
            _write_bytes(entry, value_tag, value.encode())
            _write_bytes(out, tag, entry)

    return write


def _write_bytes(out: bytearray, tag: bytes, data: bytes | bytearray | memoryview) -> None:
    out += tag
    _write_varint(out, len(data))
    out += data


def _write_varint(out: bytearray, value: int) -> None:
    if not 0 <= value <= UINT64_MASK:
        raise ValueError(f"{value} is not an unsigned integer of 64 bits")
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _write_int64(out: bytearray, value: int) -> None:
    _write_varint(out, value & UINT64_MASK)


def _write_double(out: bytearray, value: float) -> None:
    out += struct.pack("<d", value)


def _write_fixed32(out: bytearray, value: int) -> None:
    out += struct.pack("<I", value)


_NUMBERS: dict[str, Write] = {"int64": _write_int64, "double": _write_double, "fixed32": _write_fixed32}
