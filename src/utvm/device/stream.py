"""Byte streams to a device, with deadlines, and the one over file descriptors.

``ByteStream`` is all that a transport has to offer. ``FdStream`` works on any descriptor that
``poll`` knows: pipes, pseudo-terminals, serial ports, sockets. A deadline is a value of
``time.monotonic``. Nothing here knows about frames.
"""

from __future__ import annotations

import os
import select
import time
from typing import Protocol

from utvm.device.session import DeviceTimeoutError, StreamClosedError

READ_BYTES = 1 << 16
_LOOK_SECONDS = 0.5  # how soon an interrupt is noticed


class ByteStream(Protocol):
    """Bytes in both directions; what is read may come in any pieces."""

    def read(self, deadline: float) -> bytes:
        """At least one byte, or none when the deadline has passed; StreamClosedError at the end."""

    def write(self, data: bytes, deadline: float) -> None:
        """Hands over all bytes; DeviceTimeoutError when that is not possible in time."""

    def close(self) -> None:
        """Ends the stream and what belongs to it; may be called again."""


class FdStream:
    """A stream over one descriptor for both directions, or one for each; it owns them."""

    def __init__(self, reader: int, writer: int, name: str) -> None:
        self.name = name
        self._reader = reader
        self._writer = writer
        self._closed = False
        for descriptor in {reader, writer}:
            os.set_blocking(descriptor, False)

    def read(self, deadline: float) -> bytes:
        """See ``ByteStream``."""
        while self._ready(self._reader, select.POLLIN, deadline):
            try:
                data = os.read(self._reader, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:  # a pty whose other side is closed says EIO
                raise self.ended(error.strerror or "") from error
            if not data:
                raise self.ended("")
            return data
        return b""

    def write(self, data: bytes, deadline: float) -> None:
        """See ``ByteStream``."""
        left = memoryview(data)
        while left:
            if not self._ready(self._writer, select.POLLOUT, deadline):
                raise DeviceTimeoutError(
                    "the device takes no more bytes", where=self.name, found=f"{len(left)} left"
                )
            try:
                left = left[os.write(self._writer, left) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self.ended(error.strerror or "") from error

    def close(self) -> None:
        """See ``ByteStream``."""
        if not self._closed:
            self._closed = True
            for descriptor in {self._reader, self._writer}:
                os.close(descriptor)

    def ended(self, reason: str) -> StreamClosedError:
        """The error that the end of the stream is reported with."""
        return StreamClosedError("the stream has ended", where=self.name, found=reason)

    def _ready(self, descriptor: int, event: int, deadline: float) -> bool:
        """Waits until reading or writing will not block; False at the deadline."""
        if self._closed:
            raise StreamClosedError("the stream is closed", where=self.name)
        poll = select.poll()
        poll.register(descriptor, event)
        while True:
            wait = max(0.0, deadline - time.monotonic())
            # An interrupt just before a wait is only heard when that ends.
            if poll.poll(1000 * min(wait, _LOOK_SECONDS)):
                return True
            if wait == 0.0:
                return False
