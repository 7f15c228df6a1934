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
