"""How a message class declares its fields, and the table that encoding and decoding go by."""

from __future__ import annotations

import dataclasses
from typing import Any

# Wire types of protobuf (protobuf.dev/programming-guides/encoding).
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_DEFAULTS: dict[str, Any] = {
    "uint64": 0, "int64": 0, "bool": False, "enum": 0, "double": 0.0, "fixed32": 0, "string": "", "bytes": b"",
    "message": None,
}  # fmt: skip
_WIRE_TYPES = {"double": FIXED64, "fixed32": FIXED32, "string": BYTES, "bytes": BYTES, "message": BYTES, "map": BYTES}


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One row of a message's field table; a map is one of strings to strings."""

    name: str
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
    """Declare a field of a message dataclass; `type` is the enum's or message's class.

    As in proto3, a singular field that equals its default is not sent; an optional one, a message or a member of a
    oneof is None when it is absent.
    """
    row = {"number": number, "kind": kind, "type": type, "repeated": repeated}
    if kind == "map":
        return dataclasses.field(default_factory=dict, metadata=row)
    if repeated:
        return dataclasses.field(default_factory=list, metadata=row)
    default = type(0) if kind == "enum" and not optional else _DEFAULTS[kind]
    return dataclasses.field(default=None if optional else default, metadata=row)


_TABLES: dict[type[Any], tuple[Field, ...]] = {}


def fields_of(message: type[Any]) -> tuple[Field, ...]:
    """Return a message class's field table; made once, when first used, since `slots=True` makes classes anew."""
    if message not in _TABLES:
        rows = dataclasses.fields(message)
        _TABLES[message] = tuple(Field(name=row.name, default=row.default, **row.metadata) for row in rows)
    return _TABLES[message]
