"""A protobuf codec for dataclasses, so that the package needs no protobuf at run time."""

from __future__ import annotations

from typing import Self, cast

from .decode import decode
from .encode import encode, varint
from .fields import field, fields_of

__all__ = ["Buffer", "Message", "field", "fields_of", "varint"]

Buffer = bytes | bytearray | memoryview


class Message:
    """Base of the message dataclasses; their fields are declared with `field`."""

    __slots__ = ()

    def encode(self) -> bytes:
        """Return the message's bytes, the same that any protobuf library writes."""
        return encode(self)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Parse a message; `bytes` fields are views of `data`. Raises ValueError when it is malformed."""
        view = memoryview(data)
        return cast(Self, decode(cls, view, 0, len(view)))
