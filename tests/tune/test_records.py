"""The record reader on good, torn and hostile files; which records a target gets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utvm.driver.options import find_records
from utvm.schedule.records import (
    Record,
    RecordFile,
    collect_records,
    config_of,
    read_records,
    record_line,
)
from utvm.support.errors import InputError, UtvmError
from utvm.target.target import load_target

GOOD = Record(
    workload="0123456789abcdef",
    target="cortex-m4",
    toolchain="zig 0.17.0 (clang version 22.1.8)",
    device="emulator",
    config=config_of({"template": "direct", "pixels": 2}),
    status="ok",
    cycles=1234,
    code_bytes=500,
    constant_bytes=64,
    trial=7,
    seconds=0.25,
    about="conv2d(int8[1,6,6,4]) -> int8[1,6,6,4]",
)
FAILED = replace(
    GOOD, status="fault", cycles=0, code_bytes=0, constant_bytes=0, detail="bus fault at 0x0"
)


def _file(folder: Path, data: bytes) -> RecordFile:
    path = folder / "r.jsonl"
    path.write_bytes(data)
    return read_records(path)


def test_records_come_back(tmp_path: Path) -> None:
    lines = "\n".join(map(record_line, (GOOD, FAILED))) + "\n"
    assert _file(tmp_path, lines.encode()).records == (GOOD, FAILED)


def test_a_torn_last_line_is_skipped(tmp_path: Path) -> None:
    whole = record_line(GOOD).encode()
    for end in range(1, len(whole)):
        found = _file(tmp_path, whole + b"\n" + whole[:end])
        assert found.records == (GOOD,)
        assert found.skipped[0].startswith("line 2: ")


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    assert _file(tmp_path, b"").records == ()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no tuning records"):
        _file(tmp_path, b"\x7fELF\nhello\n")


def test_a_newer_record_is_refused_with_its_line(tmp_path: Path) -> None:
    newer = json.dumps({**json.loads(record_line(GOOD)), "version": 2})
    with pytest.raises(InputError, match=r"line 2: a newer utvm wrote this record"):
        _file(tmp_path, (record_line(GOOD) + "\n" + newer + "\n").encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", None),
        ("version", True),
        ("cycles", -1),
        ("cycles", 1.5),
        ("cycles", 1 << 70),
        ("workload", ""),
        ("workload", "x" * 100),
        ("target", 4),
        ("config", []),
        ("config", {}),
        ("config", {"pixels": True}),
        ("config", {"pixels": 1.0}),
        ("config", {"x" * 50: 1}),
        ("config", {str(n): n for n in range(40)}),
        ("seconds", -1),
        ("seconds", "now"),
        ("status", None),
    ],
)
def test_broken_fields_are_skipped(tmp_path: Path, field: str, value: object) -> None:
    broken = json.dumps({**json.loads(record_line(GOOD)), field: value})
    found = _file(tmp_path, f"{broken}\n{record_line(GOOD)}\n".encode())
    assert found.records == (GOOD,)
    assert len(found.skipped) == 1


@settings(deadline=None, max_examples=150)
@given(data=st.binary(max_size=300))
def test_any_bytes_give_records_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("records") / "r.jsonl"
    path.write_bytes(data)
    try:
        found = read_records(path)
    except UtvmError as error:
        assert str(path) in str(error)
    else:
        assert found.records == () and found.skipped == ()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(changes=st.dictionaries(st.sampled_from(sorted(json.loads(record_line(GOOD)))), _JSON))
def test_any_fields_give_a_record_or_a_skipped_line(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("records") / "r.jsonl"
    changed = json.dumps({**json.loads(record_line(GOOD)), **changes})
    path.write_text(f"{record_line(GOOD)}\n{changed}\n", encoding="utf-8")
    try:
        found = read_records(path)
    except InputError as error:
        assert "newer" in error.what
    else:
        assert found.records[0] == GOOD
        assert len(found.records) + len(found.skipped) == 2
        assert all(record_line(record).isascii() for record in found.records)


def test_only_what_was_timed_on_the_target_counts() -> None:
    others = (
        FAILED,
        replace(GOOD, target="cortex-m7"),
        replace(GOOD, device="qemu"),
        replace(GOOD, workload="other", cycles=5),
    )
    found = collect_records([*others, GOOD, replace(GOOD, cycles=99)], "cortex-m4")
    assert {r.cycles for r in found.of(GOOD.workload).values()} == {99}
    assert set(found.by_workload) == {"other", GOOD.workload}


def test_records_by_name(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(record_line(GOOD) + "\n")
    target = load_target("cortex-m4")
    assert find_records([str(path)], target).of(GOOD.workload)
    assert not find_records(["none"], target).by_workload
    with pytest.raises(InputError, match="goes with no other"):
        find_records(["none", str(path)], target)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        find_records([str(tmp_path / "missing.jsonl")], target)
