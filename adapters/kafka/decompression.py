"""What a compressed batch of records holds, as long as that is not too much; what it means is read elsewhere.

A broker bounds a batch as it was sent, compressed: 17 kB of zstd may be 500 MB. aiokafka takes all of it into
memory, however much that is, and a process that dies of it reads the same batch again when it is back.
"""

from __future__ import annotations

import gzip
import io
import mmap
import struct
from typing import Final

import cramjam  # comes with aiokafka's extras, which decompresses by it, too

BATCH_BYTES: Final = 32 * 1024 * 1024
"""So much of a batch is taken in, decompressed: 32 of the largest records that brokers take unless told. What
producers make of their own accord is far below: librdkafka's batches have 1 MB, and Java's no more compressed."""

HEADER_BYTES: Final = 61
"""Of a batch of the present format (magic 2); its records are behind."""

_GZIP: Final = 1
_SNAPPY: Final = 2
_LZ4: Final = 3
_ZSTD: Final = 4
_CODEC: Final = 7
_LENGTH_AT: Final = 8
_COUNTED_FROM: Final = 12
_ATTRIBUTES_AT: Final = 21
_PIECE: Final = 64 * 1024
_XERIAL: Final = b"\x82SNAPPY\x00\x00\x00\x00\x01"
"""Begins snappy as Java's clients frame it: blocks behind their lengths, from the 16th byte on."""
_XERIAL_BYTES: Final = 16

_FULL: Final = "failed to write whole buffer"
"""Rust's words for a target that is too small; cramjam has no error of its own for it."""


class TooMuchError(Exception):
    """Decompressed it is larger than it may be."""


def codec_of(raw: memoryview) -> int:
    """By which codec a batch of the present format is compressed; 0 for none."""
    return int(struct.unpack_from(">h", raw, _ATTRIBUTES_AT)[0]) & _CODEC


def decompressed(raw: memoryview, most: int) -> memoryview:
    """The same batch without compression, of at most `most` bytes behind its header; its checksum stays wrong.

    One that is not compressed comes back as it is.

    Raises:
        TooMuchError: it holds more.
        Exception: whatever decompressors raise.
    """
    codec = codec_of(raw)
    if not codec:
        return raw
    # Takes memory only as far as it is written to.
    plain = memoryview(mmap.mmap(-1, HEADER_BYTES + most))
    ends = HEADER_BYTES + _decompress_into(codec, raw[HEADER_BYTES:], plain[HEADER_BYTES:])
    plain[:HEADER_BYTES] = raw[:HEADER_BYTES]
    (attributes,) = struct.unpack_from(">h", raw, _ATTRIBUTES_AT)
    struct.pack_into(">h", plain, _ATTRIBUTES_AT, attributes & ~_CODEC)
    struct.pack_into(">i", plain, _LENGTH_AT, ends - _COUNTED_FROM)
    return plain[:ends]


def check_old(raw: memoryview, magic: int, most: int) -> int:
    """How many bytes a message of the formats before (magic 0 and 1) is, decompressed; 0 if it is not compressed.

    Raises:
        TooMuchError, Exception: as for `decompressed`.
    """
    codec = raw[17] & _CODEC
    if not codec:
        return 0
    position = 18 if magic == 0 else 26
    for _ in ("key", "value"):
        (length,) = struct.unpack_from(">i", raw, position)
        content = raw[position + 4 : position + 4 + max(0, length)]
        position += 4 + len(content)
    return _decompress_into(codec, content, memoryview(mmap.mmap(-1, most)))


def _decompress_into(codec: int, content: memoryview, target: memoryview) -> int:
    """How many bytes it is."""
    if codec == _GZIP:
        return _gzip_into(content, target)
    if codec == _SNAPPY:
        return _snappy_into(content, target)
    try:
        if codec == _LZ4:
            return int(cramjam.lz4.decompress_into(bytes(content), target))
        if codec == _ZSTD:
            return int(cramjam.zstd.decompress_into(bytes(content), target))
    except cramjam.DecompressionError as error:
        if _FULL in str(error):
            raise TooMuchError from None
        raise
    raise ValueError(codec)


def _gzip_into(content: memoryview, target: memoryview) -> int:
    position = 0
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        while piece := file.read1(_PIECE):
            if position + len(piece) > len(target):
                raise TooMuchError
            target[position : position + len(piece)] = piece
            position += len(piece)
    return position


def _snappy_into(content: memoryview, target: memoryview) -> int:
    """Each block says its size before, and snappy refuses one that is of another."""
    if bytes(content[: len(_XERIAL)]) != _XERIAL:
        return _snappy_block_into(content, target)
    position, written = _XERIAL_BYTES, 0
    while position < len(content):
        (length,) = struct.unpack_from(">i", content, position)
        position += 4
        if length <= 0 or position + length > len(content):
            raise ValueError(length)
        written += _snappy_block_into(content[position : position + length], target[written:])
        position += length
    return written


def _snappy_block_into(block: memoryview, target: memoryview) -> int:
    raw = bytes(block)
    size = int(cramjam.snappy.decompress_raw_len(raw))
    if size > len(target):
        raise TooMuchError
    return int(cramjam.snappy.decompress_raw_into(raw, target[:size]))
