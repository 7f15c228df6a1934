"""Keeps what was measured: docs/benchmarks/results.json, one line per measurement.

In: measurements and refusals, each with the commit that it is of. Out: the file's text, and back.
Measuring a few configurations again replaces their lines and leaves the others as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Flash, Key, Layer, Measurement, Ram, Refusal

PATH = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "results.json"


@dataclass(frozen=True)
class Result:
    """A figure and the commit of the tree that it was measured with."""

    commit: str
    outcome: Measurement | Refusal

    @property
    def key(self) -> Key:
        return self.outcome.key


def merged(old: Iterable[Result], new: Iterable[Result]) -> list[Result]:
    """Both, the new one where there are two of a key; sorted by key."""
    by_key = {result.key: result for result in (*old, *new)}
    return [by_key[key] for key in sorted(by_key)]


def print_results(results: Iterable[Result]) -> str:
    """The file's text."""
    lines = [json.dumps(_to_json(r), separators=(",", ":")) for r in results]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def parse_results(text: str) -> list[Result]:
    """What ``print_results`` has written."""
    return [_from_json(entry) for entry in json.loads(text)]


def read_results(path: Path = PATH) -> list[Result]:
    """The results that are kept; none where there is no file yet."""
    return parse_results(path.read_text(encoding="utf-8")) if path.is_file() else []


def write_results(results: Iterable[Result], path: Path = PATH) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(print_results(results), encoding="utf-8")


def _to_json(result: Result) -> dict[str, Any]:
    entry = asdict(result.outcome)
    head = {**entry.pop("key"), "commit": result.commit}
    if "layers" in entry:
        entry["layers"] = [list(layer.values()) for layer in entry["layers"]]
    return head | entry


def _from_json(entry: dict[str, Any]) -> Result:
    entry = dict(entry)
    key = Key(*(entry.pop(name) for name in Key.__dataclass_fields__))
    commit = entry.pop("commit")
    if "reason" in entry:
        return Result(commit, Refusal(key, entry["reason"]))
    entry["flash"], entry["ram"] = Flash(**entry["flash"]), Ram(**entry["ram"])
    entry["layers"] = tuple(Layer(*layer) for layer in entry["layers"])
    return Result(commit, Measurement(key, **entry))
