"""trim-windows: rows and columns of a window that never see more than padding go.

In: a plain graph. What padding holds, times such weights, is a number: it goes into the bias. So a
convolution of 3x3 on an image of one row is one of 1x3. Only the window's outer rows and columns
are looked at; weights and bias must be known.

    %y = conv2d(%x, %w, %b) {padding=[1, 1, 1, 1]}       %x: int8[1,1,14,20], %w: int8[5,3,3,20]
    ---
    %y = conv2d(%x, %w_seen, %b_seen) {padding=[0, 0, 1, 1]}                   %w_seen: [5,1,3,20]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from utvm.ir.graph import Graph, Node, Value
from utvm.op.conv2d import Conv2dAttrs

Share = tuple[int, int]
"""How many taps go at the beginning and at the end of an axis."""


def trim_windows(graph: Graph) -> Graph:
    """The graph with windows that have only taps that see the image."""
    values, constants = dict(graph.values), dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        attrs, shares = node.attrs, _shares(graph, node)
        data = None if shares is None else _trimmed(graph, node, *shares)
        if shares is None or data is None or not isinstance(attrs, Conv2dAttrs):
            nodes.append(node)
            continue
        names: list[str] = []
        for old, array in zip(node.inputs[1:], data, strict=True):
            names.append(_fresh(f"{old[:40]}_seen", values))
            values[names[-1]] = _like(values[old], names[-1], array)
            constants[names[-1]] = array
        attrs = replace(attrs, padding=_padding(attrs, *shares))
        nodes.append(replace(node, inputs=(node.inputs[0], *names), attrs=attrs))
    return replace(graph, values=values, constants=constants).with_nodes(tuple(nodes))


def _shares(graph: Graph, node: Node) -> tuple[Share, Share] | None:
    """What goes of the rows and of the columns; None if nothing does."""
    attrs = node.attrs
    if node.op not in ("conv2d", "depthwise_conv2d") or not isinstance(attrs, Conv2dAttrs):
        return None
    image, result = graph.values[node.inputs[0]].shape, graph.outputs_of(node)[0].shape
    window = graph.values[node.inputs[1]].shape[1:3]
    shares = [
        _unseen(
            window[axis],
            image[1 + axis],
            result[1 + axis],
            attrs.strides[axis],
            attrs.dilation[axis],
            (attrs.padding[2 * axis], attrs.padding[2 * axis + 1]),
        )
        for axis in range(2)
    ]
    return (shares[0], shares[1]) if any(map(any, shares)) else None


def _unseen(
    taps: int, extent: int, results: int, stride: int, dilation: int, padding: tuple[int, int]
) -> Share:
    """The taps at both ends of an axis that no result sees on the image. With each goes as much of
    the padding, so that results stay where they are."""

    def sees(tap: int) -> bool:
        places = range(tap * dilation - padding[0], extent, stride)
        return any(place >= 0 for place in places[:results])

    def count(order: Iterator[int], room: int) -> int:
        unseen = 0
        while unseen < room and not sees(next(order)):
            unseen += 1
        return unseen

    first = count(iter(range(taps)), min(padding[0] // dilation, taps - 1))
    most = min(padding[1] // dilation, taps - 1 - first)
    return first, count(iter(range(taps - 1, -1, -1)), most)


def _padding(attrs: Conv2dAttrs, rows: Share, columns: Share) -> tuple[int, int, int, int]:
    gone = (*(n * attrs.dilation[0] for n in rows), *(n * attrs.dilation[1] for n in columns))
    top, bottom, left, right = (a - b for a, b in zip(attrs.padding, gone, strict=True))
    return top, bottom, left, right


def _trimmed(graph: Graph, node: Node, rows: Share, columns: Share) -> list[np.ndarray] | None:
    """Weights and bias of what is left; None where they are not known or do not fit."""
    known = [graph.constants[name] for name in node.inputs[1:] if name in graph.constants]
    if len(known) != 2:
        return None
    weights, bias = known
    assert isinstance(node.attrs, Conv2dAttrs)
    _, kh, kw, _ = weights.shape
    seen = (slice(rows[0], kh - rows[1]), slice(columns[0], kw - columns[1]))
    left = np.ascontiguousarray(weights[:, *seen, :])
    if weights.dtype.kind == "f":
        return [left, bias] if np.isfinite(weights).all() else None
    axes = (1, 2) if node.op == "depthwise_conv2d" else (1, 2, 3)
    centered = weights.astype(np.int64) - node.attrs.weight_zero_point
    gone = centered.sum(axis=axes) - centered[:, *seen, :].sum(axis=axes)
    total = bias + (gone * node.attrs.input_zero_point).reshape(bias.shape)
    fits = np.array_equal(total.astype(bias.dtype), total)
    return [left, total.astype(bias.dtype)] if fits else None


def _fresh(base: str, values: dict[str, Value]) -> str:
    name, number = base, 0
    while name in values:
        number += 1
        name = f"{base}_{number}"
    return name


def _like(value: Value, name: str, data: np.ndarray) -> Value:
    return replace(value, name=name, type=replace(value.type, shape=data.shape))
