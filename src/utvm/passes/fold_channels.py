"""fold-channels: channels that always hold the same number, or that nothing reads, are removed.

Runs on plain graphs with folded constants. ``live_channels`` says what stays. Filters, biases and
per-channel constants of the others are cut away; what a constant channel adds to the weighted sums
that read it goes into their bias, so every result stays the same to the bit:

    %a: int32[1,8,8,16] = conv2d(%x, %w, %b)          filters 3, 5, ... of %w are zero
    %t: int8[1,8,8,16] = requantize_linear(%a, ...)
    %y: int32[1,8,8,32] = conv2d(%t, %v, %c)
    ---
    %a: int32[1,8,8,12] = conv2d(%x, %w_live, %b_live)
    %t: int8[1,8,8,12] = requantize_linear(%a, ...)
    %y: int32[1,8,8,32] = conv2d(%t, %v_live, %c_folded)

Floats stay: zero times infinity is not zero. Numbers of channels stay multiples of ``MULTIPLE``
(or what they were), since kernels work on words of four bytes; the surplus is computed as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from utvm.ir.dtype import dtype_of
from utvm.ir.graph import Attrs, Graph, Node, TensorType, Value
from utvm.op.base import Op
from utvm.op.channels import Channels
from utvm.op.fixed_point import int64_of
from utvm.op.ranges import Interval
from utvm.op.reshape import ReshapeAttrs
from utvm.op.strided_slice import StridedSliceAttrs
from utvm.passes.live_channels import Mask, centered_weights, channels_of, live_channels
from utvm.passes.value_ranges import value_ranges

MULTIPLE = 4


def fold_channels(graph: Graph, find_op: Callable[[str], Op], multiple: int = MULTIPLE) -> Graph:
    """The graph with only the channels that count."""
    ranges = value_ranges(graph, find_op)
    masks = live_channels(graph, find_op, ranges, multiple)
    if not masks:
        return graph
    narrow = _Narrow(graph, ranges, masks)
    nodes = tuple(
        _narrowed(narrow, node, channels_of(graph, node, find_op(node.op))) for node in graph.nodes
    )
    values = {**graph.values, **narrow.values}
    for name, mask in masks.items():
        values[name] = replace(values[name], type=_cut(values[name].type, mask))
    constants = {**graph.constants, **narrow.constants}
    return replace(graph, values=values, constants=constants).with_nodes(nodes)


@dataclass(eq=False)
class _Narrow:
    """What the rewriting knows, and the constants that it makes."""

    graph: Graph
    ranges: Mapping[str, Interval]
    masks: Mapping[str, Mask]
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def mask(self, name: str) -> Mask:
        """Which channels of a value stay."""
        if name in self.masks:
            return self.masks[name]
        return np.ones(self.graph.values[name].shape[-1], bool)

    def constant(self, data: np.ndarray, hint: str) -> str:
        """A new constant; its name is made from ``hint``."""
        base = f"{hint[:40]}_live"
        name, number = base, 0
        while name in self.graph.values or name in self.values:
            number += 1
            name = f"{base}_{number}"
        data = np.ascontiguousarray(data)
        self.values[name] = Value(name, TensorType(tuple(data.shape), dtype_of(data)))
        self.constants[name] = data
        return name


def _narrowed(narrow: _Narrow, node: Node, channels: Channels | None) -> Node:
    """The node without the channels that its values lose."""
    if not any(name in narrow.masks for name in (*node.inputs, *node.outputs)):
        return node
    assert channels is not None, node
    mask = narrow.mask(node.outputs[0])
    if channels.weighted:
        return _narrowed_sum(narrow, node, mask)
    kept = np.ones(int(channels.result.max()) + 1, bool)
    kept[channels.result] = mask
    inputs = tuple(
        name if labels is None else _narrowed_operand(narrow, name, kept[labels])
        for name, labels in zip(node.inputs, channels.operands, strict=True)
    )
    return replace(node, inputs=inputs, attrs=_narrowed_attrs(node.attrs, int(mask.sum())))


def _narrowed_operand(narrow: _Narrow, name: str, kept: Mask) -> str:
    """A constant without the channels that go; other values lose them where they are made."""
    data = narrow.graph.constants.get(name)
    if data is None or kept.all():
        return name
    return narrow.constant(data[..., kept], name)


def _narrowed_sum(narrow: _Narrow, node: Node, results: Mask) -> Node:
    """A weighted sum over the inputs that stay, with the constant ones in its bias."""
    graph = narrow.graph
    inputs = narrow.mask(node.inputs[0])
    weight = graph.constants[node.inputs[1]]
    bias = _folded_bias(narrow, node, inputs)
    operands = [node.inputs[0], narrow.constant(weight[results][..., inputs], node.inputs[1])]
    if bias is not None:
        hint = node.inputs[2] if len(node.inputs) > 2 else f"{node.outputs[0]}_bias"
        operands.append(narrow.constant(bias[results], hint))
    return replace(node, inputs=tuple(operands))


def _folded_bias(narrow: _Narrow, node: Node, inputs: Mask) -> np.ndarray | None:
    """The bias with what the removed inputs add; None if there is none and they add nothing.

    A removed input that is not constant has weights of zero in every filter that stays.
    """
    graph = narrow.graph
    interval = narrow.ranges[node.inputs[0]].over(len(inputs))
    value = np.where(~inputs & (interval.low == interval.high), interval.low, 0)
    added = int64_of(centered_weights(graph, node).sum(axis=1) @ value)
    if len(node.inputs) > 2:
        bias = graph.constants[node.inputs[2]].reshape(-1)
        added = int64_of(bias) + added
        return added.astype(bias.dtype)
    return added.astype(graph.outputs_of(node)[0].dtype.numpy) if added.any() else None


def _narrowed_attrs(attrs: Attrs, channels: int) -> Attrs:
    """Attributes that say the result's shape say the new one."""
    if isinstance(attrs, ReshapeAttrs | StridedSliceAttrs):
        return replace(attrs, shape=(*attrs.shape[:-1], channels))
    return attrs


def _cut(type: TensorType, mask: Mask) -> TensorType:
    return replace(type, shape=(*type.shape[:-1], int(mask.sum())))
