"""Packets of the GDB remote serial protocol: framing, checksums, escapes, run lengths.

In: bytes in any pieces, as a server sent them. Out: payloads, acknowledgements, and damage, as
values; and payloads as bytes to send. Pure: no stream and no clock. Whatever the bytes are, a
``PacketReader`` holds at most ``MAX_PACKET_BYTES`` of them, and of a payload that repeats itself.

Protocol: the appendix "GDB Remote Serial Protocol" of the GDB manual, "Overview".
"""

from __future__ import annotations

from enum import Enum

MAX_PACKET_BYTES = 1 << 18
_ESCAPE, _REPEAT, _START, _END, _NOTIFICATION = b"}*$#%"
_ESCAPE_XOR = 0x20
_REPEAT_BIAS = 29


class Mark(Enum):
    """What comes between packets, and instead of them."""

    ACK = "+"
    NACK = "-"
    DAMAGED = "a packet whose checksum, escapes or run lengths are wrong"
    TOO_LONG = "a packet that has no end"


Event = Mark | bytes


def frame(payload: bytes) -> bytes:
    """``payload`` as a packet; bytes with a meaning of their own are escaped."""
    body = bytearray()
    for byte in payload:
        if byte in (_ESCAPE, _REPEAT, _START, _END):
            body += bytes((_ESCAPE, byte ^ _ESCAPE_XOR))
        else:
            body.append(byte)
    return b"$%b#%02x" % (bytes(body), sum(body) % 256)


class PacketReader:
    """Takes a stream of bytes apart."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """All that is complete with ``data``; what is no part of a packet is passed over."""
        self._pending += data
        events: list[Event] = []
        at = 0
        while at < len(self._pending):
            byte = self._pending[at]
            if byte in b"+-":
                events.append(Mark.ACK if byte == ord("+") else Mark.NACK)
                at += 1
            elif byte in (_START, _NOTIFICATION):
                end = self._pending.find(b"#", at)
                if end < 0 or end + 2 >= len(self._pending):
                    break
                # A notification has no answer and belongs to no question.
                if byte == _START:
                    events.append(_payload(bytes(self._pending[at + 1 : end + 3])))
                at = end + 3
            else:
                at += 1
        del self._pending[:at]
        if len(self._pending) > MAX_PACKET_BYTES:
            self._pending.clear()
            events.append(Mark.TOO_LONG)
        return events


def _payload(framed: bytes) -> Event:
    """The payload of ``body#xx``."""
    body, checksum = framed[:-3], framed[-2:]
    try:
        if int(checksum, 16) != sum(body) % 256:
            return Mark.DAMAGED
    except ValueError:
        return Mark.DAMAGED
    if _ESCAPE not in body and _REPEAT not in body:
        return body
    return _expanded(body)


def _expanded(body: bytes) -> Event:
    """Without escapes and run lengths: ``0*`` and a space are four zeros."""
    payload = bytearray()
    at = 0
    while at < len(body):
        byte = body[at]
        at += 1
        if byte not in (_ESCAPE, _REPEAT):
            payload.append(byte)
            continue
        if at == len(body):
            return Mark.DAMAGED
        if byte == _ESCAPE:
            payload.append(body[at] ^ _ESCAPE_XOR)
        else:
            count = body[at] - _REPEAT_BIAS
            if not payload or count <= 0:
                return Mark.DAMAGED
            payload += payload[-1:] * count
        at += 1
        if len(payload) > MAX_PACKET_BYTES:
            return Mark.TOO_LONG
    return bytes(payload)
