"""Writes the results as the Markdown page docs/benchmarks.md.

In: results, the peers' recorded figures, the goals. Out: text. Nothing is measured and no figure is
rounded in our favour: a peer's figure that is not known is a dash, a goal that is missed is marked.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Key, Measurement, Refusal
from benchmarks.report_goals import goals_section, size_section
from benchmarks.report_layers import conv2d_section, layers_section, roofline_section
from benchmarks.results import Result
from benchmarks.tables import count, millions, ratio, section

Tables = dict[str, Any]
Measured = Mapping[Key, Measurement]

FOLDER = Path(__file__).parent
CORES = {"cortex-m4": "m4", "cortex-m7": "m7"}
"""Targets for which peers have figures, and how their keys begin."""

HEAD = """# Benchmarks

"""
RULES = """## How to read it

Written by `benchmarks/run.py`; do not edit. `python benchmarks/run.py` measures everything,
`--networks --targets --toolchains --objectives --records` choose, `--report` only writes this page
again, from [results.json](benchmarks/results.json). The networks are those of `examples/` and of
`../shared/models`. Instructions are exact counts of what the emulated core retires, cycles are
modelled at zero wait states ([emulator.md](design/emulator.md)); both are per invocation, the
median over the first four rows of the network's test data, and the same on every machine. Memory is
read from the linked program; stack is the deepest use measured. *Exact* says that integer outputs
equal the expected ones bit for bit, and float outputs within 1e-5. MACs are those that kernels do:
what constant channels would cost is not among them. [Random layers](benchmarks_sweep.md)
and [tuning](benchmarks_tuning.md) have pages of their own.
"""


def read_peers() -> Tables:
    return tomllib.loads((FOLDER / "peers.toml").read_text(encoding="utf-8"))


def read_goals() -> Tables:
    return tomllib.loads((FOLDER / "goals.toml").read_text(encoding="utf-8"))


def write_report(results: Sequence[Result], peers: Tables, goals: Tables) -> str:
    """The whole page."""
    outcomes = {result.key: result.outcome for result in results}
    measured = {k: m for k, m in outcomes.items() if isinstance(m, Measurement)}
    refused = [m for m in outcomes.values() if isinstance(m, Refusal)]
    networks = {k: m for k, m in measured.items() if not k.network.startswith("conv2d_")}
    targets = list(dict.fromkeys(key.target for key in networks))
    sections = [
        HEAD + goals_section(measured, goals),
        size_section(measured, goals),
        RULES + "\n" + _compilers(measured.values()) + _commits(results),
        _missing(networks, refused),
        *(_comparison(measured, peers, target) for target in CORES),
        _published(peers.get("published", {})),
        conv2d_section(measured, peers.get("conv2d", {})),
        roofline_section(measured, goals),
        layers_section(measured),
        _memory(measured, peers),
        _compile_time(measured, peers),
        *(_all(networks, target) for target in targets),
        _refusals(refused),
    ]
    return "\n".join(text for text in sections if text)


def _compilers(measured: Iterable[Measurement]) -> str:
    names = sorted({(m.key.toolchain, m.compiler) for m in measured})
    return "".join(f"- {name}: {compiler}\n" for name, compiler in names)


def _commits(results: Iterable[Result]) -> str:
    commits: dict[str, int] = {}
    for result in results:
        commits[result.commit] = commits.get(result.commit, 0) + 1
    lines = [f"`{commit}` ({n})" for commit, n in sorted(commits.items())]
    return f"- measured at commit (how many results): {', '.join(lines)}\n" if lines else ""


def _missing(measured: Measured, refused: Sequence[Refusal]) -> str:
    """What of the whole matrix is not on the page, by target and toolchain."""
    known = {key for key in measured if key.objective == "balanced" and not key.tuned}
    known |= {r.key for r in refused}
    names = sorted({key.network for key in known})
    rows = []
    for target in ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"):
        for toolchain in ("zig", "gcc"):
            here = {k.network for k in known if (k.target, k.toolchain) == (target, toolchain)}
            absent = [name for name in names if name not in here]
            if absent:
                which = "all" if not here else ", ".join(absent)
                rows.append([target, toolchain, str(len(absent)), which])
    tuned = sorted({key.target for key in measured if key.tuned})
    others = sorted({f"{k.target} {k.toolchain}" for k in measured if k.objective != "balanced"})
    text = (
        "Of the networks below, at `balanced` and without records. The other objectives were "
        f"measured on: {', '.join(others) or 'none'}.\n"
        "With records were measured: "
        f"{', '.join(tuned) or 'none'}.\n"
    )
    heading = ["target", "toolchain", "networks", "which"]
    return section("What has not been measured", text, heading, rows) or (
        f"## What has not been measured\n\n{text}"
    )


def _comparison(measured: Measured, peers: Tables, target: str) -> str:
    """Beside the peers, fastest first."""
    core = CORES[target]
    rows = []
    for name, peer in peers.items():
        ours = {o: measured.get(Key(name, target, "zig", o)) for o in ("cycles", "balanced")}
        base = ours["balanced"]
        others = peer_stacks(peer, core)
        if base is None or not others:
            continue
        stacks = [(f"**utvm**, {o}", m.cycles, m.exact) for o, m in ours.items() if m is not None]
        stacks += others
        for stack, cycles, exact in sorted(stacks, key=lambda s: s[1]):
            cells = [name, stack, millions(cycles), ratio(cycles, base.cycles)]
            rows.append([*cells, {True: "yes", False: "no", None: "-"}[exact]])
    text = (
        f"![cycles beside others](benchmarks/peers_{core}.svg)\n\n"
        "Millions of cycles, and how many times those of utvm with its default objective. "
        "`benchmarks/peers.toml` says\nwhat the peers are and how they were measured: on the same "
        "timing rules, gcc 12.2 -O3. utvm: zig, no records.\n"
    )
    heading = ["network", "stack", "M cycles", "times utvm", "exact"]
    return section(f"Beside others, on {target}", text, heading, rows)


def peer_stacks(peer: Tables, core: str) -> list[tuple[str, int, bool | None]]:
    """Name, cycles, exactness of everything that is known of a network on a core."""
    stacks: list[tuple[str, int, bool | None]] = []
    for key, title in (("cmsis_nn", "CMSIS-NN"), ("reference", "TFLM reference")):
        cycles = peer.get(key, {}).get(f"{core}_cycles", 0)
        stacks.append((title, cycles, peer.get(key, {}).get("exact")))
    for name, m4, m7, *exact in peer.get("others", ()):
        stacks.append((name, m4 if core == "m4" else m7, exact[0] if exact else None))
    return [stack for stack in stacks if stack[1]]


def _published(stacks: Tables) -> str:
    """What others say of real boards, as cycles; not to be set beside ours."""
    rows = []
    for name, stack in stacks.items():
        cycles = [stack[network] * stack["mhz"] * 1e3 for network in ("vww", "ic", "kws", "ad")]
        rows.append([name, stack["core"], f"{stack['mhz']} MHz", *map(millions, cycles)])
    text = (
        "Published with MLPerf Tiny, as millions of cycles: milliseconds times the clock. Flash "
        "wait states and caches are in\nthese figures and not in ours, so they only say where "
        "others are among themselves.\n"
    )
    heading = ["stack", "core", "clock", "vww96", "resnet8", "kws", "ad01"]
    return section("Published, on hardware", text, heading, rows)


def _memory(measured: Measured, peers: Tables) -> str:
    rows = []
    for name, peer in peers.items():
        m = measured.get(Key(name, "cortex-m4"))
        if m is not None and "arena_bytes" in peer:
            figures = (m.ram.arena, peer["arena_bytes"], m.flash.code, peer["flash_bytes"])
            rows.append([name, *map(count, (*figures, m.stack_bytes))])
    heading = [
        "network",
        "arena, utvm",
        "arena, TFLM",
        "code, utvm",
        "program, TFLM",
        "stack, utvm",
    ]
    text = (
        "Bytes on Cortex-M4, zig, balanced. The programs are counted without the network: TFLM's "
        "without the model, with int8\nkernels only; ours without constants. TFLM's arena holds "
        "the interpreter's own data, too.\n"
    )
    return section("Memory beside TensorFlow Lite Micro", text, heading, rows)


def _compile_time(measured: Measured, peers: Tables) -> str:
    keys = [Key(name, "cortex-m4", c) for name in peers for c in ("zig", "gcc")]
    rows = [
        [k.network, k.toolchain, f"{measured[k].cpu_seconds:.1f}"] for k in keys if k in measured
    ]
    text = (
        "CPU seconds from the model's bytes to the linked program, on the machine that measured; "
        "the only figures here that\ndepend on it.\n"
    )
    return section("Time to compile", text, ["network", "toolchain", "CPU s"], rows)


def _all(measured: Measured, target: str) -> str:
    """Every network on one target, one line per configuration."""
    rows = []
    for key, m in measured.items():
        if key.target != target:
            continue
        exact = {True: "yes", False: "**no**", None: "-"}[m.exact]
        costs = [count(m.macs), count(m.instructions), count(m.cycles), ratio(m.cycles, m.macs)]
        ram = (m.ram.arena, m.ram.io, m.ram.static)
        sizes = (m.flash.code, m.flash.constants, *ram, m.stack_bytes)
        records = "shipped" if key.tuned else "none"
        names = [key.network, key.toolchain, key.objective, records]
        rows.append([*names, *costs, *map(count, sizes), exact])
    heading = ["network", "toolchain", "objective", "records", "MACs", "instructions", "cycles"]
    heading += ["cycles/MAC", "code", "constants", "arena", "in, out", "other RAM", "stack"]
    return section(f"All networks on {target}", "Memory in bytes.\n", [*heading, "exact"], rows)


def _refusals(refusals: Sequence[Refusal]) -> str:
    """One line per network and reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for r in refusals:
        reason = r.reason.partition("; hint:")[0].replace("|", "/").replace("\n", " ")
        reasons.setdefault((r.key.network, reason), []).append(f"{r.key.target} {r.key.toolchain}")
    most = max(map(len, reasons.values()), default=0)
    rows = [
        [name, reason, "everywhere" if len(where) == most else ", ".join(dict.fromkeys(where))]
        for (name, reason), where in reasons.items()
    ]
    return section(
        "Refused", "Networks that utvm says it cannot run.\n", ["network", "reason", "where"], rows
    )
