"""Register blocks over panels: convolutions and dense layers of all sizes in one function.

In: a weighted sum. Out: the micro functions that fill panels and that compute on them. A panel
holds the windows of a block's pixels side by side: word s of pixel p is word ``s * pixels + p``. So
one pointer reads them whatever the depth, and everything that layers differ by is a scalar: turns
of the inner loop, blocks of filters, the pitch of the result, the numbers of the rescale. Windows
that no whole turns make are filled up with zero weights.

    for group: for block: acc[p, f] = bias[f]
               for turn: x[p] = panel words;  acc[p, f] = smlad(x[p], weights[f], acc[p, f])
               out[p, f] = epilogue(acc[p, f])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Call, Expr, For, Function, Imm, Let, Load, Stmt, Store, Var
from utvm.ir.rewrite import simplify_body
from utvm.schedule.conv_block import BLOCK, COUNT, PAIR, STEP, BlockBuilder
from utvm.schedule.epilogue import Sharing
from utvm.schedule.weighted_sum import Array, WeightedSum
from utvm.schedule.window_layout import GROUPED

BLOCKS, PITCH = Var("blocks"), Var("pitch")
MORE = Var("more")
"""Turns of a loop beyond the first, so that it surely runs and nothing asks whether it does."""
_GROUPS, _STRIDE, _SIZE, _GROUP = Var("groups"), Var("stride"), Var("size"), Var("group")


@dataclass
class PanelBuilder(BlockBuilder):
    """Makes the micro function for filters [first, first + filters) of a kernel."""

    def sharing(self) -> Sharing | None:
        return Sharing({(self.w.variables["x"], self.pitch): PITCH})

    @property
    def pitch(self) -> int:
        """Elements from one pixel's results to the next."""
        return self.w.filters

    @property
    def more_turns(self) -> int:
        return self._word_steps() // self.block.steps - 1

    def scalars(self) -> tuple[int, ...]:
        """What a kernel passes behind the number of groups."""
        blocks = self.filters // self.block.filters
        pitch = (self.pitch,) if self._has_pitch else ()
        return (blocks, self.more_turns, *pitch, *self.epilogue.numbers.values())

    @property
    def _has_pitch(self) -> bool:
        """Whether results of several pixels lie side by side."""
        operands = self.epilogue.operands.values()
        return any(operand.step(self.w.variables["x"]) == self.pitch for operand in operands)

    @property
    def _looped(self) -> bool:
        return True

    @property
    def _ahead(self) -> int:
        return 0

    def _blocks(self) -> Expr:
        return BLOCKS

    def _word_steps(self) -> int:
        return self.layout.column // 2

    def _taps(self, turn: int) -> Array:
        """Row by row of a window, each in the order in which bytes become halfwords."""
        taps = self.w.weights.reshape(self.w.filters, -1).astype(np.int16)
        if self.layout.grouped:
            taps = taps.reshape(len(taps), -1, 4)[..., GROUPED].reshape(len(taps), -1)
        return np.pad(taps, ((0, 0), (0, self.layout.column - taps.shape[1])))

    def _stores(self, shift: int) -> list[Stmt]:
        """Pixel by pixel: results of other pixels lie far away."""
        b = self.block
        result = [stmt for f in range(b.filters) for stmt in self._rescale_words(f)]
        for p in range(b.pixels):
            for f in range(b.filters):
                result += self._result(p, f, shift)
        return result

    # Places: products of loop variables and scalars.

    def _window(self) -> Buffer:
        return Buffer("x", DType.INT16, (2 * self.block.pixels * self.block.steps,), "input")

    def _weights(self) -> Buffer:
        return Buffer("w", DType.INT32, (self._turn_words,), "input")

    @property
    def _turn_words(self) -> int:
        return self.block.steps * self._step_words

    def _word(self, at: int, k: Expr | None = None) -> Load:
        b = self.block
        fixed = self._biases + b.filters * len(self.epilogue.per_filter)
        index = BLOCK * (MORE * self._turn_words + (fixed + self._turn_words))
        if k is not None:
            index = index + k * self._turn_words
        elif at >= self._biases:
            index = index + (MORE * self._turn_words + self._turn_words)
        return Load(self._weights(), (index + at,))

    def _pixel(self, p: int, u: int, k: Expr | None) -> Load:
        b = self.block
        turn = 2 * b.pixels * b.steps
        index = PAIR * (MORE * turn + turn) + STEP * turn
        return Load(self._window(), (index + (2 * b.pixels * u + 2 * p),), 2)

    def _sums(self, steps: int) -> list[Stmt]:
        turn = tuple(stmt for u in range(self.block.steps) for stmt in self._step(STEP, u))
        return [For(STEP, Imm(0), MORE + 1, turn)]

    def _after_sums(self) -> int:
        return self._biases

    def _first_result(self) -> int:
        return 0

    def _function(self, body: tuple[Stmt, ...]) -> Function:
        b = self.block
        kind = "int16" if b.wide else "int8"
        about = (
            f"{b.pixels} pixels, interleaved by words, x {b.filters} filters, weights as {kind}: "
            f"{2 * b.steps} taps a turn."
        )
        inputs, outputs = self.epilogue.parameters()
        pitch = (PITCH,) if self._has_pitch else ()
        return Function(
            f"panel{b.pixels}x{b.filters}_{kind}",
            (self._window(), self._weights(), *inputs),
            outputs,
            self.epilogue.resized(body),
            comment=(about,),
            scalars=(COUNT, BLOCKS, MORE, *pitch, *map(Var, self.epilogue.numbers)),
        )


def panel_micro(w: WeightedSum, pixels: int) -> Function:
    """Groups of ``pixels`` pixels become panels: ``stride`` elements from one pixel to the next,
    ``size`` from one panel to the next, ``groups`` words of each pixel and one more."""
    narrow = w.source.dtype.bits == 8
    lanes = 4 if narrow else 2
    source = Buffer("x", w.source.dtype, (lanes,), "input")
    panel = Buffer("panel", DType.INT16, (2 * pixels,), "output")
    expand = "sxtb16" if w.source.dtype.is_signed else "uxtb16"
    loads: list[Stmt] = []
    stores: list[Stmt] = []
    halves = 2 if narrow else 1
    for p in range(pixels):
        word = Var(f"word_{p}")
        index = PAIR * _STRIDE * pixels + _STRIDE * p + _GROUP * lanes
        loads.append(Let(word, Load(source, (index,), lanes)))
    for half in range(halves):
        for p in range(pixels):
            word = Var(f"word_{p}")
            name = f"{expand}_ror8" if half else expand
            value = Call(name, (word,), DType.INT32) if narrow else word
            at = PAIR * _SIZE + _GROUP * (2 * pixels * halves) + (2 * pixels * half + 2 * p)
            stores.append(Store(panel, (at,), value, 2))
    inner = For(_GROUP, Imm(0), _GROUPS + 1, (*loads, *stores), parallel=True)
    return Function(
        f"panel_{w.source.dtype.value}_{pixels}",
        (source,),
        (panel,),
        simplify_body((For(PAIR, Imm(0), COUNT, (inner,), parallel=True),)),
        comment=(f"Groups of {pixels} pixels as int16, interleaved by words.",),
        scalars=(COUNT, _GROUPS, _STRIDE, _SIZE),
    )
