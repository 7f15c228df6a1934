"""The process that has one device: takes jobs, answers trials, and may die without harm.

In: on standard input, length-prefixed pickles from the tuner that started it: a ``Setup``, then
lists of jobs. Out: on standard output, ("ready",), ("begin", id) and ("done", trial), then
("idle",) behind each list, or ("failed", text) before it ends by itself. Whatever else is printed
goes to the null device. Only the parent's pipe is ever read, so that what is unpickled is its own.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from utvm.support.errors import UtvmError
from utvm.tune.measure import Meter, Setup

_HEAD = struct.Struct("<I")


def send(stream: IO[bytes], message: object) -> None:
    """Writes a message whole."""
    data = pickle.dumps(message)
    rest = memoryview(_HEAD.pack(len(data)) + data)
    while rest:  # a pipe without a buffer may take less than all
        rest = rest[stream.write(rest) or 0 :]
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next message; EOFError when the other side has gone."""
    (size,) = _HEAD.unpack(_exactly(stream, _HEAD.size))
    return pickle.loads(_exactly(stream, size))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def serve(source: IO[bytes], sink: IO[bytes], folder: Path) -> None:
    """Answers until the parent closes its end, or the device is lost."""
    setup = receive(source)
    assert isinstance(setup, Setup)
    meter = None
    try:
        meter = Meter(setup, folder)
        send(sink, ("ready",))
        while True:
            for job in receive(source):
                send(sink, ("begin", job.id))
                send(sink, ("done", meter.measure(job)))
            send(sink, ("idle",))
    except EOFError:
        return
    except UtvmError as error:
        send(sink, ("failed", str(error)))
    finally:
        if meter is not None:
            meter.close()


def main() -> None:
    """Standard output is the parent's pipe; prints must not get into it."""
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    with tempfile.TemporaryDirectory(prefix="utvm-tune-") as folder:
        serve(sys.stdin.buffer, sink, Path(folder))


if __name__ == "__main__":
    main()
