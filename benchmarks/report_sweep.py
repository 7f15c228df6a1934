"""The page about random layers: where they are exact, cycles per MAC by kind, what is dear and why.

In: layers as ``benchmarks/sweep.py`` keeps them. Out: markdown.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.sweep import (
    CORES,
    KINDS,
    TARGETS,
    Layer,
    law,
    lawful_ratio,
    nearest,
    prototypes,
    rate,
    ratio,
)
from benchmarks.tables import section, table

FEW_MACS = 10_000
"""Smaller layers are held against nothing: calls are most of them."""
LIMIT = 1.5
FEW_FILTERS = 5
FEW_PRODUCTS = "few products, as dear as the prototypes' law says"
DEAREST = 12

_HEAD = """# Random layers

One random layer after the other, each compared with LiteRT's reference kernels to the bit:
convolutions, depthwise and dense layers, pools, and beside them groups and transposed convolutions;
windows from 1x1 to 10x4, strides to 3, dilation to 3, 1 to 128 channels, images from 1x1 to 96x96,
batches to 3; int8, an eighth int16, an eighth uint8. Zero points are random, so activations clamp
somewhere inside of the type. `tests/models/random_shapes.py` draws them. To run and draw again:

```sh
PYTHONPATH=src python -m tests.models.shape_sweep 500 cortex-m4   # and each other target
PYTHONPATH=src python -m benchmarks.sweep build/sweep             # writes this page
```

The first goes on where it was stopped; `--only N` runs layer N alone, `--seed` draws others.
Continuous integration runs 20 on each target.

"""

_COST = """Modelled cycles per multiply-accumulate, default toolchain, `--objective cycles`, no
records; layers of at least 10,000 products. Behind them, how many are within 1.5 times of the
nearest hand-made prototype (`benchmarks/prototypes.toml`): the one of the same kind whose window,
depth and filters are nearest. Dense layers, groups and transposed convolutions are held against
convolutions; 3x3 windows without stride against Winograd's algorithm, which needs less than half of
the products. Of pools, figures are per element of a window, those outside of the image among them;
they have no prototype. The plot ends at a million.
"""

_LAW = """## What a result costs beside its products

