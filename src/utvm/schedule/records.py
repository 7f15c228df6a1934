"""Tuning records: what was measured of a kernel's schedules, one JSON object a line.

In: files of records (SPEC.md has the format), which are not trusted. Out: ``Records``, looked up by
workload. A line that is broken (the last one, torn by a kill; or any other) is skipped and counted;
a file in which no line is a record, or that a newer utvm wrote, is refused. What a record says is
only ever compared with what schedules offer, so it cannot make them do anything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from utvm.support.errors import InputError
from utvm.support.text import printable

VERSION = 1
OK = "ok"
MAX_FILE_BYTES = 64 << 20
MAX_LINE_BYTES = 1 << 16
MAX_KNOBS = 32
_MAX_NUMBER = 1 << 62

Config = tuple[tuple[str, int | str], ...]
"""A schedule's template and knobs, sorted by name; the template is the knob ``template``."""


def config_of(knobs: Mapping[str, int | str]) -> Config:
    """The same knobs in their order."""
    return tuple(sorted(knobs.items()))


@dataclass(frozen=True)
class Record:
    """One trial. ``status`` is OK or what went wrong; then there are no figures.

    ``device`` says where it was measured: 'emulator', or the name of a board. ``elapsed`` are the
    seconds that all runs of the file had taken when the trial was done.
    """

    workload: str
    target: str
    toolchain: str
    device: str
    config: Config
    status: str
    cycles: int = 0
    code_bytes: int = 0
    constant_bytes: int = 0
    trial: int = 0
    seconds: float = 0.0
    about: str = ""
    detail: str = ""
    elapsed: float = 0.0


def size_score(cycles: int, code_bytes: int) -> float:
    """What the objective ``size`` makes of cycles and code: less is better."""
    return float(max(cycles, 1)) ** 2 * max(code_bytes, 1)


_CODE_WORTH = 1 << 15


def balanced_score(cycles: float, code_bytes: int) -> float:
    """What ``balanced`` makes of cycles and code: a KiB is worth three per cent of the cycles."""
    return cycles * (1 + code_bytes / _CODE_WORTH)


def record_line(record: Record) -> str:
    """The record as one line of JSON, without its end."""
    fields: dict[str, object] = {
        "version": VERSION,
        "workload": record.workload,
        "target": record.target,
        "toolchain": record.toolchain,
        "device": record.device,
        "config": dict(record.config),
        "status": record.status,
    }
    if record.status == OK:
        numbers = ("cycles", "code_bytes", "constant_bytes")
        fields |= {name: getattr(record, name) for name in numbers}
    fields |= {"trial": record.trial, "seconds": round(record.seconds, 3)}
    if record.elapsed:
        fields["elapsed"] = round(record.elapsed, 1)
    fields["about"] = record.about
    if record.detail:
        fields["detail"] = record.detail
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)


class NewerRecordError(InputError):
    """A record of a version that is not known yet."""


class BrokenRecordError(InputError):
    """A line that is no record."""


