"""From bytes to a message. `bytes` fields are views of the input; unknown fields are skipped, as proto3 asks.

A header of 10,000 tensors is decoded in the reader's way, so records are dispatched by their whole tag to a function
that reads one value from `view[position:end]` and returns it with the position after it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from .encode import UINT64_MASK
from .fields import BYTES, FIXED32, FIXED64, VARINT, Field, fields_of

VARINT_BYTES_MAX = 10

Reader = Callable[[memoryview, int, int], tuple[Any, int]]


class _Record(NamedTuple):
    """What is done with the records of one tag; `add`: "set", "append", "extend" or "update" the attribute."""

    name: str
    read: Reader
    add: str


_RECORDS: dict[type[Any], dict[int, _Record]] = {}


def decode(message_type: type[Any], view: memoryview, position: int, end: int) -> Any:
    """Parse the message in `view[position:end]`. Raises ValueError when it is malformed."""
    message = message_type()
    records = _RECORDS.get(message_type) or _records_of(message_type)
    while position < end:
        tag, position = read_varint(view, position, end)
        record = records.get(tag)
        if record is None:
            position = _skip(view, position, end, tag & 7)
            continue
        value, position = record.read(view, position, end)
        if record.add == "set":
            setattr(message, record.name, value)
        else:
            getattr(getattr(message, record.name), record.add)(value)
    return message


def read_varint(view: memoryview, position: int, end: int) -> tuple[int, int]:
    """Return the varint at `position` and the position after it."""
    if position < end and view[position] < 0x80:
        return view[position], position + 1
    value = shift = 0
    for index in range(position, min(position + VARINT_BYTES_MAX, end)):
        byte = view[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & UINT64_MASK, index + 1
        shift += 7
    raise ValueError(f"malformed message: no end of the varint at byte {position}")


def _records_of(message_type: type[Any]) -> dict[int, _Record]:
    records = {}
    for row in fields_of(message_type):
        read = _reader_of(row)
        add = "update" if row.kind == "map" else "append" if row.repeated else "set"
        records[row.number << 3 | row.wire_type] = _Record(row.name, read, add)
        if row.packed:
            records[row.number << 3 | BYTES] = _Record(row.name, _packed(read), "extend")
    _RECORDS[message_type] = records
    return records


def _extent(view: memoryview, position: int, end: int, size: int | None = None) -> tuple[int, int]:
    """Return where a value of `size` bytes, or of the length that stands before it, begins and ends."""
    if size is None:
        size, position = read_varint(view, position, end)
    if size > end - position:
        raise ValueError(f"malformed message: {size} bytes wanted at byte {position}, {end - position} are left")
    return position, position + size


def _skip(view: memoryview, position: int, end: int, wire_type: int) -> int:
    if wire_type == VARINT:
        return read_varint(view, position, end)[1]
    sizes = {BYTES: None, FIXED64: 8, FIXED32: 4}
    if wire_type not in sizes:
        raise ValueError(f"malformed message: wire type {wire_type} before byte {position}")
    return _extent(view, position, end, sizes[wire_type])[1]


def _reader_of(row: Field) -> Reader:
    if row.kind == "message":
        return lambda view, position, end: _read_message(row.type, view, position, end)
    if row.kind == "enum":
        return lambda view, position, end: _read_enum(row.type, view, position, end)
    return _READERS[row.kind]


def _packed(read: Reader) -> Reader:
    def read_all(view: memoryview, position: int, end: int) -> tuple[list[Any], int]:
        position, stop = _extent(view, position, end)
        values = []
        while position < stop:
            value, position = read(view, position, stop)
            values.append(value)
        return values, stop

    return read_all


def _read_message(message_type: type[Any], view: memoryview, position: int, end: int) -> tuple[Any, int]:
    start, stop = _extent(view, position, end)
    return decode(message_type, view, start, stop), stop


def _read_enum(enum: type[Any], view: memoryview, position: int, end: int) -> tuple[Any, int]:
    value, position = read_varint(view, position, end)
    # proto3 enums are open: a newer server's value stays a number.
    return enum._value2member_map_.get(value, value), position


def _read_int64(view: memoryview, position: int, end: int) -> tuple[int, int]:
    value, position = read_varint(view, position, end)
    return (value - (1 << 64) if value >> 63 else value), position


def _read_bool(view: memoryview, position: int, end: int) -> tuple[bool, int]:
    value, position = read_varint(view, position, end)
    return bool(value), position


def _read_double(view: memoryview, position: int, end: int) -> tuple[float, int]:
    start, stop = _extent(view, position, end, 8)
    return struct.unpack_from("<d", view, start)[0], stop


def _read_fixed32(view: memoryview, position: int, end: int) -> tuple[int, int]:
    start, stop = _extent(view, position, end, 4)
    return struct.unpack_from("<I", view, start)[0], stop


def _read_string(view: memoryview, position: int, end: int) -> tuple[str, int]:
    start, stop = _extent(view, position, end)
    return str(view[start:stop], "utf-8"), stop


def _read_bytes(view: memoryview, position: int, end: int) -> tuple[memoryview, int]:
    start, stop = _extent(view, position, end)
    return view[start:stop], stop


def _read_map_entry(view: memoryview, position: int, end: int) -> tuple[dict[str, str], int]:
    start, stop = _extent(view, position, end)
    parts = {1: "", 2: ""}
    while start < stop:
        tag, start = read_varint(view, start, stop)
        if tag in (1 << 3 | BYTES, 2 << 3 | BYTES):
            parts[tag >> 3], start = _read_string(view, start, stop)
        else:
            start = _skip(view, start, stop, tag & 7)
    return {parts[1]: parts[2]}, stop


_READERS: dict[str, Reader] = {
    "uint64": read_varint,
    "int64": _read_int64,
    "bool": _read_bool,
    "double": _read_double,
    "fixed32": _read_fixed32,
    "string": _read_string,
    "bytes": _read_bytes,
    "map": _read_map_entry,
}
