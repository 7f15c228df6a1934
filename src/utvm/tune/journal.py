"""The file of records that a tuning run writes: one line per trial, whole when the trial is done.

In: the path, and records one by one. Out: the records that were there before, for a run that goes
on where another ended. A line is written and flushed at once, so that a kill at any moment loses
at most the trials that are under way; a last line without its end is closed before the next. One
run at a time writes to a file: it holds a lock, which ends with its process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from utvm.schedule.records import Record, RecordFile, read_records, record_line
from utvm.support.errors import InputError


class Journal:
    """Opens the file, or makes it; its folder must be there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._stream = path.open("ab")
        except OSError as error:
            reason = error.strerror or "unknown reason"
            raise InputError(f"the records cannot be written: {reason}", where=str(path)) from error
        try:
            _lock(self._stream, path)
            self.before: RecordFile = read_records(path)
            if not _ends_with_line(path):
                self._stream.write(b"\n")
                self._stream.flush()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def append(self, record: Record) -> None:
        """Writes one line, in one piece."""
        self._stream.write(record_line(record).encode("utf-8") + b"\n")
        self._stream.flush()

    def close(self) -> None:
        """Ends the lock, too."""
        self._stream.close()


def _ends_with_line(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(0, 2)
        if stream.tell() == 0:
            return True
        stream.seek(-1, 2)
        return stream.read(1) == b"\n"


def _lock(stream: BinaryIO, path: Path) -> None:
    """Refuses a file that another run writes to."""
    if sys.platform == "win32":
        return
    import fcntl  # only there is such a module

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InputError(
            "another tuning run writes to this file",
            where=str(path),
            hint="wait for it, or tune into another file and pass both with --records",
        ) from error
