"""The goals beside what is reached: the first two sections of docs/benchmarks.md.

In: measurements by key, and goals.toml. Out: text. A figure above its goal is set in bold with the
excess; one that was not measured is a dash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.measure import Key, Measurement
from benchmarks.tables import count, millions, section

_CORES = {"m4": "cortex-m4", "m7": "cortex-m7"}
_MLPERF = "mlperf_"


def goals_section(measured: Mapping[Key, Measurement], goals: dict[str, Any]) -> str:
    """Cycles at ``--objective cycles``."""
    rows, missed = [], 0
    for name, limits in goals["cycles"].items():
        cells = [name]
        for kind in ("untuned", "tuned"):
            for core, target in _CORES.items():
                limit = limits[kind][core]
                m = measured.get(Key(name, target, "zig", "cycles", kind == "tuned"))
                missed += m is not None and m.cycles > limit * 1e6
                cells.append(_beside(None if m is None else m.cycles / 1e6, limit))
        rows.append(cells)
    text = (
        "Millions of modelled cycles per inference, zig, `--objective cycles`: reached / goal. "
        "Untuned: `--records none`; tuned: with\nthe records that come with utvm. "
        f"**Bold** figures are above their goal ({missed} of them); a dash was not measured.\n"
    )
    heading = ["network", "M4 untuned", "M7 untuned", "M4 tuned", "M7 tuned"]
    return section("Goals", text, heading, rows)


def size_section(measured: Mapping[Key, Measurement], goals: dict[str, Any]) -> str:
    """Code, constants and cycles at ``size`` and ``balanced``, on Cortex-M4 and M7."""
    rows = []
    for name in goals["cycles"]:
        for target in _CORES.values():
            for objective in ("size", "balanced"):
                m = measured.get(Key(name, target, "zig", objective))
                if m is not None:
                    rows.append(_size_row(m, goals))
    code, over = goals["code_bytes"], goals["constants"]
    text = (
        "Bytes, zig, no records. Code is the whole program's, runtime and start-up included: "
        f"goal {code['size']:,} at `size`,\n{code['balanced']:,} at `balanced`, for the MLPerf "
        "networks. Constants, over the model's own parameters, too: goal "
        f"{over['size']:.2f} and {over['balanced']:.2f}.\nThe model's own are the constants of its "
        "graph, weights and biases; without what comes with quantization, of which kernels\nkeep a "
        "multiplier and a shift per channel, and tables. **Bold** is above the goal.\n"
    )
    heading = ["network", "target", "objective", "code", "constants", "over parameters", "M cycles"]
    return section("Size", text, heading, rows)


def _size_row(m: Measurement, goals: dict[str, Any]) -> list[str]:
    key = m.key
    code, over = count(m.flash.code), m.flash.constants / m.parameter_bytes
    if key.network.startswith(_MLPERF) and m.flash.code > goals["code_bytes"][key.objective]:
        code = f"**{code}**"
    constants = f"{over:.2f}"
    if over > goals["constants"][key.objective]:
        constants = f"**{constants}**"
    cycles = millions(m.cycles)
    limits = goals["size_cycles"].get(key.network, {})
    core = key.target.removeprefix("cortex-")
    if key.objective == "size" and core in limits:
        cycles = _beside(m.cycles / 1e6, limits[core])
    names = [key.network, key.target, key.objective]
    return [*names, code, count(m.flash.constants), constants, cycles]


def _beside(reached: float | None, goal: float) -> str:
    """``reached / goal``; in bold with the excess where it is above."""
    if reached is None:
        return f"- / {goal:g}"
    digits = 2 if goal >= 1 else 3
    text = f"{reached:.{digits}f}"
    if reached > goal:
        text = f"**{text}** (+{100 * (reached / goal - 1):.1f} %)"
    return f"{text} / {goal:g}"
