"""Runs the networks on the emulated cores and writes docs/benchmarks.md.

In: nothing, or options that choose networks, targets and toolchains. Out: the page; of a choice,
the same on standard output. ``--budgets`` instead lowers tests/budgets.toml to what is reached now.
Takes about ten minutes for everything on one core. Without ../shared/models it prints what is left.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.budgets import lower_budgets  # noqa: E402
from benchmarks.measure import (  # noqa: E402
    SHARED_MODELS,
    Measurement,
    Network,
    Refusal,
    find_networks,
    measure,
)
from benchmarks.report import write_report  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks.md"
PEERS = ROOT / "benchmarks" / "peers.toml"
BUDGETS = ROOT / "tests" / "budgets.toml"
TARGETS = ("cortex-m4", "cortex-m7")
TOOLCHAINS = ("zig", "gcc")


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
    chosen = [n for n in networks if not options.networks or n.name in options.networks]
    results = measure_all(
        chosen, options.target or TARGETS, options.toolchain or TOOLCHAINS, options.jobs
    )
    page = write_report(results, tomllib.loads(PEERS.read_text(encoding="utf-8")))
    chosen_only = options.networks or options.target or options.toolchain
    if chosen_only or not SHARED_MODELS.is_dir():
        print(page, end="")
    else:
        PAGE.write_text(page, encoding="utf-8")
        print(f"{PAGE.relative_to(ROOT)} written")
    return 0


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("networks", nargs="*", help="names of networks; default: all")
    parser.add_argument("--target", action="append", help=f"default: {', '.join(TARGETS)}")
    parser.add_argument("--toolchain", action="append", help=f"default: {', '.join(TOOLCHAINS)}")
    parser.add_argument("--jobs", type=int, default=1, help="how many to measure at a time")
    parser.add_argument("--budgets", action="store_true", help="lower tests/budgets.toml")
    return parser.parse_args()


def measure_all(
    networks: Sequence[Network], targets: Sequence[str], toolchains: Sequence[str], jobs: int
) -> list[Measurement | Refusal]:
    """Every network with every target and toolchain, ordered by network."""
    for target, toolchain in product(targets, toolchains):
        # What a toolchain does once, at its first use, is no cost of a network.
        measure(find_networks()[0], target, toolchain)
    work = list(product(networks, targets, toolchains))
    with ProcessPoolExecutor(jobs) as pool:
        results = []
        for item, result in zip(work, pool.map(measure, *zip(*work, strict=True)), strict=True):
            print(item[0].name, *item[1:], _outcome(result), file=sys.stderr, flush=True)
            results.append(result)
    return results


def _outcome(result: Measurement | Refusal) -> str:
    if isinstance(result, Refusal):
        return f"not measured: {result.reason}"
    return f"{result.cycles:,} cycles"


if __name__ == "__main__":
    sys.exit(main())
