"""Reading .npz archives that come from a user: headers first, then data; and writing our own.

In: a path, and which arrays with which type and shape. Out: NumPy arrays in C order and native
byte order. Nothing is unpickled, and no array is read before its header was checked, so a header
that claims terabytes costs nothing. Every mistake is an InputError that names file and array.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from utvm.support.errors import InputError
from utvm.support.text import printable

MAX_ARRAY_BYTES = 256 << 20
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


class Archive:
    """An open archive. ``names`` are its arrays, in the file's order."""

    def __init__(self, path: Path, stream: zipfile.ZipFile) -> None:
        self.path = path
        self._stream = stream
        self.names = tuple(
            name.removesuffix(".npy") for name in stream.namelist() if name.endswith(".npy")
        )

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
        """Shape and type of an array."""
        with self._member(name) as member:
            shape, _, dtype = _read_header(member)
        return shape, dtype

    def array(self, name: str) -> np.ndarray:
        """The array, in C order and native byte order."""
        shape, dtype = self.header(name)
        if dtype.hasobject:
            raise self.error(name, "the array holds Python objects", "numbers")
        if prod(shape) * dtype.itemsize > MAX_ARRAY_BYTES:
            raise self.error(name, "the array is too large", f"at most {MAX_ARRAY_BYTES} bytes")
        with self._member(name) as member:
            data = npy.read_array(member, allow_pickle=False)
        return np.ascontiguousarray(data, dtype=dtype.newbyteorder("="))

    def error(self, name: str, what: str, expected: str = "", found: str = "") -> InputError:
        """An InputError about the array ``name``."""
        return InputError(
            what, where=f"{self.path}: {printable(name)}", expected=expected, found=found
        )

    @contextmanager
    def _member(self, name: str) -> Iterator[IO[bytes]]:
        try:
            with self._stream.open(f"{name}.npy") as member:
                yield member
        except KeyError:
            raise self.error(name, "the archive has no such array") from None
        except (*_BROKEN, OSError) as error:
            raise self.error(name, "the array is damaged or cut short") from error


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """The archive in ``path``, closed at the end of the block."""
    try:
        stream = zipfile.ZipFile(path)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise InputError(f"the file cannot be read: {reason}", where=str(path)) from error
    except _BROKEN as error:
        raise InputError(
            "the file is no .npz archive, or is cut short",
            where=str(path),
            hint="write it with numpy.savez(FILE, in0=array)",
        ) from error
    with stream:
        yield Archive(path, stream)


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive, by name."""
    with open_archive(path) as archive:
        return {name: archive.array(name) for name in archive.names}


def write_archive(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An .npz archive; equal arrays give equal bytes (the entries carry no date)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                npy.write_array(member, array, allow_pickle=False)
    return stream.getvalue()


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = npy.read_magic(member)
    if version == (1, 0):
        return npy.read_array_header_1_0(member)
    if version == (2, 0):
        return npy.read_array_header_2_0(member)
    raise ValueError(f"version {version} of the array format is for structures only")
