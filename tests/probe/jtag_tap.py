"""A JTAG scan chain of one controller, and the two TAPs of an STM32F7: a test tool.

In: rising edges of TCK with TMS and TDI. Out: TDO, and what the scans cause in a debug port.
Follows IEEE 1149.1 for the controller, and the Arm Debug Interface Architecture Specification
ADIv5.2 (Arm IHI 0031), section B3, for the JTAG-DP. All TAPs of a chain see the same TMS, so there
is one controller for all; their registers lie one behind the other.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol


class DebugRegisters(Protocol):
    """What the scans of a JTAG-DP reach; addresses are 0, 4, 8 and 12."""

    def read_dp(self, address: int) -> int: ...

    def write_dp(self, address: int, value: int) -> None: ...

    def read_ap(self, address: int) -> int: ...

    def write_ap(self, address: int, value: int) -> None: ...


class Tap(Protocol):
    """One TAP. ``instruction`` is what its instruction register holds."""

    instruction_bits: int
    instruction: int

    def reset(self) -> None:
        """Test-Logic-Reset: the instruction is IDCODE."""

    def data_bits(self) -> int:
        """The length of the data register that the instruction selects."""

    def capture(self) -> int:
        """What that register holds when a scan begins."""

    def update(self, value: int) -> None:
        """A scan has ended with ``value`` in that register."""


_ABORT, _DPACC, _APACC, _IDCODE = 0b1000, 0b1010, 0b1011, 0b1110
_DP_BITS = {_ABORT: 35, _DPACC: 35, _APACC: 35, _IDCODE: 32}
_ACKNOWLEDGED = 0b010  # "OK or fault"; this port never lets a probe wait


class JtagDp:
    """The TAP of a debug port, B3.3 to B3.4. A bus that faults is seen in CTRL/STAT, not here."""

    instruction_bits = 4

    def __init__(self, port: DebugRegisters, idcode: int) -> None:
        self._port, self._idcode = port, idcode
        self._result = 0  # of the last read: the next scan carries it out
        self.reset()

    def reset(self) -> None:
        """See ``Tap``."""
        self.instruction = _IDCODE

    def data_bits(self) -> int:
        """See ``Tap``. Instructions that are not there select BYPASS."""
        return _DP_BITS.get(self.instruction, 1)

    def capture(self) -> int:
        """See ``Tap``."""
        if self.instruction in (_DPACC, _APACC):
            return self._result << 3 | _ACKNOWLEDGED
        return self._idcode if self.instruction == _IDCODE else 0

    def update(self, value: int) -> None:
        """See ``Tap``. An ABORT has nothing to abort: no transfer is ever under way."""
        read, address, data = value & 1, (value << 1) & 0b1100, value >> 3
        if self.instruction == _DPACC:
            if read:
                # RDBUFF is zero in a JTAG-DP, and 0 has no register before DPIDR (B2.2.7).
                self._result = self._port.read_dp(address) if address != 0xC else 0
            elif address:
                self._port.write_dp(address, data)
        elif self.instruction == _APACC:
            if read:
                self._result = self._port.read_ap(address)
            else:
                self._port.write_ap(address, data)


class BoundaryScan:
    """A TAP that says who it is, and no more."""

    _IDCODE = 0b00001

    def __init__(self, idcode: int, instruction_bits: int) -> None:
        self._idcode, self.instruction_bits = idcode, instruction_bits
        self.reset()

    def reset(self) -> None:
        """See ``Tap``."""
        self.instruction = self._IDCODE

    def data_bits(self) -> int:
        """See ``Tap``."""
        return 32 if self.instruction == self._IDCODE else 1

    def capture(self) -> int:
        """See ``Tap``."""
        return self._idcode if self.instruction == self._IDCODE else 0

    def update(self, value: int) -> None:
        """See ``Tap``."""


class State(enum.IntEnum):
    """States of the controller; IEEE 1149.1, figure 6-1."""

    RESET = 0
    IDLE = 1
    SELECT_DR = 2
    CAPTURE_DR = 3
    SHIFT_DR = 4
    EXIT1_DR = 5
    PAUSE_DR = 6
    EXIT2_DR = 7
    UPDATE_DR = 8
    SELECT_IR = 9
    CAPTURE_IR = 10
    SHIFT_IR = 11
    EXIT1_IR = 12
    PAUSE_IR = 13
    EXIT2_IR = 14
    UPDATE_IR = 15


_S = State
# state: (next state with TMS low, with TMS high)
_NEXT = {
    _S.RESET: (_S.IDLE, _S.RESET),
    _S.IDLE: (_S.IDLE, _S.SELECT_DR),
    _S.SELECT_DR: (_S.CAPTURE_DR, _S.SELECT_IR),
    _S.CAPTURE_DR: (_S.SHIFT_DR, _S.EXIT1_DR),
    _S.SHIFT_DR: (_S.SHIFT_DR, _S.EXIT1_DR),
    _S.EXIT1_DR: (_S.PAUSE_DR, _S.UPDATE_DR),
    _S.PAUSE_DR: (_S.PAUSE_DR, _S.EXIT2_DR),
    _S.EXIT2_DR: (_S.SHIFT_DR, _S.UPDATE_DR),
    _S.UPDATE_DR: (_S.IDLE, _S.SELECT_DR),
    _S.SELECT_IR: (_S.CAPTURE_IR, _S.RESET),
    _S.CAPTURE_IR: (_S.SHIFT_IR, _S.EXIT1_IR),
    _S.SHIFT_IR: (_S.SHIFT_IR, _S.EXIT1_IR),
    _S.EXIT1_IR: (_S.PAUSE_IR, _S.UPDATE_IR),
    _S.PAUSE_IR: (_S.PAUSE_IR, _S.EXIT2_IR),
    _S.EXIT2_IR: (_S.SHIFT_IR, _S.UPDATE_IR),
    _S.UPDATE_IR: (_S.IDLE, _S.SELECT_DR),
}
# Plain integers in tuples: this is looked up for every bit that a probe moves.
_NEXT_STATE = tuple((int(low), int(high)) for low, high in (_NEXT[state] for state in State))
_SHIFTS = tuple(state in (_S.SHIFT_DR, _S.SHIFT_IR) for state in State)
_ACTS = tuple(
    state in (_S.RESET, _S.CAPTURE_DR, _S.CAPTURE_IR, _S.UPDATE_DR, _S.UPDATE_IR) for state in State
)


class ScanChain:
    """TAPs in a row; the first one is nearest to TDO.

    ``register`` is what is being shifted; its bit 0 is TDO. While nothing is shifted nobody drives
    TDO, so what it is then does not matter.
    """

    def __init__(self, taps: Sequence[Tap]) -> None:
        self._taps = tuple(taps)
        self.state: int = State.RESET
        self.register = 0
        self._last = 0  # where TDI enters: the register's highest bit

    def reset(self) -> None:
        """TRST, or five edges with TMS high."""
        self.state = State.RESET
        for tap in self._taps:
            tap.reset()

    def clock(self, tms: int, tdi: int) -> None:
        """A rising edge of TCK; ``tms`` and ``tdi`` are 0 or 1."""
        state = self.state
        if _SHIFTS[state]:
            self.register = self.register >> 1 | tdi << self._last
        elif _ACTS[state]:
            self._act(state)
        self.state = _NEXT_STATE[state][tms]

    def _act(self, state: int) -> None:
        """What an edge does in the states that do more than lead to others. An update belongs to
        the falling edge before, which nobody can tell apart."""
        if state == State.RESET:
            self.reset()
        elif state == State.CAPTURE_DR:
            self._capture([(tap.data_bits(), tap.capture()) for tap in self._taps])
        elif state == State.CAPTURE_IR:
            self._capture([(tap.instruction_bits, 0b01) for tap in self._taps])
        elif state == State.UPDATE_DR:
            register = self.register
            for tap in self._taps:
                bits = tap.data_bits()
                tap.update(register & ((1 << bits) - 1))
                register >>= bits
        else:
            register = self.register
            for tap in self._taps:
                tap.instruction = register & ((1 << tap.instruction_bits) - 1)
                register >>= tap.instruction_bits

    def _capture(self, parts: Sequence[tuple[int, int]]) -> None:
        self.register = position = 0
        for bits, value in parts:
            self.register |= value << position
            position += bits
        self._last = position - 1
