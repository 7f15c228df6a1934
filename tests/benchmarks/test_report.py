"""The page of the benchmarks: goals, ranks, gaps on made-up results; and the page that is kept.

A kept page that says something else than the kept results fails: `benchmarks/run.py --report`
writes it again.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.measure import Flash, Key, Measurement
from benchmarks.report import CORES, peer_stacks, read_goals, read_peers, write_report
from benchmarks.report_goals import goals_section, size_section
from benchmarks.report_layers import CONVOLUTIONS, conv2d_section
from benchmarks.results import Result, read_results
from tests.benchmarks.made_up import BALANCED, GOALS, KEY, MEASUREMENT, PEERS, RESULTS
from tests.conftest import REPOSITORY


def test_page_says_what_the_kept_results_say() -> None:
    page = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == write_report(read_results(), read_peers(), read_goals())


def test_goals_come_first() -> None:
    page = write_report(RESULTS, PEERS, GOALS)
    assert page.startswith("# Benchmarks\n\n## Goals\n")


def test_a_missed_goal_is_marked_and_a_figure_that_is_not_there_is_a_dash() -> None:
    text = goals_section({KEY: MEASUREMENT}, GOALS)
    assert "| net | **2.00** (+25.0 %) / 1.6 | - / 1 | - / 1.5 | - / 0.9 |" in text
    assert "(1 of them)" in text


def test_a_goal_that_is_just_reached_is_not_marked() -> None:
    exactly = replace(MEASUREMENT, cycles=1_600_000)
    text = goals_section({KEY: exactly}, GOALS)
    assert "| net | 1.60 / 1.6 |" in text
    assert "(0 of them)" in text


def test_a_tuned_figure_is_beside_the_tuned_goal() -> None:
    key = replace(KEY, tuned=True)
    text = goals_section({key: replace(MEASUREMENT, key=key, cycles=1_400_000)}, GOALS)
    assert "| net | - / 1.6 | - / 1 | 1.40 / 1.5 | - / 0.9 |" in text


def test_code_of_mlperf_networks_and_constants_are_held_against_their_limits() -> None:
    limits = GOALS["cycles"]["net"]
    goals = GOALS | {"cycles": {"mlperf_net": limits}, "size_cycles": {"mlperf_net": {"m4": 3.0}}}
    key = Key("mlperf_net", "cortex-m4", "zig", "size")
    m = replace(MEASUREMENT, key=key, flash=Flash(16_385, 1101))
    text = size_section({key: m}, goals)
    expected = "| mlperf_net | cortex-m4 | size | **16,385** | 1,101 | **1.10** | 2.00 / 3 |"
    assert expected in text


def test_stacks_are_ranked_by_cycles() -> None:
    page = write_report(RESULTS, PEERS, GOALS)
    ranked = [
        "| net | **utvm**, cycles | 2.00 | 0.80 | yes |",
        "| net | fast | 2.25 | 0.90 | no |",
        "| net | **utvm**, balanced | 2.50 | 1.00 | yes |",
        "| net | CMSIS-NN | 5.00 | 2.00 | - |",
        "| net | slow | 9.00 | 3.60 | - |",
    ]
    assert "\n".join(ranked) in page
    assert "Beside others, on cortex-m7" not in page


def test_a_stack_without_a_figure_for_the_core_is_left_out() -> None:
    assert peer_stacks(PEERS["net"], "m7") == [("slow", 7_000_000, None)]


def test_page_says_what_was_not_measured_and_what_was_refused() -> None:
    page = write_report(RESULTS, PEERS, GOALS)
    assert "| cortex-m7 | zig | 2 | all |" in page
    assert "| cortex-m4 | zig |" not in page
    assert "| odd | operator 3 / SVDF: not supported | everywhere |" in page
    assert "`abc` (2), `def+` (1)" in page


def test_inexact_results_stand_out() -> None:
    page = write_report([Result("abc", replace(BALANCED, exact=False))], PEERS, GOALS)
    assert "| **no** |" in page


def test_convolutions_are_compared_by_the_kernel_alone() -> None:
    key = replace(KEY, network="conv2d_conv1")
    peers = {"q7_m4_cycles": 5_700_000, "s8_per_mac": {"m4": 1.9}}
    text = conv2d_section({key: replace(MEASUREMENT, key=key)}, dict.fromkeys(CONVOLUTIONS, peers))
    assert "| 4,000,000 | 1.90 | 0.48 | 5.70 | 3.00 | 1.90 | 4.00 | yes |" in text


def test_kept_results_are_exact() -> None:
    measured = [r.outcome for r in read_results() if isinstance(r.outcome, Measurement)]
    assert measured
    assert not [m.key for m in measured if m.exact is False]


def test_goals_have_figures_of_peers_or_none_at_all() -> None:
    peers = read_peers()
    for core in CORES.values():
        stacks = [
            peer_stacks(peers[name], core) for name in read_goals()["cycles"] if name in peers
        ]
        assert len(stacks) == 5
        assert all(len(found) > 1 for found in stacks)