def parse_record(line: str) -> Record:
    """One line, or BrokenRecordError or NewerRecordError."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BrokenRecordError("the line is not JSON") from error
    if not isinstance(fields, dict):
        raise BrokenRecordError("the line is no JSON object")
    version = fields.get("version")
    if type(version) is not int or version < 1:
        raise BrokenRecordError("the record has no version")
    if version > VERSION:
        raise NewerRecordError(
            "a newer utvm wrote this record",
            expected=f"version {VERSION}",
            found=f"version {version}",
        )
    status = _text(fields, "status")
    numbers = {}
    if status == OK:
        names = ("cycles", "code_bytes", "constant_bytes")
        numbers = {name: _number(fields, name) for name in names}
    return Record(
        _text(fields, "workload"),
        _text(fields, "target"),
        _text(fields, "toolchain", 200),
        _text(fields, "device"),
        _config(fields.get("config")),
        status,
        **numbers,
        trial=_number(fields, "trial", 0),
        seconds=_seconds(fields, "seconds"),
        elapsed=_seconds(fields, "elapsed"),
        about=_text(fields, "about", 400, ""),
        detail=_text(fields, "detail", 400, ""),
    )


def _text(
    fields: Mapping[str, object], name: str, limit: int = 80, default: str | None = None
) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str) or len(value) > limit or not (value or default == ""):
        raise BrokenRecordError(f"'{name}' is no text of at most {limit} characters")
    return printable(value, limit)


def _number(fields: Mapping[str, object], name: str, default: int | None = None) -> int:
    value = fields.get(name, default)
    if type(value) is not int or not 0 <= value < _MAX_NUMBER:
        raise BrokenRecordError(f"'{name}' is no number")
    return value


def _seconds(fields: Mapping[str, object], name: str) -> float:
    value = fields.get(name, 0.0)
    if type(value) not in (int, float):
        raise BrokenRecordError(f"'{name}' is no number")
    assert isinstance(value, int | float)
    if not 0 <= value < 1e9 or not isfinite(value):
        raise BrokenRecordError(f"'{name}' is out of range")
    return float(value)


def _config(value: object) -> Config:
    if not isinstance(value, dict) or not 1 <= len(value) <= MAX_KNOBS:
        raise BrokenRecordError("'config' is no object of knobs")
    for name, knob in value.items():
        number = type(knob) is int and abs(knob) < _MAX_NUMBER
        if len(name) > 40 or not (number or (isinstance(knob, str) and len(knob) <= 40)):
            raise BrokenRecordError("'config' has a knob that is no number and no short text")
    return config_of(value)


@dataclass(frozen=True)
class RecordFile:
    """The records of one file, and for each line that was skipped why."""

    path: Path
    records: tuple[Record, ...]
    skipped: tuple[str, ...] = ()


def read_records(path: Path) -> RecordFile:
    """The records in ``path``; an empty file has none."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise InputError(f"the records cannot be read: {reason}", where=str(path)) from error
    if len(data) > MAX_FILE_BYTES:
        limit = f"at most {MAX_FILE_BYTES >> 20} MiB"
        raise InputError("the file of records is too large", where=str(path), expected=limit)
    records: list[Record] = []
    skipped: list[str] = []
    for number, raw in enumerate(data.split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            records.append(_parse_bytes(raw))
        except NewerRecordError as error:
            error.where = f"{path}, line {number}"
            error.hint = "update utvm, or leave this file out"
            raise
        except BrokenRecordError as error:
            skipped.append(f"line {number}: {error.what}")
    if skipped and not records:
        raise InputError(
            "the file holds no tuning records",
            where=str(path),
            expected="one JSON object a line, as utvm tune writes them",
            found=skipped[0],
        )
    return RecordFile(path, tuple(records), tuple(skipped))


def _parse_bytes(raw: bytes) -> Record:
    if len(raw) > MAX_LINE_BYTES:
        raise BrokenRecordError("the line is too long")
    try:
        return parse_record(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BrokenRecordError("the line is not UTF-8") from error


@dataclass(frozen=True)
class Records:
    """Measured schedules of one target, by workload and config; of several the last is taken."""

    by_workload: Mapping[str, Mapping[Config, Record]] = field(default_factory=dict)

    def of(self, workload: str) -> Mapping[Config, Record]:
        """What is known of a workload."""
        return self.by_workload.get(workload, {})


NO_RECORDS = Records()
UNTIMED = ("qemu",)
"""Devices whose counter says nothing about a core: what they measured is not chosen by."""


def collect_records(records: Iterable[Record], target: str) -> Records:
    """The records that count for a target."""
    found: dict[str, dict[Config, Record]] = {}
    for record in records:
        timed = record.device not in UNTIMED
        if record.target == target and record.status == OK and timed:
            found.setdefault(record.workload, {})[record.config] = record
    return Records(found)


def load_records(paths: Sequence[Path], target: str) -> tuple[Records, tuple[RecordFile, ...]]:
    """The records of several files for a target; later files win. Also the files themselves."""
    files = tuple(map(read_records, paths))
    every = (record for file in files for record in file.records)
    return collect_records(every, target), files
