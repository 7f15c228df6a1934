"""The file of results: a partial run replaces its own lines only, and nothing is lost in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.results import (
    Result,
    merged,
    parse_results,
    print_results,
    read_results,
    write_results,
)
from tests.benchmarks.made_up import MEASUREMENT, REFUSAL, RESULTS


def test_results_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    assert read_results(path) == []
    write_results(RESULTS, path)
    assert read_results(path) == RESULTS


def test_one_line_per_result() -> None:
    text = print_results(RESULTS)
    assert len(text.splitlines()) == len(RESULTS) + 2
    assert print_results(parse_results(text)) == text
    assert parse_results(print_results([])) == []


def test_a_partial_run_updates_only_its_lines() -> None:
    new = Result("new", replace(MEASUREMENT, cycles=1))
    both = merged(RESULTS, [new])
    assert len(both) == len(RESULTS)
    assert [r for r in both if r.key != new.key] == [r for r in RESULTS if r.key != new.key]
    assert new in both


def test_a_network_that_is_now_refused_has_no_figure_any_more() -> None:
    now = Result("new", replace(REFUSAL, key=MEASUREMENT.key))
    assert [r.outcome for r in merged(RESULTS, [now]) if r.key == now.key] == [now.outcome]


def test_results_are_sorted_whatever_the_order_they_come_in() -> None:
    assert merged([], RESULTS) == merged(RESULTS[:1], reversed(RESULTS))
