"""The bundle that SPEC.md describes: one compiled network as a folder or an uncompressed tar file.

In and out: a ``Bundle``, which is metadata and named files, on disk or in memory. Writing is
whole or not at all, and the same bundle gives the same bytes. Reading trusts nothing: paths that
leave the bundle, links, absurd sizes and unknown versions are refused.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from utvm.support.errors import InputError
from utvm.support.files import MARKER, check_replaceable, replace_file, replace_folder
from utvm.support.text import printable

FORMAT_VERSION = 7  # of Apache TVM's Model Library Format
BUNDLE_VERSION = 1  # of what SPEC.md adds to it

METADATA = "metadata.json"
MAX_FILES = 10_000
MAX_TOTAL_BYTES = 512 << 20
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
_OTHER_ARCHIVES = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")


@dataclass(frozen=True)
class Bundle:
    """``metadata`` is a JSON object; ``files`` are all others, by path with forward slashes."""

    metadata: Mapping[str, object]
    files: Mapping[str, bytes]

    def text(self, path: str) -> str:
        """A file as text."""
        return self.files[path].decode("utf-8")


def check_destination(out: Path) -> None:
    """Refuses a path that ``write_bundle`` would refuse; for asking before a long work."""
    if out.name.lower().endswith(_OTHER_ARCHIVES):
        raise InputError(
            "bundles are not compressed", where=str(out), expected="a folder or a .tar file"
        )
    if out.suffix.lower() != ".tar":
        check_replaceable(out)


def write_bundle(bundle: Bundle, out: Path) -> None:
    """Writes a .tar file if ``out`` is called so, else a folder."""
    check_destination(out)
    files = {METADATA: _metadata_bytes(bundle), **bundle.files}
    for path in files:
        assert _PATH.fullmatch(path), path
    if out.suffix.lower() == ".tar":
        replace_file(out, lambda temporary: _write_tar(files, temporary))
    else:
        replace_folder(out, lambda folder: _write_folder(files, folder))


def read_bundle(path: Path) -> Bundle:
    """The bundle in a folder or a .tar file."""
    files = dict(_folder_files(path) if path.is_dir() else _tar_files(path))
    if METADATA not in files:
        raise InputError(f"this is no bundle: it has no {METADATA}", where=str(path))
    return Bundle(_read_metadata(files.pop(METADATA), path), files)


def _metadata_bytes(bundle: Bundle) -> bytes:
    return (json.dumps(bundle.metadata, indent=2, allow_nan=False) + "\n").encode("utf-8")


def _write_folder(files: Mapping[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _write_tar(files: Mapping[str, bytes], path: Path) -> None:
    """Sorted, without dates and owners, so that equal bundles are equal files."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            archive.addfile(entry, io.BytesIO(files[name]))


def _folder_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    counter = _Counter(folder)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise InputError("a bundle holds no links", where=f"{folder}: {printable(name)}")
        if path.is_file() and name != MARKER:
            counter.add(name, path.stat().st_size)
            yield name, path.read_bytes()


def _tar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    counter = _Counter(path)
    try:
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                if entry.isdir():
                    continue
                if not entry.isfile():
                    raise InputError(
                        "a bundle holds files only", where=f"{path}: {printable(entry.name)}"
                    )
                counter.add(entry.name, entry.size)
                content = archive.extractfile(entry)
                assert content is not None  # it is a regular file
                yield entry.name.removeprefix("./"), content.read()
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise InputError(f"the bundle cannot be read: {reason}", where=str(path)) from error
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise InputError(
            "this is no bundle, or it is damaged", where=str(path), expected="a folder or .tar file"
        ) from error


class _Counter:
    """Bounds on what is read, and the check of every path."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._files = 0
        self._bytes = 0

    def add(self, name: str, size_bytes: int) -> None:
        self._files += 1
        self._bytes += size_bytes
        where = f"{self._source}: {printable(name)}"
        path = PurePosixPath(name)
        if not _PATH.fullmatch(name.removeprefix("./")) or ".." in path.parts:
            raise InputError(
                "a path in the bundle is not allowed",
                where=where,
                expected="a relative path of letters, digits and _ . + -",
            )
        if self._files > MAX_FILES or self._bytes > MAX_TOTAL_BYTES:
            raise InputError(
                "the bundle is too large",
                where=where,
                expected=f"at most {MAX_FILES} files and {MAX_TOTAL_BYTES} bytes",
            )


def _read_metadata(data: bytes, source: Path) -> Mapping[str, object]:
    where = f"{source}: {METADATA}"
    try:
        metadata = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("the metadata is not JSON", where=where) from error
    if not isinstance(metadata, dict):
        raise InputError("the metadata is no JSON object", where=where)
    own = metadata.get("utvm")
    versions = metadata.get("version"), own.get("bundle_version") if isinstance(own, dict) else None
    if versions != (FORMAT_VERSION, BUNDLE_VERSION):
        raise InputError(
            "the bundle has another version",
            where=where,
            expected=f"version {FORMAT_VERSION} with bundle_version {BUNDLE_VERSION}",
            found=printable(f"version {versions[0]} with bundle_version {versions[1]}"),
        )
    return metadata
