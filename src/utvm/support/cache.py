"""The per-user cache of things that are slow to build and never change, such as libraries.

In goes a key that names everything the result depends on, and a function that builds it; out comes
the path of the finished file. Files appear under their final name only when complete, so that
processes may use the cache at the same time; at worst two build the same thing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path


def cache_dir() -> Path:
    """``UTVM_CACHE_DIR``, else ``utvm`` below the user's cache folder; created when missing."""
    named = os.environ.get("UTVM_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(named) if named else Path(base) / "utvm"
    path.mkdir(parents=True, exist_ok=True)
    return path


def publish(source: Path, destination: Path) -> None:
    """Copy ``source`` so that ``destination`` is at every moment the old file or the whole new."""
    handle, name = tempfile.mkstemp(dir=destination.parent, prefix=f".{destination.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        shutil.copyfile(source, temporary)
        mode = source.stat().st_mode & 0o777
        temporary.chmod(mode)
        temporary.replace(destination)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def cached_file(name: str, key: Sequence[str], build: Callable[[Path], None]) -> Path:
    """The cached file ``name`` for ``key``; ``build(path)`` writes it when it is not there yet."""
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:16]
    folder = cache_dir() / digest
    path = folder / name
    if not path.exists():
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="utvm-") as scratch:
            build(Path(scratch) / name)
            publish(Path(scratch) / name, path)
    return path
