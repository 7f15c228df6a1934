"""fold-pad: a constant border in front of a window becomes the window's own padding.

Runs after legalize, when attributes say what padding holds: a convolution its ``input_zero_point``,
max_pool2d the type's minimum. The border must be on rows and columns only and hold just that.

    %p = pad(%x) {before=[0, 1, 1, 0], after=[0, 1, 1, 0], value=-3}
    %y = conv2d(%p, %w) {input_zero_point=-3}
    ---
    %y = conv2d(%x, %w) {padding=[1, 1, 1, 1], input_zero_point=-3}
"""

from __future__ import annotations

from dataclasses import replace

from utvm.ir.graph import Graph, Node, TensorType
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.pad import PadAttrs
from utvm.op.pool2d import AvgPool2dAttrs, MaxPool2dAttrs

Padding = tuple[int, int, int, int]


def fold_pad(graph: Graph) -> Graph:
    """The graph without the pads that nodes behind them can do."""
    producers = graph.producers()
    nodes = tuple(_folded(graph, node, producers.get(node.inputs[0])) for node in graph.nodes)
    read = {name for node in nodes for name in node.inputs} | set(graph.outputs)
    kept = (node for node in nodes if node.op != "pad" or node.outputs[0] in read)
    return graph.with_nodes(tuple(kept))


def _folded(graph: Graph, node: Node, source: Node | None) -> Node:
    if source is None or not isinstance(source.attrs, PadAttrs):
        return node
    border = _border(source.attrs)
    attrs = node.attrs
    holds = _padding_value(node, graph.values[node.inputs[0]].type)
    if border is None or holds is None or holds != (source.attrs.value or 0):
        return node
    assert isinstance(attrs, Conv2dAttrs | MaxPool2dAttrs)
    top, bottom, left, right = (a + b for a, b in zip(attrs.padding, border, strict=True))
    if isinstance(attrs, MaxPool2dAttrs) and not (
        max(top, bottom) < attrs.window[0] and max(left, right) < attrs.window[1]
    ):
        return node
    attrs = replace(attrs, padding=(top, bottom, left, right))
    return replace(node, inputs=(source.inputs[0], *node.inputs[1:]), attrs=attrs)


def _border(attrs: PadAttrs) -> Padding | None:
    """Rows above and below, columns left and right; None if the border is on other axes too."""
    if attrs.mode != "constant" or len(attrs.before) != 4:
        return None
    (n, top, left, c), (m, bottom, right, d) = attrs.before, attrs.after
    return None if any((n, c, m, d)) else (top, bottom, left, right)


def _padding_value(node: Node, x: TensorType) -> float | None:
    """What the window's own padding holds; None if it is no number or the node has none."""
    match node.attrs:
        case AvgPool2dAttrs():
            return None
        case MaxPool2dAttrs():
            return None if x.dtype.is_float else x.dtype.minimum
        case Conv2dAttrs(input_zero_point=value) if node.op in ("conv2d", "depthwise_conv2d"):
            return value
    return None
