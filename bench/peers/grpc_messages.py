"""The messages of the grpcio peer, in the two ways to write it.

`Stubs` is what the tutorial of gRPC for Python leads to: a message `Chunk { uint64 offset = 1; bytes data = 2; }`,
whose class is made here as the protobuf compiler makes it; a generated stub does no more than hand its
`SerializeToString` and `FromString` to grpcio. `Bare` leaves protobuf away: a message is the bytes, in order.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "bench.Shadow"
PIECE_BYTES = 1 << 20
UNBOUNDED = [("grpc.max_receive_message_length", -1)]


def _chunk_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="bench.proto", package="bench", syntax="proto3")
    message = file.message_type.add(name="Chunk")
    kinds = descriptor_pb2.FieldDescriptorProto
    message.field.add(name="offset", number=1, type=kinds.TYPE_UINT64, label=kinds.LABEL_OPTIONAL)
    message.field.add(name="data", number=2, type=kinds.TYPE_BYTES, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.Chunk"))


Chunk = _chunk_class()


class Stubs:
    """A piece of the model is a message of the protobuf library."""

    @staticmethod
    def pack(offset: int, data: bytes) -> Any:
        return Chunk(offset=offset, data=data)

    @staticmethod
    def unpack(message: Any, received: int) -> tuple[int, bytes]:
        return message.offset, message.data

    to_bytes = Chunk.SerializeToString
    from_bytes = Chunk.FromString


class Bare:
    """A piece of the model is its bytes."""

    @staticmethod
    def pack(offset: int, data: bytes) -> bytes:
        return data

    @staticmethod
    def unpack(message: bytes, received: int) -> tuple[int, bytes]:
        return received, message

    to_bytes = from_bytes = staticmethod(lambda message: message)


Messages = type[Stubs] | type[Bare]
MESSAGES: dict[str, Messages] = {"stubs": Stubs, "bare": Bare}
