"""Draws what random layers cost: cycles per product over products, a panel per kind.

In: layers as ``benchmarks/sweep.py`` keeps them. Out: an SVG file that is the same for the same
figures. Lines are the hand-made prototypes of a kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots import PALETTE, save_figure
from benchmarks.sweep import CORES, KINDS, Layer, Prototype, prototypes, rate

_LOOKS = {"cortex-m4": (PALETTE[0], "o"), "cortex-m7": (PALETTE[4], "^")}


def write_plot(layers: Sequence[Layer], path: Path) -> None:
    """All kinds for which there are figures; nothing if there are none."""
    kinds = [k for k in KINDS if any(layer.kind == k and layer.cycles for layer in layers)]
    if not kinds:
        return
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    lines = -(-len(kinds) // 2)
    figure = Figure((8.4, 2.6 * lines), layout="constrained")
    FigureCanvasSVG(figure)
    grid = figure.subplots(lines, 2, squeeze=False, sharex=True, sharey=True)
    for axis, kind in zip(grid.flat, kinds, strict=False):
        _panel(axis, [layer for layer in layers if layer.kind == kind], kind)
    save_figure(figure, path)


def _panel(axis: Any, layers: Sequence[Layer], kind: str) -> None:
    for target, (color, marker) in _LOOKS.items():
        own = [layer for layer in layers if target in layer.cycles]
        points = [(layer.macs, rate(layer, target)) for layer in own]
        if points:
            x, y = zip(*points, strict=True)
            axis.scatter(x, y, s=9, color=color, marker=marker, label=target, linewidths=0)
    for target in CORES:
        for prototype in _of_kind(kind):
            axis.axhline(prototype.rate(target), color=_LOOKS[target][0], linewidth=0.5, alpha=0.5)
    axis.set_xscale("log")
    axis.set_xlim(30, 1_000_000)
    axis.set_yscale("log")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    what = "an element of a window" if kind == "pool" else "a MAC"
    axis.set_title(f"{kind}: cycles {what}, over these", fontsize=9, loc="left")
    axis.legend(fontsize=7)


def _of_kind(kind: str) -> list[Prototype]:
    """The prototypes that a kind is held against."""
    if kind == "dense":
        return [p for p in prototypes() if p.window == (1, 1)]
    wanted = {"depthwise": "depthwise", "pool": ""}.get(kind, "conv")
    return [p for p in prototypes() if p.kind == wanted]
