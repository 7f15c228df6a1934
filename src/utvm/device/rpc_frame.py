"""Frames of the RPC protocol: bytes to frames and back (SPEC.md, section "RPC").

``encode`` makes the bytes of a frame. A ``FrameReader`` takes bytes in any pieces and gives the
whole frames among them; damaged ones are counted and dropped, and memory stays bounded whatever
comes in.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

DELIMITER = b"\x7e"
MAX_PAYLOAD = 65535
OVERHEAD = 16
_HEADER = struct.Struct("<BBHII")
_CRC = struct.Struct("<I")
_MAX_ESCAPED = 2 * (MAX_PAYLOAD + OVERHEAD)


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    WELCOME = 2
    REQUEST = 3
    REPLY = 4
    NO_SESSION = 5


@dataclass(frozen=True)
class Frame:
    """A frame as sent; ``kind`` may be one that this version does not know."""

    kind: int
    session: int
    sequence: int
    payload: bytes


def encode(frame: Frame) -> bytes:
    """The bytes of a frame, delimiters included."""
    head = _HEADER.pack(frame.kind, 0, len(frame.payload), frame.session, frame.sequence)
    body = head + frame.payload
    body += _CRC.pack(zlib.crc32(body))
    escaped = body.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e")
    return DELIMITER + escaped + DELIMITER


class FrameReader:
    """Finds frames in a stream of bytes."""

    def __init__(self) -> None:
        self.damaged_frames = 0
        self._pieces = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that end in ``data``."""
        *ended, rest = data.split(DELIMITER)
        for piece in ended:
            self._append(piece)
            body = bytes(self._pieces)
            self._pieces.clear()
            if body:
                frame = _decode(body)
                if frame is None:
                    self.damaged_frames += 1
                else:
                    yield frame
        self._append(rest)

    def _append(self, piece: bytes) -> None:
        """More than any frame needs is not kept: it is damaged already."""
        self._pieces += piece[: _MAX_ESCAPED + 1 - len(self._pieces)]


def _decode(escaped: bytes) -> Frame | None:
    # In this order: behind the first step, no escape of a delimiter is left to be mistaken.
    body = escaped.replace(b"\x7d\x5e", b"\x7e").replace(b"\x7d\x5d", b"\x7d")
    if not OVERHEAD <= len(body) <= MAX_PAYLOAD + OVERHEAD:
        return None
    kind, zero, length, session, sequence = _HEADER.unpack_from(body)
    payload = body[_HEADER.size : -_CRC.size]
    (crc,) = _CRC.unpack_from(body, len(body) - _CRC.size)
    if zero != 0 or length != len(payload) or crc != zlib.crc32(body[: -_CRC.size]):
        return None
    return Frame(kind, session, sequence, payload)
