"""Bundles on disk: folder and tar hold the same, writing is whole, reading trusts nothing.

What a bundle holds is the business of tests/driver/test_export.py; here it holds two small files.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from utvm.artifact.bundle import Bundle, read_bundle, write_bundle
from utvm.support.errors import InputError

METADATA = {"version": 7, "modules": {}, "utvm": {"bundle_version": 1}}
BUNDLE = Bundle(METADATA, {"src/net.graph": b"graph", "codegen/host/src/net.c": b"int x;\n"})


def tar(path: Path, *entries: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(data), "/etc/hostname"
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["net", "net.tar", "deep/er/net.tar"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    write_bundle(BUNDLE, tmp_path / name)
    assert read_bundle(tmp_path / name) == BUNDLE
    assert read_bundle(tmp_path / name).text("src/net.graph") == "graph"
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [Path(name).name]


def test_tar_holds_no_date_and_no_owner(tmp_path: Path) -> None:
    write_bundle(BUNDLE, tmp_path / "net.tar")
    with tarfile.open(tmp_path / "net.tar") as archive:
        entries = archive.getmembers()
    assert [entry.name for entry in entries] == sorted(["metadata.json", *BUNDLE.files])
    assert {(entry.mtime, entry.uid, entry.uname) for entry in entries} == {(0, 0, "")}


def test_a_bundle_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_bundle(Bundle(METADATA, {"old": b""}), tmp_path / "net")
    write_bundle(BUNDLE, tmp_path / "net")
    assert read_bundle(tmp_path / "net") == BUNDLE


@pytest.mark.parametrize("name", ["net.tar.gz", "net.zip"])
def test_compressed_destination_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="bundles are not compressed"):
        write_bundle(BUNDLE, tmp_path / name)


def test_foreign_folder_is_spared(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "metadata.json").write_text("{}", encoding="ascii")
    with pytest.raises(InputError, match="the folder is not empty"):
        write_bundle(BUNDLE, tmp_path / "net")
    assert os.listdir(tmp_path / "net") == ["metadata.json"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a//b", "-rf", "a b", ""])
def test_paths_that_leave_the_bundle(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"a path in the bundle is not allowed|no metadata"):
        read_bundle(tar(tmp_path / "x.tar", (name, b"")))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(InputError, match="a bundle holds files only"):
        read_bundle(tar(tmp_path / "x.tar", ("evil", b""), kind=kind))


def test_links_in_a_folder(tmp_path: Path) -> None:
    write_bundle(BUNDLE, tmp_path / "net")
    (tmp_path / "net" / "evil").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="a bundle holds no links"):
        read_bundle(tmp_path / "net")


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        (b"{", "the metadata is not JSON"),
        (b"\xff", "the metadata is not JSON"),
        (b"[" * 100_000, "the metadata is not JSON"),
        (b"[]", "the metadata is no JSON object"),
        (b"{}", "the bundle has another version"),
        (json.dumps({**METADATA, "version": 8}).encode(), "found version 8 with bundle_version 1"),
        (json.dumps({**METADATA, "utvm": 3}).encode(), "found version 7 with bundle_version None"),
    ],
)
def test_broken_metadata(tmp_path: Path, metadata: bytes, text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_bundle(tar(tmp_path / "x.tar", ("metadata.json", metadata)))
    assert text in str(caught.value)


def test_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_bundle(tmp_path / "missing.tar")
    with pytest.raises(InputError, match="it has no metadata"):
        read_bundle(tmp_path)
    (tmp_path / "text.tar").write_text("hello", encoding="ascii")
    with pytest.raises(InputError, match="this is no bundle, or it is damaged"):
        read_bundle(tmp_path / "text.tar")
    write_bundle(BUNDLE, tmp_path / "net.tar")
    whole = (tmp_path / "net.tar").read_bytes()
    (tmp_path / "net.tar").write_bytes(whole[:700])
    with pytest.raises(InputError):
        read_bundle(tmp_path / "net.tar")


def test_size_that_is_claimed_only(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        entry = tarfile.TarInfo("big")
        entry.size = 1 << 40
        archive.addfile(entry, None)
    with pytest.raises(InputError, match=r"too large|damaged"):
        read_bundle(tmp_path / "x.tar")
