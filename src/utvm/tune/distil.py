"""From many records to the few that compiling chooses among.

In: records of tuning runs on one target. Out: for each workload the fastest config, then each that
is slower but has fewer constants, and of those with the fewest the one that ``size`` would choose;
nothing else ever would be chosen. Used for the records that utvm brings along.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from utvm.schedule.records import OK, UNTIMED, Config, Record, size_score


def distil(records: Iterable[Record]) -> list[Record]:
    """The records that matter, by workload; the last of several for one config counts."""
    known: dict[str, dict[Config, Record]] = {}
    for record in records:
        if record.status == OK and record.device not in UNTIMED:
            known.setdefault(record.workload, {})[record.config] = record
    kept: list[Record] = []
    for _, found in sorted(known.items()):
        kept += _useful(list(found.values()))
    return [replace(record, trial=0, seconds=0.0, elapsed=0.0, detail="") for record in kept]


def _useful(records: list[Record]) -> list[Record]:
    """From the fastest on: those with fewer constants than all faster ones, and the smallest."""
    by_speed = sorted(records, key=lambda r: (r.cycles, r.constant_bytes, r.code_bytes))
    kept: list[Record] = []
    for record in by_speed:
        if not kept or record.constant_bytes < kept[-1].constant_bytes:
            kept.append(record)
    least = kept[-1].constant_bytes
    small = [record for record in by_speed if record.constant_bytes == least]
    smallest = min(small, key=lambda r: size_score(r.cycles, r.code_bytes))
    return kept if smallest in kept else [*kept, smallest]
