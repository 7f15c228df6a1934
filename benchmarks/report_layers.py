"""Cycles per MAC: of convolutions alone, of networks against the roofline, of single kernels.

In: measurements by key, and the peers' recorded figures. Out: sections of docs/benchmarks.md. The
roofline is what the multiplier of a core allows when every MAC is done and nothing else costs
anything; Winograd does fewer multiplications than MACs and can be below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.measure import Key, Measurement
from benchmarks.tables import count, millions, ratio, section

Measured = Mapping[Key, Measurement]

ROOFLINE = {
    "cortex-m0plus": 2.0,
    "cortex-m3": 1.0,
    "cortex-m4": 0.5,
    "cortex-m7": 0.5,
    "cortex-m33": 0.5,
}
"""Cycles per int8 MAC: MULS and ADDS; MLA; SMLAD, which does two."""

CONVOLUTIONS = {
    "conv1": "5x5 3->32, 32x32",
    "conv2": "5x5 32->32, 16x16",
    "conv3": "5x5 32->64, 8x8",
}
LAYERED = ("mlperf_resnet8_int8", "cifar10_cnn")


def conv2d_section(measured: Measured, peers: dict[str, Any]) -> str:
    """The convolutions of the CIFAR-10 network alone."""
    rows = []
    for layer, shape in CONVOLUTIONS.items():
        for target in ("cortex-m4", "cortex-m7"):
            for objective in ("cycles", "balanced", "size"):
                for tuned in (False, True):
                    m = measured.get(Key(f"conv2d_{layer}", target, "zig", objective, tuned))
                    if m is not None:
                        rows.append([f"{layer}: {shape}", target, *_convolution(m, peers[layer])])
    text = (
        "![cycles per MAC](benchmarks/conv2d.svg)\n\n"
        "The int8 convolutions of the CIFAR-10 network alone, with random weights, by "
        "`benchmarks/conv2d.py`; cycles are the\nkernel's. CMSIS-NN: legacy q7 kernels on M7 in "
        "millions of cycles, today's s8 kernels in cycles per MAC, where known.\n"
    )
    heading = ["layer", "target", "objective", "records", "MACs", "M cycles", "cycles/MAC"]
    heading += ["q7, M cycles", "q7 / utvm", "s8, cycles/MAC", "s8 / utvm", "exact"]
    return section("Convolutions alone", text, heading, rows)


def _convolution(m: Measurement, peer: dict[str, Any]) -> list[str]:
    core = m.key.target.removeprefix("cortex-")
    cycles = sum(layer.cycles for layer in m.layers)
    legacy = peer.get(f"q7_{core}_cycles", 0)
    modern = peer.get("s8_per_mac", {}).get(core, 0.0)
    return [
        m.key.objective,
        "shipped" if m.key.tuned else "none",
        count(m.macs),
        millions(cycles),
        ratio(cycles, m.macs),
        millions(legacy),
        ratio(legacy, cycles),
        f"{modern:.2f}" if modern else "-",
        ratio(modern * m.macs, cycles),
        {True: "yes", False: "**no**", None: "-"}[m.exact],
    ]


def roofline_section(measured: Measured, goals: dict[str, Any]) -> str:
    """Whole networks, per MAC."""
    rows = []
    for name in goals["cycles"]:
        cells = [
            _per_mac(measured.get(Key(name, target, "zig", objective)))
            for target in ROOFLINE
            for objective in ("balanced",)
        ]
        if any(cell != "-" for cell in cells):
            rows.append([name, *cells])
    if rows:
        rows.append(["roofline", *(f"{limit:.2f}" for limit in ROOFLINE.values())])
    text = (
        "![cycles per MAC and roofline](benchmarks/roofline.svg)\n\n"
        "Cycles per MAC of whole networks, zig, balanced, no records. The roofline is the "
        "multiplier's: SMLAD does two MACs\na cycle, MLA one, Cortex-M0+ needs MULS and ADDS. "
        "Everything but MACs is in the figures, too; Winograd does 2.25 times\nfewer "
        "multiplications than MACs.\n"
    )
    return section("Cycles per MAC", text, ["network", *ROOFLINE], rows)


def _per_mac(m: Measurement | None) -> str:
    return "-" if m is None else ratio(m.cycles, m.macs)


def layers_section(measured: Measured) -> str:
    """The kernels of two networks."""
    rows = []
    for name in LAYERED:
        m4, m7 = (measured.get(Key(name, t, "zig", "cycles")) for t in ("cortex-m4", "cortex-m7"))
        if m4 is None or m7 is None:
            continue
        for one, other in zip(m4.layers, m7.layers, strict=True):
            cells = [
                name,
                one.name,
                count(one.macs),
                count(one.cycles),
                ratio(one.cycles, one.macs),
            ]
            rows.append([*cells, count(other.cycles), ratio(other.cycles, other.macs)])
    text = (
        "![cycles per MAC by kernel](benchmarks/layers.svg)\n\n"
        "Zig, `--objective cycles`, no records; with what is fused into each kernel.\n"
    )
    heading = ["network", "kernel", "MACs", "M4 cycles", "M4 cycles/MAC", "M7 cycles"]
    return section("Kernel by kernel", text, [*heading, "M7 cycles/MAC"], rows)
