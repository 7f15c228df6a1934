"""cancel-moves: moves that cancel or do nothing go; others stay as they are."""

from __future__ import annotations

import pytest

from tests.passes.channel_graphs import assert_equal, random_graph
from tests.passes.text import graph_after, lines
from utvm.passes.cancel_moves import cancel_moves

# A type, and nodes that make %y of %x on the way to the output.
CHAINS = {
    "transpose and back": (
        "int8[2,3,4]",
        "%a: int8[4,2,3] = transpose(%x) {permutation=[2, 0, 1]}",
        "%y: int8[2,3,4] = transpose(%a) {permutation=[1, 2, 0]}",
    ),
    "reshape and back": (
        "int8[2,3,4]",
        "%a: int8[24] = reshape(%x) {shape=[24]}",
        "%y: int8[2,3,4] = reshape(%a) {shape=[2, 3, 4]}",
    ),
    "cast to its own type": ("int8[4]", '%y: int8[4] = cast(%x) {dtype="int8", saturate=true}'),
    "widened and back": (
        "int8[4]",
        '%a: int16[4] = cast(%x) {dtype="int16"}',
        '%y: int8[4] = cast(%a) {dtype="int8", saturate=true}',
    ),
    "slice of all": (
        "int8[1,4]",
        "%y: int8[1,4] = strided_slice(%x) {begin=[0, 0], strides=[-2, 1], shape=[1, 4]}",
    ),
    "border of nothing": ("int8[4]", "%y: int8[4] = pad(%x) {before=[0], after=[0], value=7}"),
    "concatenation of one": ("int8[4]", "%y: int8[4] = concat(%x) {axis=0}"),
}
KEPT = {
    "transpose twice": (
        "int8[3,3,3]",
        "%a: int8[3,3,3] = transpose(%x) {permutation=[2, 0, 1]}",
        "%y: int8[3,3,3] = transpose(%a) {permutation=[2, 0, 1]}",
    ),
    "narrowed and back": (
        "int16[4]",
        '%a: int8[4] = cast(%x) {dtype="int8"}',
        '%y: int16[4] = cast(%a) {dtype="int16"}',
    ),
    "other sign and back": (
        "int8[4]",
        '%a: uint8[4] = cast(%x) {dtype="uint8", saturate=true}',
        '%y: int8[4] = cast(%a) {dtype="int8"}',
    ),
    "backwards": (
        "int8[4]",
        "%y: int8[4] = strided_slice(%x) {begin=[3], strides=[-1], shape=[4]}",
    ),
    "concatenation of two": ("int8[4]", "%y: int8[8] = concat(%x, %x) {axis=0}"),
    "saturating cast": ("int16[4]", '%y: int8[4] = cast(%x) {dtype="int8", saturate=true}'),
}


def after(type: str, nodes: tuple[str, ...]) -> list[str]:
    """The nodes that are left behind a clamp, in front of the output."""
    result = nodes[-1].split(" = ")[0].removeprefix("%y: ")
    body = "\n".join((f"%x: {type} = clip(%i) {{low=1.0}}", *nodes,
                      f"%z: {result} = clip(%y) {{low=2.0}}"))  # fmt: skip
    return lines(graph_after(f"graph g(%i: {type}) -> (%z) {{\n{body}\n}}", cancel_moves), "%")


@pytest.mark.parametrize("name", CHAINS)
def test_what_does_nothing_goes(name: str) -> None:
    type, *nodes = CHAINS[name]
    clips = after(type, tuple(nodes))
    assert clips == [
        f"%x: {type} = clip(%i) {{low=1.0}}",
        f"%z: {type} = clip(%x) {{low=2.0}}",
    ]


@pytest.mark.parametrize("name", KEPT)
def test_what_changes_something_stays(name: str) -> None:
    type, *nodes = KEPT[name]
    moves = after(type, tuple(nodes))[1:-1]
    if name == "transpose twice":
        nodes = ["%y: int8[3,3,3] = transpose(%x) {permutation=[1, 2, 0]}"]
    assert moves == nodes


def test_axes_of_one_element_are_reshaped() -> None:
    (node,) = lines(
        graph_after(
            """graph g(%x: int8[1,3,4]) -> (%y) {
              %y: int8[3,4,1] = transpose(%x) {permutation=[1, 2, 0]}
            }""",
            cancel_moves,
        ),
        "%",
    )
    assert node == "%y: int8[3,4,1] = reshape(%x) {shape=[3, 4, 1]}"


def test_outputs_keep_their_names() -> None:
    text = """graph g(%x: int8[4]) -> (%y, %z) {
      %y: int8[4] = reshape(%x) {shape=[4]}
      %z: int8[4] = clip(%y) {low=1.0}
    }"""
    assert lines(graph_after(text, cancel_moves), "%") == [
        "%y: int8[4] = reshape(%x) {shape=[4]}",
        "%z: int8[4] = clip(%x) {low=1.0}",
    ]


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_stay_the_same(seed: int) -> None:
    graph = random_graph(seed)
    assert_equal(graph, cancel_moves(graph))