Bias, rescale, clamp, store and a share of loops do not shrink with the number of products, so
cycles per product say little where there are few: a depthwise 3x1 has 3, where the prototype has 9.
The prototypes themselves say what a result costs. Cycles a result of the direct ones of at least 16
channels lie on a line, and the depthwise one is taken to have the same costs a result:
"""

_USE = """
"Within 1.5 times of either" counts the layers that take at most 1.5 times what the nearest
prototype takes a product, or what this law says of a result with as many products.
"""

_WHY = """Each layer counts once, at the first reason that fits.
"""

_REASONS = """Winograd's algorithm pays for few filters no more than it fits images of int16; such
direct convolutions are held against it all the same. Filters share what it costs to expand a pixel
of the image; where there are few, each pays more. Transposed convolutions read zeros around a small
image, which no product of theirs counts.
"""


def write_page(layers: Sequence[Layer]) -> str:
    """The whole page."""
    return "\n".join([
        _HEAD + _exact(layers),
        "## Cost\n\n![cycles per MAC over MACs](benchmarks/sweep.svg)\n",
        _COST + "\n" + _costs(layers),
        _LAW + "\n" + _laws() + _USE,
        *(_reasons(layers, target) for target in CORES),
        _REASONS,
        *(_dearest(layers, target) for target in CORES),
    ])  # fmt: skip


def _exact(layers: Sequence[Layer]) -> str:
    rows = []
    for target in TARGETS:
        ran = [layer for layer in layers if target in layer.ran]
        wrong = sum(target in layer.wrong for layer in ran)
        if ran:
            rows.append([target, str(len(ran)), str(len(ran) - wrong)])
    return table(["target", "layers", "exact"], rows)


def _costs(layers: Sequence[Layer]) -> str:
    rows = []
    for kind in KINDS:
        for target in CORES:
            own = _large(layers, target, kind)
            if not own:
                continue
            rates = sorted(rate(layer, target) for layer in own)
            # Quartiles take two figures.
            spread = rates if len(rates) > 1 else rates * 2
            low, middle, high = statistics.quantiles(spread, n=4, method="inclusive")
            ratios = [r for layer in own if (r := ratio(layer, target)) is not None]
            within = f"{sum(r <= LIMIT for r in ratios)} of {len(ratios)}" if ratios else "-"
            either = str(sum(not _is_over(layer, target) for layer in own)) if ratios else "-"
            median = f"{statistics.median(ratios):.2f}" if ratios else "-"
            figures = [f"{number:.2f}" for number in (low, middle, high)]
            rows.append([kind, target, str(len(own)), *figures, median, within, either])
    heading = ["kind", "target", "layers", "a quarter below", "median", "a quarter above",
               "median, times the prototype", "within 1.5 times", "of either"]  # fmt: skip
    return table(heading, rows)


def _laws() -> str:
    """The law, and what it says of the prototypes that it was drawn through."""
    rows = []
    for target in CORES:
        own = law("conv", target)
        alone = law("depthwise", target)
        rows.append([
            target,
            *(f"{cycles:.2f}" for cycles in (own.per_product, alone.per_product)),
            f"{own.per_result:.1f}",
            f"{_farthest(target):.1%}",
        ])  # fmt: skip
    heading = ["target", "a product", "a product, depthwise", "a result", "farthest prototype"]
    return table(heading, rows)


def _farthest(target: str) -> float:
    """How far off the line the direct prototypes lie at most."""
    own = law("conv", target)
    direct = [p for p in prototypes() if p.kind == "conv" and not p.winograd and p.depth >= 16]
    return max(abs(own.cycles(p.products) / (p.products * p.rate(target)) - 1) for p in direct)


def _is_over(layer: Layer, target: str) -> bool:
    """Whether a layer takes too long by both measures."""
    near, lawful = ratio(layer, target), lawful_ratio(layer, target)
    assert near is not None and lawful is not None
    return near > LIMIT and lawful > LIMIT


def _large(layers: Sequence[Layer], target: str, kind: str) -> list[Layer]:
    return [
        layer
        for layer in layers
        if layer.kind == kind and layer.macs >= FEW_MACS and target in layer.cycles
    ]


def _over(layers: Sequence[Layer], target: str) -> list[tuple[float, Layer]]:
    """Layers beyond the limit, the dearest first."""
    found = []
    for kind in KINDS:
        for layer in _large(layers, target, kind):
            times = ratio(layer, target)
            if times is not None and times > LIMIT:
                found.append((times, layer))
    return sorted(found, key=lambda pair: -pair[0])


def _reason(layer: Layer, target: str) -> str:
    prototype = nearest(layer)
    assert prototype is not None
    lawful = lawful_ratio(layer, target)
    assert lawful is not None
    direct = nearest(replace(layer, whole=False))
    assert direct is not None
    if prototype.winograd and rate(layer, target) <= LIMIT * direct.rate(target):
        return "direct, held against Winograd's algorithm"
    if lawful <= LIMIT:
        return FEW_PRODUCTS
    if layer.kind != "depthwise" and layer.filters <= FEW_FILTERS:
        return f"at most {FEW_FILTERS} filters"
    return f"{layer.dtype} {layer.kind}, others"


def _reasons(layers: Sequence[Layer], target: str) -> str:
    over = _over(layers, target)
    counts = Counter(_reason(layer, target) for _, layer in over)
    rows = [[reason, str(number)] for reason, number in counts.most_common()]
    return section(f"Over 1.5 times, {target}: {len(over)}", _WHY, ["reason", "layers"], rows)


def _dearest(layers: Sequence[Layer], target: str) -> str:
    rows = []
    for times, layer in _over(layers, target)[:DEAREST]:
        prototype = nearest(layer)
        assert prototype is not None
        each = layer.cycles[target] / layer.macs * layer.taps
        figures = [f"{rate(layer, target):.2f}", f"{times:.2f}", f"{each:.1f}"]
        rows.append([layer.text, *figures, prototype.name])
    heading = ["layer", "cycles a MAC", "times the prototype", "cycles a result", "prototype"]
    return section(f"The dearest, {target}", "", heading, rows)
