"""Writes measurements as the Markdown page docs/benchmarks.md.

In: measurements and refusals, and the peers' recorded figures. Out: text. Nothing is measured and
no figure is rounded in our favour: a peer's figure that is not known is a dash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.measure import Measurement, Refusal

Peers = dict[str, Any]
Results = Sequence[Measurement | Refusal]

_NUMERIC = re.compile(r"[\d,./ -]+")

HEAD = """# Benchmarks

Written by `python benchmarks/run.py`; do not edit. The networks are those of `examples/` and of
`../shared/models`. Instructions are exact counts of what the emulated core retires, cycles are
modelled at zero wait states ([emulator.md](design/emulator.md)); both are per invocation, the
median over the first four rows of the network's test data, and the same on every machine. Memory
is read from the linked program; stack is the deepest use measured. *Exact* says that integer
outputs equal the expected ones bit for bit, and float outputs within 1e-5.
"""


def write_report(results: Results, peers: Peers) -> str:
    """The whole page."""
    measured = [result for result in results if isinstance(result, Measurement)]
    targets = list(dict.fromkeys(m.target for m in measured))
    sections = [HEAD, _compilers(measured)]
    sections += [_comparison(measured, peers, target) for target in targets if target in _CORES]
    sections += [_memory_comparison(measured, peers), _compile_time(measured, peers)]
    sections += [_all(measured, target) for target in targets]
    sections += [_refusals([result for result in results if isinstance(result, Refusal)])]
    return "\n".join(section for section in sections if section)


# Targets for which peers have figures, and how their keys begin.
_CORES = {"cortex-m4": "m4", "cortex-m7": "m7"}


def _compilers(measured: Iterable[Measurement]) -> str:
    names = sorted({(m.toolchain, m.compiler) for m in measured})
    return "".join(f"- {name}: {compiler}\n" for name, compiler in names)


def _comparison(measured: Sequence[Measurement], peers: Peers, target: str) -> str:
    """Beside the peers: cycles, and how many times more they take."""
    core = _CORES[target]
    rows = []
    for name, peer in peers.items():
        ours = {m.toolchain: m for m in measured if (m.network, m.target) == (name, target)}
        if not ours:
            continue
        best = min(ours.values(), key=lambda m: m.cycles)
        cells = [name, _millions(best.macs)]
        cells += [_cost(ours.get(toolchain)) for toolchain in ("zig", "gcc")]
        for library in ("cmsis_nn", "reference"):
            known = peer.get(library, {})
            cycles, instructions = known.get(f"{core}_cycles"), known.get(f"{core}_instructions")
            cells.append(f"{_millions(instructions)} / {_millions(cycles)}")
            cells.append(f"{cycles / best.cycles:.2f}" if cycles else "-")
        rows.append(cells)
    heading = [
        "network",
        "MACs",
        "utvm, zig",
        "utvm, gcc",
        "CMSIS-NN",
        "its cycles / ours",
        "TFLM reference",
        "its cycles / ours",
    ]
    text = (
        "Millions of instructions / millions of cycles. The peers are Arm's CMSIS-NN kernels and "
        "TensorFlow Lite\nMicro's reference kernels, both under TensorFlow Lite Micro "
        "(cifar10_cnn: the legacy q7 kernels, called\nfrom C); `benchmarks/peers.toml` says how "
        "they were measured. *Ours* is the better toolchain.\n"
    )
    return _section(f"Beside others, on {target}", text, heading, rows)


def _memory_comparison(measured: Sequence[Measurement], peers: Peers) -> str:
    rows = []
    for m in measured:
        peer = peers.get(m.network, {})
        if m.target == "cortex-m4" and m.toolchain == "zig" and "arena_bytes" in peer:
            code, arena = m.memory.flash.code, m.memory.ram.arena
            rows.append([m.network, *map(_count, (arena, peer["arena_bytes"]))])
            rows[-1] += [*map(_count, (code, peer["flash_bytes"], m.stack_bytes))]
    heading = [
        "network",
        "arena, utvm",
        "arena, TFLM",
        "code, utvm",
        "program, TFLM",
        "stack, utvm",
    ]
    text = (
        "Bytes on Cortex-M4, zig. The programs are counted without the network: TFLM's without the "
        "model, with int8\nkernels only; ours without constants. TFLM's arena holds the "
        "interpreter's own data, too.\n"
    )
    return _section("Memory beside TensorFlow Lite Micro", text, heading, rows)


def _compile_time(measured: Sequence[Measurement], peers: Peers) -> str:
    rows = [
        [m.network, m.toolchain, f"{m.cpu_seconds:.1f}"]
        for m in measured
        if m.target == "cortex-m4" and m.network in peers
    ]
    text = (
        "CPU seconds from the model's bytes to the linked program, on the machine that wrote this "
        "page; the only\nfigures here that depend on it.\n"
    )
    return _section("Time to compile", text, ["network", "toolchain", "CPU s"], rows)


def _all(measured: Sequence[Measurement], target: str) -> str:
    """Every network on one target, one line per toolchain."""
    rows = []
    for m in measured:
        if m.target != target:
            continue
        per_mac = f"{m.cycles / m.macs:.2f}" if m.macs else "-"
        flash, ram = m.memory.flash, m.memory.ram
        exact = {True: "yes", False: "**no**", None: "-"}[m.exact]
        costs = [_count(m.macs), _count(m.instructions), _count(m.cycles), per_mac]
        sizes = (flash.code, flash.constants, ram.arena, ram.io, ram.static, m.stack_bytes)
        rows.append([m.network, m.toolchain, *costs, *map(_count, sizes), exact])
    heading = ["network", "toolchain", "MACs", "instructions", "cycles", "cycles/MAC"]
    heading += ["code", "constants", "arena", "in, out", "other RAM", "stack", "exact"]
    return _section(f"All networks on {target}", "Memory in bytes.\n", heading, rows)


def _refusals(refusals: Sequence[Refusal]) -> str:
    """One line per network and reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for r in refusals:
        reason = r.reason.partition("; hint:")[0].replace("|", "/")
        reasons.setdefault((r.network, reason), []).append(f"{r.target} {r.toolchain}")
    most = max(map(len, reasons.values()), default=0)
    rows = [
        [name, reason, "everywhere" if len(where) == most else ", ".join(where)]
        for (name, reason), where in reasons.items()
    ]
    return _section("Not measured", "", ["network", "reason", "where"], rows)


def _section(title: str, text: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; numbers to the right. Empty without rows."""
    if not rows:
        return ""
    numeric = [all(_NUMERIC.fullmatch(row[i]) for row in rows) for i in range(len(rows[0]))]
    rule = ["--:" if right else "---" for right in numeric]
    lines = ["| " + " | ".join(cells) + " |" for cells in (heading, rule, *rows)]
    return "\n".join([f"## {title}\n", *([text] if text else []), *lines, ""])


def _cost(m: Measurement | None) -> str:
    return "-" if m is None else f"{_millions(m.instructions)} / {_millions(m.cycles)}"


def _millions(number: int | None) -> str:
    """Four digits or so: 24.72, 0.582."""
    if number is None:
        return "-"
    return f"{number / 1e6:.2f}" if number >= 1_000_000 else f"{number / 1e6:.3f}"


def _count(number: int) -> str:
    return f"{number:,}"
