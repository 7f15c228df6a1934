"""What debuggers do to a debug port to reach memory and registers, in its plainest form: a tool.

In: a ``DebugPort``. Out: one access to it per access. Nothing is checked but that registers of a
halted core are ready; errors are left in the port.
"""

from __future__ import annotations

from tests.probe import core_debug as cd
from tests.probe import debug_port as dp
from tests.probe.debug_port import DebugPort

POWER = dp.CDBGPWRUPREQ | dp.CSYSPWRUPREQ


class RawProbe:
    """A debug port that is switched on."""

    def __init__(self, port: DebugPort) -> None:
        self.port = port
        self.port.write_dp(dp.CTRL_STAT, POWER)
        self.size(4)

    def ap(self, register: int) -> int:
        self.port.write_dp(dp.SELECT, register & 0xF0)
        return self.port.read_ap(register & 0xC)

    def set_ap(self, register: int, value: int) -> None:
        self.port.write_dp(dp.SELECT, register & 0xF0)
        self.port.write_ap(register & 0xC, value)

    def size(self, size_bytes: int, increment: int = 1) -> None:
        self.set_ap(dp.CSW, {1: 0, 2: 1, 4: 2}[size_bytes] | increment << 4)

    def read(self, address: int) -> int:
        self.set_ap(dp.TAR, address)
        return self.ap(dp.DRW)

    def write(self, address: int, value: int) -> None:
        self.set_ap(dp.TAR, address)
        self.set_ap(dp.DRW, value)

    def control(self, bits: int) -> None:
        self.write(cd.DHCSR, cd.DEBUG_KEY | bits)

    def halt(self) -> None:
        self.control(cd.C_DEBUGEN | cd.C_HALT)

    def register(self, number: int) -> int:
        self.write(cd.DCRSR, number)
        assert self.read(cd.DHCSR) & cd.S_REGRDY
        return self.read(cd.DCRDR)

    def set_register(self, number: int, value: int) -> None:
        self.write(cd.DCRDR, value)
        self.write(cd.DCRSR, 1 << 16 | number)
        assert self.read(cd.DHCSR) & cd.S_REGRDY
