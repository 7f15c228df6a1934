"""A byte stream over a serial port: a real one of a board, or one side of a pseudo-terminal.

In: the path of the port and its speed. Out: a ``ByteStream`` with 8 data bits, no parity, one stop
bit, no flow control and no interpretation of any byte. Works where there is ``termios``.
"""

from __future__ import annotations

import os
import termios
import tty
from pathlib import Path

from utvm.device.stream import FdStream
from utvm.support.errors import DeviceError, InputError
from utvm.support.text import printable

DEFAULT_BAUD = 115200


def open_serial(path: Path, baud: int = DEFAULT_BAUD) -> FdStream:
    """The port at ``path``; what it received before is thrown away."""
    speed = getattr(termios, f"B{baud}", None)
    if speed is None:
        raise InputError("the speed is no standard one", where=str(path), found=f"{baud} baud")
    name = printable(str(path))
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise DeviceError(
            "the serial port cannot be opened",
            where=name,
            found=error.strerror or "",
            hint="is the board connected, and may you use the port?",
        ) from error
    try:
        _set_raw(descriptor, speed)
    except termios.error as error:
        os.close(descriptor)
        raise DeviceError(
            "this is no serial port", where=name, found=str(error.args[-1])
        ) from error
    return FdStream(descriptor, descriptor, name)


def _set_raw(descriptor: int, speed: int) -> None:
    tty.setraw(descriptor, termios.TCSANOW)
    attributes = termios.tcgetattr(descriptor)
    attributes[2] &= ~(termios.PARENB | termios.CSTOPB | termios.CSIZE)
    attributes[2] |= termios.CS8 | termios.CLOCAL | termios.CREAD
    attributes[4] = attributes[5] = speed
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
    termios.tcflush(descriptor, termios.TCIFLUSH)
