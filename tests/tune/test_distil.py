"""Which records are worth keeping."""

from __future__ import annotations

from dataclasses import replace

from utvm.schedule.records import Record, config_of
from utvm.tune.distil import distil


def _record(name: str, cycles: int, code: int, constants: int, **changes: str) -> Record:
    config = config_of({"template": name})
    record = Record("w", "cortex-m4", "zig", "emulator", config, "ok", cycles, code, constants)
    return replace(record, trial=3, seconds=1.0, **changes)


def test_only_what_can_be_chosen_is_kept() -> None:
    records = [
        _record("fast", 100, 900, 400),
        _record("worse", 120, 800, 400),
        _record("between", 150, 700, 200),
        _record("narrow", 200, 600, 100),
        _record("small", 220, 300, 100),
        _record("slow", 900, 100, 100),
        _record("broken", 1, 1, 1, status="fault"),
        _record("emulated", 1, 1, 1, device="qemu"),
        _record("between", 160, 700, 200),
    ]
    kept = distil(records)
    names = [str(dict(record.config)["template"]) for record in kept]
    assert names == ["fast", "between", "narrow", "small"]
    assert kept[1].cycles == 160
    assert {(record.trial, record.seconds) for record in kept} == {(0, 0.0)}
    assert distil(kept) == kept
    assert distil([]) == []


def test_what_is_nearly_as_fast_with_much_less_code_is_kept() -> None:
    records = [
        _record("fast", 100_000, 10_000, 400),
        _record("short", 101_000, 5_000, 400),
        _record("shorter", 110_000, 3_000, 400),
    ]
    names = [str(dict(record.config)["template"]) for record in distil(records)]
    assert names[:2] == ["fast", "short"]
    assert names[2:] == ["shorter"]  # what ``size`` would choose


def test_defaults_are_kept_so_that_no_estimate_competes() -> None:
    records = [_record("fast", 100, 900, 400), _record("default", 120, 800, 400)]
    defaults = {"w": [config_of({"template": "default"}), config_of({"template": "unknown"})]}
    assert [r.cycles for r in distil(records)] == [100]
    assert [r.cycles for r in distil(records, defaults)] == [100, 120]
