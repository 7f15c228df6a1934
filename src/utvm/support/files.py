"""Files and folders that appear under their final name only when they are complete.

In: a destination and a function that fills a temporary path beside it. Out: the destination, whole.
Whatever ends the filling early (an error, Ctrl-C) removes the temporary path and leaves the
destination as it was. Failures of the file system are InputErrors that name the destination.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from utvm.support.errors import InputError
from utvm.support.interrupts import interrupts_held

MARKER = ".utvm-output"
MARKER_TEXT = "utvm wrote this folder and replaces it as a whole when it writes here again.\n"


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """``write(temporary)`` makes the file, which then takes the place of ``path``."""
    if path.is_dir():
        raise InputError("cannot write the file: a folder of this name exists", where=str(path))
    with _scratch_beside(path) as scratch:
        write(scratch / path.name)
        (scratch / path.name).replace(path)


def replace_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """``fill(temporary)`` fills a folder, which then takes the place of ``path``.

    What stands at ``path`` is replaced only if it is empty or holds the file ``MARKER``, which says
    that this function made it; anything else is refused before ``fill`` is called.
    """
    path = path.resolve()
    check_replaceable(path)
    with _scratch_beside(path) as scratch:
        folder = scratch / path.name
        folder.mkdir()
        fill(folder)
        (folder / MARKER).write_text(MARKER_TEXT, encoding="ascii")
        if path.exists():
            path.rename(scratch / "old")
        folder.rename(path)


def check_replaceable(path: Path) -> None:
    """Refuses a destination that holds somebody's files; for asking before a long work."""
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError("cannot write the folder: a file of this name exists", where=str(path))
    if any(path.iterdir()) and not (path / MARKER).exists():
        raise InputError(
            "the folder is not empty",
            where=str(path),
            expected=f"a new or empty folder, or one that utvm wrote (it holds {MARKER})",
        )


@contextmanager
def _scratch_beside(path: Path) -> Iterator[Path]:
    """A temporary folder in the folder of ``path``, so that renaming crosses no file system."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", dir=path.parent))
    except OSError as error:
        raise _failure(error, path) from error
    try:
        yield scratch
    except OSError as error:
        raise _failure(error, path) from error
    finally:
        with interrupts_held():  # Ctrl-C in the midst of it would leave the rest
            shutil.rmtree(scratch, ignore_errors=True)


def _failure(error: OSError, path: Path) -> InputError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return InputError(f"cannot write: {reason}", where=str(path))
