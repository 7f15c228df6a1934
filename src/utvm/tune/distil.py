"""From many records to the few that compiling chooses among.

In: records of tuning runs on one target. Out: for each workload, by cycles alone and with code
weighed, the best config, then each that is worse but has fewer constants; of those with the fewest
the one that ``size`` would choose; and the defaults, so that no estimate competes with what was
measured. Nothing else ever would be chosen. Used for the records that utvm brings along.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from utvm.schedule.records import OK, UNTIMED, Config, Record, balanced_score, size_score

Defaults = Mapping[str, Collection[Config]]
"""By workload."""


def distil(records: Iterable[Record], defaults: Defaults | None = None) -> list[Record]:
    """The records that matter, by workload; the last of several for one config counts."""
    known: dict[str, dict[Config, Record]] = {}
    for record in records:
        if record.status == OK and record.device not in UNTIMED:
            known.setdefault(record.workload, {})[record.config] = record
    kept: list[Record] = []
    for workload, found in sorted(known.items()):
        useful = _useful(list(found.values()))
        first = (defaults or {}).get(workload, ())
        others = [found[config] for config in first if config in found]
        kept += [*useful, *(record for record in others if record not in useful)]
    return [replace(record, trial=0, seconds=0.0, elapsed=0.0, detail="") for record in kept]


def _useful(records: list[Record]) -> list[Record]:
    """From the best on: those with fewer constants than all better ones, and the smallest."""
    kept = _front(records, lambda r: r.cycles)
    least = kept[-1].constant_bytes
    small = [record for record in records if record.constant_bytes == least]
    others = _front(records, lambda r: balanced_score(r.cycles, r.code_bytes))
    others.append(min(small, key=lambda r: size_score(r.cycles, r.code_bytes)))
    return list(dict.fromkeys((*kept, *others)))


def _front(records: list[Record], score: Callable[[Record], float]) -> list[Record]:
    kept: list[Record] = []
    for record in sorted(records, key=lambda r: (score(r), r.constant_bytes, r.code_bytes)):
        if not kept or record.constant_bytes < kept[-1].constant_bytes:
            kept.append(record)
    return kept
