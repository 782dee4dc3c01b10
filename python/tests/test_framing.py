"""The hand-written chunk message: byte for byte what protobuf writes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support import Stubs

from shadowkeep.checksums import find_checksum
from shadowkeep.wire import Bytes1D, GetShadowResponse, UpdateRequest, chunk_message


def parts_of(sizes: list[int], rng: np.random.Generator) -> list[Bytes1D]:
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]


@pytest.mark.parametrize("step", [0, 1, 127, 128, (1 << 53) - 1])
@pytest.mark.parametrize("offset", [0, 16, 1 << 20, 1 << 40])
@pytest.mark.parametrize("sizes", [[], [16], [64, 3, 61], [1 << 16, 128]])
@pytest.mark.parametrize("checksums", [False, True])
def test_chunk_message_is_protobufs(
    stubs: Stubs, rng: np.random.Generator, step: int, offset: int, sizes: list[int], checksums: bool
) -> None:
    if checksums:
        pytest.importorskip("google_crc32c", reason="google-crc32c is not installed: checksums are not tested")
    parts = parts_of(sizes, rng)
    data = b"".join(part.tobytes() for part in parts)
    checksum = find_checksum(checksums)
    message = chunk_message(step, offset, parts, len(data), checksum)
    expected = stubs.types.UpdateRequest(chunk=stubs.types.Chunk(step=step, offset=offset, data=data))
    if checksum is not None:
        expected.chunk.crc32c = checksum(np.frombuffer(data, np.uint8), 0)
    assert message == expected.SerializeToString()


def test_chunk_message_is_what_the_codec_reads(rng: np.random.Generator) -> None:
    parts = parts_of([100, 28], rng)
    chunk = UpdateRequest.decode(chunk_message(3, 64, parts, 128, None)).chunk
    assert chunk is not None
    assert (chunk.step, chunk.offset, bytes(chunk.data)) == (3, 64, b"".join(part.tobytes() for part in parts))


def test_checksum_is_castagnoli() -> None:
    pytest.importorskip("google_crc32c", reason="google-crc32c is not installed: checksums are not tested")
    checksum = find_checksum(True)
    assert checksum is not None
    digits = np.frombuffer(b"123456789", np.uint8)
    assert checksum(digits, 0) == 0xE3069283
    assert checksum(digits[4:], checksum(digits[:4], 0)) == 0xE3069283


def test_checksums_off() -> None:
    assert find_checksum(False) is None


def test_checksums_without_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("google_crc32c", "crc32c"):
        monkeypatch.setitem(sys.modules, module, None)
    assert find_checksum(None) is None
    with pytest.raises(ImportError, match=r"shadowkeep\[crc\]"):
        find_checksum(True)


def test_received_data_is_a_view_of_the_message(stubs: Stubs) -> None:
    data = bytes(range(256)) * 16
    wire = stubs.types.GetShadowResponse(chunk=stubs.types.ShadowChunk(offset=64, crc32c=7, data=data))
    message = wire.SerializeToString()
    chunk = GetShadowResponse.decode(message).chunk
    assert chunk is not None
    assert (chunk.offset, chunk.crc32c, bytes(chunk.data)) == (64, 7, data)
    assert isinstance(chunk.data, memoryview)
    assert chunk.data.obj is message
