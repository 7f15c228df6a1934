"""The text form of the graph IR: what is printed parses back, and what is wrong is refused clearly.

Errors are compared whole: file, line and column, what was expected, what was found, the hint.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utvm.ir.attributes import build_attrs, format_attrs
from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Graph, Node, Quantization, TensorType, Value
from utvm.ir.parse_graph import parse_graph
from utvm.ir.print_graph import print_graph
from utvm.ir.scan import MAX_TEXT
from utvm.op.base import NoAttrs
from utvm.op.registry import find_op
from utvm.support.errors import ModelError, UtvmError

HEAD = "graph net(%x: int8[1,4]) -> (%y) {\n"

NETWORK = """\
graph net(%x: int8[1,4,4,2] q(scale=0.5, zero_point=-3), %z: float32[2]) -> (%y, %c) {
  const %w: int8[3,3,3,2] q(scales=[0.1, 0.25, 1e-05], zero_points=[0, 0, 0], axis=0)
  const %six: int32[1] = [6]
  const %eps: float32[2] = [1e-07, inf]
  %y: int8[1,2,2,3] q(scale=1.0, zero_point=0) = conv2d(%x, %w) @conv2d_0 from "CONV_2D #0"
  %sum: float32[2] = add(%z, %eps) @add_0
  %c: int32[2] = cast(%sum) {dtype="int32", saturate=true} as last @add_0
}
"""


def parse(text: str, **params: np.ndarray) -> Graph:
    return parse_graph(text, find_op, params, file="net.graph")


def message(text: str, **params: np.ndarray) -> str:
    with pytest.raises(ModelError) as caught:
        parse(text, **params)
    return str(caught.value)


def test_everything_a_graph_holds_is_printed_as_it_was_read() -> None:
    weight = np.arange(54, dtype=np.int8).reshape(3, 3, 3, 2)
    graph = parse(NETWORK, w=weight)
    assert print_graph(graph) == NETWORK
    assert graph.inputs == ("x", "z")
    assert graph.values["w"].quantization == Quantization((0.1, 0.25, 1e-05), (0, 0, 0), 0)
    np.testing.assert_array_equal(graph.constants["w"], weight)
    assert [node.name for node in graph.nodes] == ["y", "sum", "last"]
    assert [node.group for node in graph.nodes] == ["conv2d_0", "add_0", "add_0"]
    assert graph.nodes[0].source == "CONV_2D #0"


def test_types_of_plain_results_may_be_left_out() -> None:
    text = HEAD + "const %six: int8[1] = [6]  # a comment\n%1 = add(%x, %six)\n%y = cast(%1) "
    graph = parse(text + '{dtype="int16"}}')
    assert graph.values["t_1"].type == TensorType((1, 4), DType.INT8)
    assert graph.values["y"].type == TensorType((1, 4), DType.INT16)


def test_text_of_a_model_stays_harmless() -> None:
    graph = parse(HEAD + '%y = copy(%x) from "*/ \\u001b[31m \\"quoted\\""}')
    assert graph.nodes[0].source == "__ _[31m _quoted_"


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8))
def test_float_constants_are_exact(numbers: list[float]) -> None:
    data = np.array(numbers, np.float32)
    value = Value("c", TensorType(data.shape, DType.FLOAT32))
    graph = Graph("net", (), ("c",), (), {"c": value}, {"c": data})
    np.testing.assert_array_equal(parse(print_graph(graph)).constants["c"], data)


@settings(deadline=None)
@given(
    st.floats(min_value=1e-30, max_value=1e30, allow_subnormal=False),
    st.integers(-128, 127),
)
def test_quantization_is_exact(scale: float, zero_point: int) -> None:
    quantization = Quantization((scale,), (zero_point,))
    value = Value("x", TensorType((2,), DType.INT8), quantization)
    graph = Graph("net", ("x",), ("x",), (), {"x": value})
    assert parse(print_graph(graph)).values["x"].quantization == quantization


INTEGERS = st.integers(-(2**63), 2**64)


@dataclass(frozen=True)
class EveryAttrs(Attrs):
    """One field of every kind that attributes have."""

    name: str
    pair: tuple[int, int]
    many: tuple[float, ...] = ()
    nested: tuple[tuple[int, ...], ...] = ()
    flag: bool = False
    limit: float | None = None
    low: float = 0.0


@settings(deadline=None)
@given(
    st.builds(
        EveryAttrs,
        st.text(max_size=8),
        st.tuples(INTEGERS, INTEGERS),
        st.lists(st.floats(allow_nan=False), max_size=3).map(tuple),
        st.lists(st.lists(INTEGERS, max_size=2).map(tuple), max_size=2).map(tuple),
        st.booleans(),
        st.none() | st.floats(allow_nan=False),
        st.floats(allow_nan=False),
    )
)
def test_attributes_of_every_kind_are_exact(attrs: EveryAttrs) -> None:
    def find(name: str) -> SimpleNamespace:
        return SimpleNamespace(
            attrs=EveryAttrs, infer=lambda inputs, given: (inputs[0],), check=None
        )

    text = f"{HEAD}%y = every(%x) {{{format_attrs(attrs)}}}}}"
    assert parse_graph(text, find).nodes[0].attrs == attrs


FIELDS = ("name", "pair", "many", "nested", "flag", "limit", "low")


def test_attributes_say_what_is_wrong() -> None:
    for values, expected in (
        ({"name": "a"}, "the attribute is missing; expected pair"),
        ({"nam": "a"}, "unknown attribute; expected " + ", ".join(FIELDS) + "; found nam"),
        (
            {"name": 1, "pair": (1, 2)},
            "attribute name is of another type; expected string; found 1",
        ),
        (
            {"name": "a", "pair": (1, 2, 3)},
            "attribute pair is of another type; expected [int, int]; found (1, 2, 3)",
        ),
        (
            {"name": "a", "pair": (1, True)},
            "attribute pair is of another type; expected int; found True",
        ),
    ):  # fmt: skip
        with pytest.raises(ModelError) as caught:
            build_attrs(EveryAttrs, values)
        assert str(caught.value) == expected


REFUSED = {
    "": 'net.graph:1:1: unexpected text; expected "graph"; found the end of the text; '
    'hint: a model file begins "graph NAME(%input: type) -> (%output) {"',
    HEAD: 'net.graph:2:1: a line of a graph begins otherwise; expected "const", a result as '
    '%name, or "}"; found the end of the text',
    "graph net(%x: int8[4]) -> (%x) {} more": "net.graph:1:35: something follows the graph; "
    'expected the end of the text; found "more"',
    "graph net(%x: int8[4]) -> (%x) { $ }": "net.graph:1:34: this character has no meaning here; "
    'found "$"',
    "graph net(%x: int8[4]) -> (%y) {}": "net.graph:1:28: nothing above makes this value; "
    'found "%y"; hint: a value must be an input, a constant or the result of an earlier line',
    "graph net(%x: int7[4]) -> (%x) {}": "net.graph:1:15: unknown element type; expected int8, "
    'int16, int32, int64, uint8, uint16, uint32, float32, bool; found "int7"',
    "graph net(%x: int8[4.5]) -> (%x) {}": "net.graph:1:20: this is not a whole number; expected "
    'a whole number; found "4.5"',
    "graph net(%x: int8[0]) -> (%x) {}": "net.graph:1:11: a dimension is not positive; "
    "found int8[0]",
    "graph net(%x: int8[65536,65536]) -> (%x) {}": "net.graph:1:11: the tensor is too large; "
    "expected 2147483647 elements; found int8[65536,65536]",
    "graph net(%x: int8[1,1,1,1,1,1,1,1,1]) -> (%x) {}": "net.graph:1:11: too many dimensions; "
    "expected 8; found 9",
    "graph net(%X: int8[4]) -> (%X) {}": "net.graph: %X: a name that becomes a C name must be "
    "lower case; expected x; found X",
    "graph net(%x: int8[4], %x: int8[4]) -> (%x) {}": "net.graph:1:24: the name is taken already; "
    'expected a new name; found "%x"',
    "graph net(%_x: int8[4]) -> (%_x) {}": "net.graph:1:11: the name is not an identifier; "
    'expected a letter, then at most 63 more; found "%_x"',
    "graph net(%x: int8[4] q(scale=0.5)) -> (%x) {}": "net.graph:1:23: the quantization is not "
    "complete; expected q(scale=S, zero_point=Z) or q(scales=[..], zero_points=[..], axis=A); "
    "found scale",
    "graph net(%x: int8[4] q(scale=0.5, zero_point=200)) -> (%x) {}": "net.graph:1:11: a zero "
    'point is out of range; expected -128 to 127; found "%x"',
    "graph net(%x: int8[4] q(scale=-1.0, zero_point=0)) -> (%x) {}": "net.graph:1:11: a scale is "
    'not a positive finite float32; found "%x"',
    "graph net(%x: float32[4] q(scale=1.0, zero_point=0)) -> (%x) {}": "net.graph:1:11: only "
    "integers are quantized; found float32",
    HEAD + "%y = cpoy(%x)}": "net.graph:2:6: unknown operator; found cpoy; "
    "hint: did you mean copy?",
    HEAD + "%y = copy(%z)}": 'net.graph:2:11: nothing above makes this value; found "%z"; '
    "hint: a value must be an input, a constant or the result of an earlier line",
    HEAD + "%y = copy(%x, %x)}": "net.graph:2:6: wrong number of operands; expected 1; found 2",
    HEAD + "%y, %z = copy(%x)}": "net.graph:2:10: wrong number of results; expected 1; found 2",
    HEAD + "%y: int8[4] = copy(%x)}": "net.graph:2:1: the declared type is not what the operator "
    "gives; expected int8[1,4]; found int8[4]; hint: the type may be left out",
    HEAD + '%y = cast(%x) {dtype="int8", dtype="int8"}}': "net.graph:2:30: the name appears "
    'twice; found "dtype"',
    HEAD + "%y = cast(%x) {dtype=8}}": "net.graph:2:15: attribute dtype is of another type; "
    "expected string; found 8",
    HEAD + '%y = cast(%x) {dtype="\\x"}}': "net.graph:2:22: the text has a wrong escape; "
    'expected escapes as in JSON; found "__x_"',
    HEAD + "%y = cast(%x) {dtype=" + "[" * 20: "net.graph:2:31: lists are nested too deeply; "
    'expected at most 8 levels; found "["',

    HEAD + "const %c: int8[2] = [1, 300]}": "net.graph:2:7: an element is not of type int8; "
    "expected an integer from -128 to 127; found 300",
    HEAD + "const %c: int8[2] = [1, 2.0]}": "net.graph:2:7: an element is not of type int8; "
    "expected an integer from -128 to 127; found 2.0",
    HEAD + "const %c: int8[2] = [1]}": "net.graph:2:7: wrong number of elements; expected 2 for "
    "int8[2]; found 1",
    HEAD + "const %c: int32[1] = [" + "9" * 50 + "]}": "net.graph:2:23: the number has too many "
    f'digits; expected at most 40; found "{"9" * 50}"',
    HEAD + "const %c: int8[2]}": "net.graph:2:7: the constant has no data; expected a file of "
    'arrays; found "%c"; hint: give the file with --params FILE.npz',
}  # fmt: skip


@pytest.mark.parametrize("text", list(REFUSED))
def test_refused(text: str) -> None:
    assert message(text) == REFUSED[text]


def test_constants_are_taken_by_name_and_checked() -> None:
    text = HEAD + "const %w: int8[4]\n%y = add(%x, %w)}"
    data = np.arange(4, dtype=np.int8)
    np.testing.assert_array_equal(parse(text, w=data).constants["w"], data)
    assert message(text, v=data) == (
        "net.graph:2:7: the constant has no data; expected an array of this name: v; "
        'found "%w"; hint: give the file with --params FILE.npz'
    )
    assert message(text, w=data.reshape(2, 2)) == (
        "net.graph:2:7: the array is not of the declared type; expected int8[4]; found int8[2,2]"
    )
    assert message(text, w=data.astype(np.float64)) == (
        "net.graph:2:7: the array is not of the declared type; expected int8[4]; found float64[4]"
    )


def test_quantized_results_need_their_type() -> None:
    text = "graph net(%x: int8[4] q(scale=0.5, zero_point=0)) -> (%y) {\n%y = copy(%x)}"
    assert message(text) == (
        "net.graph:2:1: the result of a quantized operator needs its type; "
        'expected %name: type q(scale=S, zero_point=Z); found "%y"'
    )


def test_a_rule_that_trips_over_attributes_is_the_texts_mistake() -> None:
    def infer(inputs: object, attrs: object) -> None:
        raise IndexError("axis 7")

    op = SimpleNamespace(attrs=NoAttrs, infer=infer, check=None)
    with pytest.raises(ModelError) as caught:
        parse_graph(HEAD + "%y = rule(%x)}", lambda name: op, file="net.graph")
    assert str(caught.value) == (
        "net.graph:2:6: the operator does not take these operands with these attributes; "
        "found int8[1,4]: axis 7"
    )


def test_size_is_limited() -> None:
    assert message(" " * (MAX_TEXT + 1)) == (
        "net.graph: the text is too large; expected at most 16777216 characters; "
        "found 16777217; hint: give large constants in the file of arrays"
    )


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_texts_give_a_graph_or_an_error(data: st.DataObject) -> None:
    """No other exception, no recursion, whatever is cut, repeated or replaced."""
    text = NETWORK.replace("%w: int8[3,3,3,2]", "%w: int8[3,1,1,2]")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(len(text), start + 12)))
        pieces = ["", "[", "{", "-", "9999999999", "%x", "int64", '"', "#", "\n", "q(", "\x00", "é"]
        text = text[:start] + data.draw(st.sampled_from(pieces)) + text[stop:]
    weight = np.zeros((3, 1, 1, 2), np.int8)
    try:
        graph = parse(text, w=weight)
    except UtvmError as error:
        assert "\n" not in str(error)
    else:
        assert print_graph(parse(print_graph(graph), **graph.constants)) == print_graph(graph)


def test_node_names_and_groups_survive() -> None:
    value = Value("y", TensorType((1, 4), DType.INT8))
    node = Node("first", "copy", ("x",), ("y",), NoAttrs(), "COPY #0", "copy_0")
    values = {"x": Value("x", value.type), "y": value}
    graph = Graph("net", ("x",), ("y",), (node,), values)
    assert parse(print_graph(graph)).nodes == (node,)
