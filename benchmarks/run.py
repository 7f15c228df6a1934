"""Runs the networks on the emulated cores; writes docs/benchmarks.md, its plots and its results.

In: nothing, or options that choose networks, targets, toolchains, objectives and records. Out: the
lines of docs/benchmarks/results.json that were chosen, the page and the plots. Results are kept
as they come, so what was measured before an interrupt stays. ``--report`` only writes page
and plots again; ``--budgets`` instead lowers tests/budgets.toml to what is reached now.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import product
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.budgets import lower_budgets  # noqa: E402
from benchmarks.measure import (  # noqa: E402
    Case,
    Measurement,
    Network,
    Refusal,
    find_networks,
    has_records,
    measure_case,
)
from benchmarks.plots import HAVE_MATPLOTLIB, write_plots  # noqa: E402
from benchmarks.report import read_goals, read_peers, write_report  # noqa: E402
from benchmarks.report_layers import LAYERED  # noqa: E402
from benchmarks.results import Result, merged, read_results, write_results  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks.md"
BUDGETS = ROOT / "tests" / "budgets.toml"
TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
TOOLCHAINS = ("zig", "gcc")
OBJECTIVES = ("cycles", "balanced", "size")
RECORDS = ("none", "shipped")


def main() -> int:
    options = parse_options()
    networks = find_networks()
    if options.budgets:
        text = lower_budgets(BUDGETS.read_text(encoding="utf-8"), networks)
        BUDGETS.write_text(text, encoding="utf-8")
        return 0
    unknown = set(options.networks) - {network.name for network in networks}
    if unknown:
        print(f"no such networks: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 1
    if not options.report:
        chosen = [n for n in networks if not options.networks or n.name in options.networks]
        measure_all(list(choose_cases(chosen, options)), options.jobs)
    write_page()
    return 0


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    some = "default: all; of other networks than those of the goals, balanced"
    parser.add_argument("--networks", nargs="+", default=[], metavar="NAME", help="default: all")
    parser.add_argument("--targets", nargs="+", default=TARGETS, metavar="TARGET")
    parser.add_argument("--toolchains", nargs="+", default=TOOLCHAINS, metavar="TOOLCHAIN")
    parser.add_argument("--objectives", nargs="+", default=[], choices=OBJECTIVES, help=some)
    parser.add_argument("--records", nargs="+", default=RECORDS, choices=RECORDS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time")
    parser.add_argument("--report", action="store_true", help="page and plots of what is there")
    parser.add_argument("--budgets", action="store_true", help="lower tests/budgets.toml")
    return parser.parse_args()


def choose_cases(networks: Sequence[Network], options: argparse.Namespace) -> Iterator[Case]:
    """What the options say, the networks of the goals first."""
    goals = read_goals()["cycles"]
    for network in sorted(networks, key=lambda n: n.name not in goals):
        objectives = options.objectives
        if not objectives:
            objectives = OBJECTIVES if network.name in goals else ("balanced",)
        for objective, toolchain, target, records in product(
            objectives, options.toolchains, options.targets, options.records
        ):
            if records == "none" or has_records(target):
                yield Case(network, target, toolchain, objective, records == "shipped")


def measure_all(cases: Sequence[Case], jobs: int) -> None:
    """Measures, in parallel, and keeps each result as soon as it is there."""
    commit = find_commit()
    kept = read_results()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with ProcessPoolExecutor(jobs) as pool, Progress(*columns) as progress:
        bar = progress.add_task("measuring", total=len(cases))
        # What a toolchain does once, at its first use, is no cost of a network.
        once = {
            (c.target, c.toolchain): Case(find_networks()[0], c.target, c.toolchain) for c in cases
        }
        list(pool.map(measure_case, once.values()))
        for future in as_completed([pool.submit(measure_case, case) for case in cases]):
            result = Result(commit, shown(future.result()))
            kept = merged(kept, [result])
            write_results(kept)
            progress.console.print(_line(result), highlight=False)
            progress.advance(bar)


def shown(outcome: Measurement | Refusal) -> Measurement | Refusal:
    """The outcome, its kernels only where the page shows them: the file of results stays small."""
    key = outcome.key
    if isinstance(outcome, Refusal) or key.network.startswith("conv2d_"):
        return outcome
    if key.network in LAYERED and key.toolchain == "zig":
        return outcome
    return replace(outcome, layers=())


def find_commit() -> str:
    """The commit of the tree that is measured, a '+' where `src` is not as committed."""
    head = _git("rev-parse", "--short=10", "HEAD")
    return head + "+" if _git("status", "--porcelain", "--", "src") else head


def write_page() -> None:
    """The page, and the plots where there is what draws them."""
    results, peers = read_results(), read_peers()
    PAGE.write_text(write_report(results, peers, read_goals()), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written")
    if HAVE_MATPLOTLIB:
        write_plots(results, peers, PAGE.with_suffix(""))
    else:
        print("no plots: matplotlib is not installed (requirements-dev.txt)", file=sys.stderr)


def _line(result: Result) -> str:
    key, outcome = result.key, result.outcome
    records = "tuned" if key.tuned else "untuned"
    name = f"{key.network} {key.target} {key.toolchain} {key.objective} {records}: "
    if isinstance(outcome, Refusal):
        return f"{name}not measured: {outcome.reason}"
    return f"{name}{outcome.cycles:,} cycles" + ("" if outcome.exact else " NOT EXACT")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
