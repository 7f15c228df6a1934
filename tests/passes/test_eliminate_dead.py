"""eliminate-dead: what no output depends on goes, together with its constants."""

from __future__ import annotations

from tests.passes.text import graph_after
from utvm.passes.eliminate_dead import eliminate_dead


def test_dead_chains_go_with_their_constants() -> None:
    text = graph_after(
        """graph net(%x: int32[2], %unread: int8[1]) -> (%y) {
          const %dead: int32[1] = [10]
          const %live: int32[1] = [8]
          %first = add(%x, %dead)
          %second = add(%first, %first)
          %y = add(%x, %live)
        }""",
        eliminate_dead,
    )
    assert text == (
        "graph net(%x: int32[2], %unread: int8[1]) -> (%y) {\n"
        "  const %live: int32[1] = [8]\n"
        "  %y: int32[2] = add(%x, %live)\n"
        "}\n"
    )
