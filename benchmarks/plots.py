"""Draws the results as SVG files in docs/benchmarks/: against the peers, per MAC, kernel by kernel.

In: results and the peers' recorded figures. Out: files that are the same for the same figures (and
the same matplotlib): no date, fixed identifiers. What was not measured is left out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Key, Measurement
from benchmarks.report import CORES, peer_stacks
from benchmarks.report_layers import CONVOLUTIONS, LAYERED, ROOFLINE
from benchmarks.results import Result

HAVE_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None
OURS, OTHERS, LIMIT = "#1f5fa8", "#b9bec6", "#c0392b"
PALETTE = ("#1f5fa8", "#7aa6d6", "#2e8b6f", "#9bd0bd", "#d9a441")
LIBRARIES = {"CMSIS-NN q7": "#b9bec6", "CMSIS-NN s8": "#8a8f98"}

Measured = Mapping[Key, Measurement]


def write_plots(results: Sequence[Result], peers: dict[str, Any], folder: Path) -> None:
    """All plots for which there are figures."""
    measured = {r.key: r.outcome for r in results if isinstance(r.outcome, Measurement)}
    folder.mkdir(exist_ok=True)
    for target, core in CORES.items():
        _peers(measured, peers, target, folder / f"peers_{core}.svg")
    _roofline(measured, peers, folder / "roofline.svg")
    _layers(measured, folder / "layers.svg")
    _conv2d(measured, peers.get("conv2d", {}), folder / "conv2d.svg")


def _peers(measured: Measured, peers: dict[str, Any], target: str, path: Path) -> None:
    """A panel per network, a bar per stack, fastest on top."""
    panels = []
    for name, peer in peers.items():
        ours = [(o, measured.get(Key(name, target, "zig", o))) for o in ("cycles", "balanced")]
        stacks = [(f"utvm, {o}", m.cycles) for o, m in ours if m is not None]
        others = [(stack, cycles) for stack, cycles, _ in peer_stacks(peer, CORES[target])]
        if stacks and others:
            panels.append((name, sorted(stacks + others, key=lambda s: s[1])))
    if not panels:
        return
    heights = [len(stacks) for _, stacks in panels]
    figure, axes = _figure(len(panels), 7.2, 0.28 * sum(heights) + 0.75 * len(panels), heights)
    for axis, (name, stacks) in zip(axes, panels, strict=True):
        colors = [OURS if stack.startswith("utvm") else OTHERS for stack, _ in stacks]
        bars = axis.barh([s for s, _ in stacks], [c / 1e6 for _, c in stacks], color=colors)
        axis.bar_label(bars, [f"{c / 1e6:.3g}" for _, c in stacks], padding=3, fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.1)
        axis.set_title(f"{name}, {target}: million cycles", fontsize=9, loc="left")
    save_figure(figure, path)


def _roofline(measured: Measured, peers: dict[str, Any], path: Path) -> None:
    """A panel for the cores with SMLAD, one for the others: their figures are far apart."""
    measurable = [n for n in peers if n.endswith("int8") or n == "cifar10_cnn"]
    names = [n for n in measurable if any(Key(n, target) in measured for target in ROOFLINE)]
    known = [t for t in ROOFLINE if any(Key(n, t) in measured for n in names)]
    panels = [[t for t in known if ROOFLINE[t] < 1], [t for t in known if ROOFLINE[t] >= 1]]
    panels = [targets for targets in panels if targets]
    if not panels:
        return
    figure, axes = _figure(len(panels), 7.2, 2.8 * len(panels))
    for axis, targets in zip(axes, panels, strict=True):
        for i, target in enumerate(targets):
            values = [_per_mac(measured.get(Key(name, target))) for name in names]
            _group(axis, i, len(targets), values, target, ROOFLINE[target])
        axis.set_xticks(range(len(names)), names, fontsize=8)
        title = "cycles per MAC, balanced; red: what the multiplier allows"
        axis.set_title(title, fontsize=9, loc="left")
        axis.legend(fontsize=7)
    save_figure(figure, path)


def _group(
    axis: Any, i: int, count: int, values: Sequence[float], label: str, limit: float
) -> None:
    """The ``i``-th of ``count`` bars side by side at every place, each with a line at ``limit``."""
    width = 0.8 / count
    at = [k + (i - (count - 1) / 2) * width for k in range(len(values))]
    bars = axis.bar(at, values, width, color=PALETTE[i], label=label)
    axis.bar_label(bars, [f"{v:.2f}" if v else "" for v in values], fontsize=7)
    half = width / 2
    axis.hlines([limit] * len(at), [x - half for x in at], [x + half for x in at], color=LIMIT)


def _layers(measured: Measured, path: Path) -> None:
    """The kernels that multiply, on Cortex-M4 and M7."""
    panels = [name for name in LAYERED if Key(name, "cortex-m4", "zig", "cycles") in measured]
    if not panels:
        return
    figure, axes = _figure(len(panels), 7.2, 2.8 * len(panels))
    for axis, name in zip(axes, panels, strict=True):
        for i, target in enumerate(CORES):
            m = measured.get(Key(name, target, "zig", "cycles"))
            layers = [layer for layer in m.layers if layer.macs] if m is not None else []
            at = [k + 0.4 * i - 0.2 for k in range(len(layers))]
            values = [layer.cycles / layer.macs for layer in layers]
            bars = axis.bar(at, values, 0.4, color=PALETTE[i], label=target)
            axis.bar_label(bars, [f"{v:.2f}" for v in values], fontsize=7)
            if layers:
                axis.set_xticks(range(len(layers)), [layer.name for layer in layers], fontsize=7)
        axis.axhline(ROOFLINE["cortex-m4"], color=LIMIT, linewidth=1)
        title = f"{name}: cycles per MAC by kernel, objective cycles; red: SMLAD"
        axis.set_title(title, fontsize=9, loc="left")
        axis.legend(fontsize=7)
    save_figure(figure, path)


def _conv2d(measured: Measured, peers: dict[str, Any], path: Path) -> None:
    """The convolutions alone, beside CMSIS-NN where that is known."""
    panels = [t for t in CORES if Key("conv2d_conv1", t, "zig", "cycles") in measured]
    if not panels:
        return
    figure, axes = _figure(len(panels), 7.2, 2.6 * len(panels))
    for axis, target in zip(axes, panels, strict=True):
        series: dict[str, list[float]] = {}
        for objective in ("cycles", "balanced", "size"):
            found = [
                measured.get(Key(f"conv2d_{c}", target, "zig", objective)) for c in CONVOLUTIONS
            ]
            series[f"utvm, {objective}"] = [_kernel_per_mac(m) for m in found]
        macs = [m.macs if m is not None else 0 for m in found]
        series["CMSIS-NN q7"] = [
            peers[c].get(f"q7_{CORES[target]}_cycles", 0) / n if n else 0.0
            for c, n in zip(CONVOLUTIONS, macs, strict=True)
        ]
        series["CMSIS-NN s8"] = [
            peers[c].get("s8_per_mac", {}).get(CORES[target], 0.0) for c in CONVOLUTIONS
        ]
        series = {name: values for name, values in series.items() if any(values)}
        for i, (name, values) in enumerate(series.items()):
            at = [k + (i - (len(series) - 1) / 2) * 0.16 for k in range(len(values))]
            bars = axis.bar(at, values, 0.16, color=LIBRARIES.get(name, PALETTE[i]), label=name)
            axis.bar_label(bars, [f"{v:.2f}" if v else "" for v in values], fontsize=7)
        axis.set_xticks(range(len(CONVOLUTIONS)), list(CONVOLUTIONS.values()), fontsize=8)
        axis.set_title(f"cycles per MAC, {target}", fontsize=9, loc="left")
        axis.legend(fontsize=7)
    save_figure(figure, path)


def _per_mac(m: Measurement | None) -> float:
    return m.cycles / m.macs if m is not None and m.macs else 0.0


def _kernel_per_mac(m: Measurement | None) -> float:
    return sum(layer.cycles for layer in m.layers) / m.macs if m is not None and m.macs else 0.0


def _figure(rows: int, width: float, height: float, ratios: Sequence[int] | None = None) -> Any:
    """A figure and its axes, one below the other."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasSVG(figure)
    grid = figure.subplots(rows, 1, squeeze=False, height_ratios=ratios)
    axes = [row[0] for row in grid]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:
    """As SVG, the same bytes for the same figure."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "utvm", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    # Lines without blanks at their ends, as everywhere in the repository.
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(line.rstrip() + "\n" for line in lines), encoding="utf-8")
