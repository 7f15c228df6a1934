"""A byte stream over a serial port: a real one of a board, or one side of a pseudo-terminal.

In: the name of the port and its speed. Out: a ``ByteStream`` with 8 data bits, no parity, one stop
bit, no flow control and no interpretation of any byte. ``pyserial`` opens and sets up the port, and
locks it, so that two hosts do not talk to one board at a time.
"""

from __future__ import annotations

import os
import re

import serial

from utvm.device.stream import FdStream
from utvm.support.errors import DeviceError, InputError
from utvm.support.text import printable

DEFAULT_BAUD = 115200
# Where pyserial has the system's error number when it is no attribute: (25, 'Inappropriate ioctl')
_NUMBER = re.compile(r"\((\d+),")


def open_serial(path: str | os.PathLike[str], baud: int = DEFAULT_BAUD) -> FdStream:
    """The port at ``path``; what it received before is thrown away."""
    name = printable(os.fspath(path))
    if baud <= 0:
        raise InputError("the speed is none", where=name, found=f"{baud} baud")
    try:
        port = serial.Serial(os.fspath(path), baud, timeout=0, exclusive=True)
    except ValueError as error:
        raise InputError(
            "the port cannot run at this speed", where=name, found=f"{baud} baud"
        ) from error
    except serial.SerialException as error:
        raise _failure(name, error) from error
    try:
        # The stream owns a descriptor of its own; the lock belongs to what both share.
        descriptor = os.dup(port.fileno())
    finally:
        port.close()
    return FdStream(descriptor, descriptor, name)


def _failure(name: str, error: serial.SerialException) -> DeviceError:
    text = str(error)
    inside = _NUMBER.search(text)
    number = error.errno or (int(inside[1]) if inside else 0)
    reason = os.strerror(number) if number else printable(text, 200)
    if "configure" in text:
        return DeviceError("this is no serial port", where=name, found=reason)
    if "exclusively lock" in text:
        return DeviceError("the serial port is in use", where=name, hint="end what else uses it")
    return DeviceError(
        "the serial port cannot be opened",
        where=name,
        found=reason,
        hint="is the board connected, and may you use the port?",
    )
