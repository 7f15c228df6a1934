"""The page of the sweep: random layers of every kind, exact or not, and what they cost.

In: the lines that ``python -m tests.models.shape_sweep`` wrote for each target. Out:
docs/benchmarks/sweep.json, which keeps what the page needs, docs/benchmarks_sweep.md and a plot.
``python -m benchmarks.sweep FOLDER`` takes the lines of a folder; without it the page and the plot
are made of what is kept.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
KEPT = DOCS / "benchmarks" / "sweep.json"
TARGETS = ("host", "cortex-m0plus", "cortex-m33", "cortex-m4", "cortex-m7")
CORES = {"cortex-m4": "m4", "cortex-m7": "m7"}
KINDS = ("conv", "depthwise", "dense", "pool", "grouped", "transposed")


@dataclass(frozen=True)
class Layer:
    """``depth`` and ``filters`` are those of a group; ``whole``: a window without stride or
    dilation; ``taps``: products of a result; ``cycles`` by target, where they are counted."""

    text: str
    kind: str
    dtype: str
    window: tuple[int, int]
    depth: int
    filters: int
    whole: bool
    macs: int
    taps: int
    cycles: dict[str, int] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()
    ran: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prototype:
    """A hand-made kernel and its cycles per multiply-accumulate."""

    kind: str
    name: str
    window: tuple[int, int]
    depth: int
    filters: int
    m4: float
    m7: float
    winograd: bool = False

    @property
    def products(self) -> int:
        """Of a result."""
        return math.prod(self.window) * (1 if self.kind == "depthwise" else self.depth)

    def rate(self, target: str) -> float:
        return self.m4 if target == "cortex-m4" else self.m7


@cache
def prototypes() -> tuple[Prototype, ...]:
    """All that are known."""
    data = tomllib.loads((HERE / "prototypes.toml").read_text(encoding="utf-8"))
    return tuple(Prototype(**{**p, "window": tuple(p["window"])}) for p in data["prototype"])


def nearest(layer: Layer) -> Prototype | None:
    """The prototype of the same kind whose window, depth and filters are nearest, each as a ratio;
    filters count half, since they cost nothing per product.

    Dense layers are 1x1 convolutions; pools have no prototype. Winograd's algorithm is held against
    windows that it serves, the direct one of the same depth against the others.
    """
    if layer.kind == "pool":
        return None
    kind = "depthwise" if layer.kind == "depthwise" else "conv"
    winograd = layer.kind == "conv" and layer.window == (3, 3) and layer.whole
    known = [p for p in prototypes() if p.kind == kind]
    served = [p for p in known if p.winograd == winograd or p.window != (3, 3) or p.depth < 16]

    def distance(p: Prototype) -> float:
        area = abs(math.log2(math.prod(layer.window) / math.prod(p.window)))
        depth = abs(math.log2(layer.depth / p.depth)) if kind == "conv" else 0.0
        return area + depth + abs(math.log2(layer.filters / p.filters)) / 2

    return min(served, key=distance)


def ratio(layer: Layer, target: str) -> float | None:
    """Cycles per product over those of the nearest prototype."""
    prototype = nearest(layer)
    if prototype is None or target not in layer.cycles:
        return None
    return rate(layer, target) / prototype.rate(target)


@dataclass(frozen=True)
class Law:
    """What a kernel of the prototypes' making takes for a result: so much for each product, and so
    much whatever their number (bias, rescale, clamp, store, its share of loops)."""

    per_product: float
    per_result: float

    def cycles(self, products: float) -> float:
        return self.per_product * products + self.per_result


@cache
def law(kind: str, target: str) -> Law:
    """The line through the direct prototypes of at least 16 channels, by least squares.

    Depthwise there is one prototype: its results cost what those of convolutions do.
    """
    direct = [p for p in prototypes() if p.kind == "conv" and not p.winograd and p.depth >= 16]
    cycles = [p.rate(target) * p.products for p in direct]
    found = Law(*statistics.linear_regression([p.products for p in direct], cycles))
    if kind != "depthwise":
        return found
    (single,) = (p for p in prototypes() if p.kind == kind)
    return Law(single.rate(target) - found.per_result / single.products, found.per_result)


def lawful_ratio(layer: Layer, target: str) -> float | None:
    """Cycles per result over those of the law for as many products."""
    if layer.kind == "pool" or target not in layer.cycles:
        return None
    expected = law(layer.kind, target).cycles(layer.taps)
    return rate(layer, target) * layer.taps / expected


def rate(layer: Layer, target: str) -> float:
    """Cycles per product; of pools, per element of a window."""
    return layer.cycles[target] / layer.macs


def read_folder(folder: Path) -> list[Layer]:
    """The layers of all lines of a folder, by number."""
    found: dict[int, Layer] = {}
    for target in TARGETS:
        for path in sorted(folder.glob(f"{target}-*.jsonl")):
            for text in path.read_text(encoding="utf-8").splitlines():
                line = json.loads(text)
                layer = found.setdefault(line["number"], _layer(line))
                if layer.text != _layer(line).text:
                    raise SystemExit(f"{path}: layer {line['number']} is another one elsewhere")
                if line["cycles"]:
                    layer.cycles[target] = line["cycles"]
                wrong = layer.wrong + ((target,) if line["wrong"] else ())
                fields = {**vars(layer), "wrong": wrong, "ran": (*layer.ran, target)}
                found[line["number"]] = Layer(**fields)
    return [found[number] for number in sorted(found)]


def _layer(line: dict[str, Any]) -> Layer:
    s = line["shape"]
    groups, (batch, rows, columns) = s["groups"], s["results"]
    depth = s["image"][3] // groups
    alone = s["kind"] in ("depthwise", "pool")
    taps = s["window"][0] * s["window"][1] * (1 if alone else depth)
    if s["kind"] == "transposed":
        batch, rows, columns = s["image"][:3]
    words = [s["kind"], _by(s["window"])]
    words += [f"s{_by(s['strides'])}"] if s["strides"] != [1, 1] else []
    words += [f"d{_by(s['dilation'])}"] if s["dilation"] != [1, 1] else []
    words += [f"g{groups}"] if groups > 1 else []
    words += [s["dtype"], _by(s["image"]), "→", str(s["channels"]), s["note"]]
    return Layer(
        " ".join(words),
        s["kind"],
        s["dtype"],
        (s["window"][0], s["window"][1]),
        1 if alone else depth,
        s["channels"] // groups,
        s["strides"] == [1, 1] and s["dilation"] == [1, 1],
        taps * s["channels"] * batch * rows * columns,
        taps,
    )


def _by(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


def write_kept(layers: Sequence[Layer]) -> None:
    """A line per layer."""
    lines = ",\n".join(json.dumps(asdict(layer), ensure_ascii=False) for layer in layers)
    KEPT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read_kept() -> list[Layer]:
    """What is kept."""
    tuples = ("window", "wrong", "ran")
    return [
        Layer(**{k: tuple(v) if k in tuples else v for k, v in data.items()})
        for data in json.loads(KEPT.read_text(encoding="utf-8"))
    ]


def main() -> None:
    """Writes what is kept, the page and the plot."""
    from benchmarks.plot_sweep import write_plot
    from benchmarks.report_sweep import write_page

    if len(sys.argv) > 1:
        write_kept(read_folder(Path(sys.argv[1])))
    layers = read_kept()
    (DOCS / "benchmarks_sweep.md").write_text(write_page(layers), encoding="utf-8")
    write_plot(layers, DOCS / "benchmarks" / "sweep.svg")


if __name__ == "__main__":
    main()
