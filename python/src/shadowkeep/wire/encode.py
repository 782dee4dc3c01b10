"""From a message to bytes: one record per field that is set, in the order of the field numbers.

record = varint(field number << 3 | wire type), then by the wire type
0  varint                 uint64, int64 (two's complement), bool, enum
1  8 bytes little-endian  double
2  varint length, bytes   string, bytes, message, packed numbers, one entry of a map
5  4 bytes little-endian  fixed32
"""

from __future__ import annotations

import struct
from typing import Any

from .fields import BYTES, Field, fields_of

UINT64_MASK = (1 << 64) - 1


def varint(value: int) -> bytes:
    """Encode an unsigned integer below 2**64: seven bits a byte, lowest first, the top bit says that more follow."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(message: Any) -> bytes:
    """Return a message's bytes. Raises ValueError for a number that is out of range."""
    out = bytearray()
    for row in fields_of(type(message)):
        value = getattr(message, row.name)
        if row.kind == "map":
            for key, item in value.items():
                # As protobuf does, both are written even when empty.
                entry = bytearray()
                _write_bytes(entry, 1, key.encode())
                _write_bytes(entry, 2, item.encode())
                _write_bytes(out, row.number, entry)
        elif row.packed:
            if value:
                _write_bytes(out, row.number, b"".join(_number(row.kind, item) for item in value))
        elif row.repeated:
            for item in value:
                _write(out, row, item)
        elif value is not None and (row.default is None or value != row.default):
            _write(out, row, value)
    return bytes(out)


def _number(kind: str, value: Any) -> bytes:
    if kind == "double":
        return struct.pack("<d", value)
    if kind == "fixed32":
        return struct.pack("<I", value)
    if kind != "int64" and not 0 <= value <= UINT64_MASK:
        raise ValueError(f"{value} is not an unsigned integer of 64 bits")
    return varint(int(value) & UINT64_MASK)


def _write(out: bytearray, row: Field, value: Any) -> None:
    if row.kind == "message":
        _write_bytes(out, row.number, encode(value))
    elif row.kind == "string":
        _write_bytes(out, row.number, value.encode())
    elif row.kind == "bytes":
        _write_bytes(out, row.number, value)
    else:
        out += varint(row.number << 3 | row.wire_type) + _number(row.kind, value)


def _write_bytes(out: bytearray, number: int, data: bytes | bytearray | memoryview) -> None:
    out += varint(number << 3 | BYTES) + varint(len(data))
    out += data
