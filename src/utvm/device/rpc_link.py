"""One request and its reply at a time, over a stream that may lose, double and damage bytes.

An ``RpcLink`` opens sessions and exchanges payloads. A request is sent again until its reply comes;
the device runs it once. Every method ends by its deadline. What the device sends is not trusted:
frames that do not belong here are passed over.
"""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from utvm.device.rpc_frame import MAX_PAYLOAD, Frame, FrameReader, Kind, encode
from utvm.device.session import DeviceTimeoutError, ProtocolError, status_name
from utvm.device.stream import ByteStream
from utvm.support.errors import DeviceError

VERSION = 2
MIN_PAYLOAD = 64
_WELCOME = struct.Struct("<iBBBBIIIII")
_NONCES = 0xFFFF
_MAX_RETRIES_APART = 8  # so that a device that is busy for long is not flooded


class NoSessionError(DeviceError):
    """The device does not know the session: it has restarted, or another host has opened one."""


@dataclass(frozen=True)
class Welcome:
    """What a device says of itself when a session is opened."""

    version: int
    has_fault: bool
    has_watchdog: bool
    payload_bytes: int
    functions: int
    cycles_per_second: int  # 0: unknown
    memory_bytes: int
    blocks: int


class RpcLink:
    """The host's end of the protocol. ``retry_seconds`` is the time to the first repetition."""

    def __init__(self, stream: ByteStream, retry_seconds: float) -> None:
        self._stream = stream
        self._retry_seconds = retry_seconds
        self._reader = FrameReader()
        self._session = 0
        self._sequence = 0
        self._nonce = 0

    def open(self, deadline: float) -> Welcome:
        """A new session, whatever there was before."""
        nonce = self._nonce = _other_nonce(self._nonce)
        self._session = self._sequence = 0
        hello = Frame(Kind.HELLO, nonce, 0, bytes((VERSION, VERSION)))
        for frame in self._converse(hello, deadline):
            if frame.kind == Kind.WELCOME and frame.session & _NONCES == nonce:
                welcome = _read_welcome(frame)
                self._session = frame.session
                return welcome
        raise DeviceTimeoutError(
            "the device does not answer",
            found=f"{self._reader.damaged_frames} damaged frames",
            hint="does an RPC server run there, and is the speed of the port right?",
        )

    def exchange(self, payload: bytes, deadline: float) -> bytes:
        """The reply to a request; NoSessionError if the device does not know the session."""
        if self._session == 0:
            raise NoSessionError("there is no session", hint="open one")
        self._sequence += 1
        request = Frame(Kind.REQUEST, self._session, self._sequence, payload)
        try:
            for frame in self._converse(request, deadline):
                if (frame.session, frame.sequence) != (request.session, request.sequence):
                    continue
                if frame.kind == Kind.REPLY:
                    return frame.payload
                if frame.kind == Kind.NO_SESSION:
                    raise NoSessionError("the device does not know the session")
        except DeviceError:
            self._session = 0
            raise
        self._session = 0  # whether the request was run, nobody knows
        raise DeviceTimeoutError(
            "the device did not answer in time",
            found=f"{self._reader.damaged_frames} damaged frames",
            hint="it may still be busy, or hang: reset it",
        )

    def _converse(self, frame: Frame, deadline: float) -> Iterator[Frame]:
        """Sends ``frame`` again and again; gives all that comes in, until the deadline.

        Behind each sending it looks at what has come, however late it gets to that: a computer that
        is busy, or sleeps, must not take its own delay for the device's silence.
        """
        data = encode(frame)
        wait = self._retry_seconds
        now = time.monotonic()
        while True:
            self._stream.write(data, deadline)
            again = min(deadline, now + wait)
            wait = min(2 * wait, _MAX_RETRIES_APART * self._retry_seconds)
            while True:
                yield from self._reader.feed(self._stream.read(again))
                now = time.monotonic()
                if now >= again:
                    break
            if now >= deadline:
                return


def _other_nonce(last: int) -> int:
    """Random, so that frames of another host or of an earlier run fit no session of this one."""
    nonce = 1 + secrets.randbelow(_NONCES - 1)
    return nonce if nonce != last else _NONCES


def _read_welcome(frame: Frame) -> Welcome:
    if len(frame.payload) < _WELCOME.size:
        raise ProtocolError(
            "the device's welcome is cut short", found=f"{len(frame.payload)} bytes"
        )
    status, version, lowest, highest, flags, *numbers = _WELCOME.unpack_from(frame.payload)
    if status != 0:
        raise ProtocolError(
            "the device refuses the session",
            expected=f"protocol version {VERSION}",
            found=f"{status_name(status)}, versions {lowest} to {highest}",
            hint="build its program anew",
        )
    welcome = Welcome(version, bool(flags & 1), bool(flags & 2), *numbers)
    if (
        version != VERSION
        or not MIN_PAYLOAD <= welcome.payload_bytes <= MAX_PAYLOAD
        or frame.session <= _NONCES
    ):
        raise ProtocolError("the device's welcome makes no sense", found=repr(welcome))
    return welcome
