"""An Arm debug port with one memory access port, over the debug registers of a core: a test tool.

In: accesses of a probe to DP and AP registers, by address. Out: their values, and the sticky flags
in CTRL/STAT; nothing raises for what happens on the bus. Follows the Arm Debug Interface
Architecture Specification ADIv5.2 (Arm IHI 0031): part B for the DP, part C for the MEM-AP. Reads
of the AP return their own value; a probe's protocol posts them (JTAG) or hides that (SWD). There
are no transaction counter and no pushed operations (DPIDR.MIN says so).
"""

from __future__ import annotations

from tests.probe.core_debug import CoreDebug
from utvm.device.memory_access import AccessFaultError

# DP registers, B2.2, and bits of CTRL/STAT and ABORT.
DPIDR, CTRL_STAT, SELECT, RDBUFF = 0x0, 0x4, 0x8, 0xC
ABORT = 0x0  # written; a JTAG-DP has a scan chain of its own for it
STICKYORUN, STICKYCMP, STICKYERR, WDATAERR = 1 << 1, 1 << 4, 1 << 5, 1 << 7
CDBGPWRUPREQ, CSYSPWRUPREQ = 1 << 28, 1 << 30
_REQUESTS = 1 << 26 | CDBGPWRUPREQ | CSYSPWRUPREQ
_KEPT = _REQUESTS | 1 << 0  # and ORUNDETECT
_STICKY = STICKYORUN | STICKYCMP | STICKYERR
_CLEARS = {1 << 1: STICKYCMP, 1 << 2: STICKYERR, 1 << 3: WDATAERR, 1 << 4: STICKYORUN}

# MEM-AP registers, C2.6, and fields of CSW.
CSW, TAR, DRW, BD0, CFG, BASE, IDR = 0x00, 0x04, 0x0C, 0x10, 0xF4, 0xF8, 0xFC
_SIZES = {0: 1, 1: 2, 2: 4}
_SINGLE, _PACKED = 1, 2
_CSW_BITS = 0x3F000037  # protection, increment, size
_CSW_FIXED = 1 << 6  # DeviceEn: transfers are possible
_PAGE = 0x400  # TAR increments within this


class DebugPort:
    """DP and AP; ``jtag`` tells how sticky flags are cleared: by writing ones to them."""

    def __init__(self, core: CoreDebug, *, jtag: bool = False) -> None:
        self.core, self._jtag = core, jtag
        self._dpidr = 0x5BA12477
        self._control = self._sticky = self._select = self._rdbuff = 0
        self._csw, self._tar = 0x03000002, 0

    @property
    def faulted(self) -> bool:
        """Whether STICKYERR is set: accesses to the AP are refused until it is cleared."""
        return bool(self._sticky & STICKYERR)

    def poll(self) -> None:
        """Lets a running core run for a slice."""
        self.core.poll()

    def hold_reset(self, asserted: bool) -> None:
        """The chip's reset line, nRESET; the debug port itself is not reset by it."""
        self.core.hold_reset(asserted)

    # Debug port.

    def read_dp(self, address: int) -> int:
        """``address`` is 0, 4, 8 or 12; the bank at 4 is that of SELECT."""
        if address == DPIDR:
            return self._dpidr
        if address == CTRL_STAT:
            # Of the other banks this port has only DLCR (TARGETID and the like need version 2).
            return 0 if self._select & 0xF else self._status()
        if address == RDBUFF:
            return self._rdbuff
        return self._select if self._jtag else 0

    def write_dp(self, address: int, value: int) -> None:
        """``address`` 0 is ABORT. See ``read_dp``."""
        if address == ABORT:
            for bit, flag in _CLEARS.items():
                if value & bit:
                    self._sticky &= ~flag
        elif address == CTRL_STAT and not self._select & 0xF:
            self._control = value & _KEPT
            if self._jtag:
                self._sticky &= ~(value & _STICKY)
        elif address == SELECT:
            self._select = value

    def _status(self) -> int:
        acknowledged = (self._control & _REQUESTS) << 1
        return self._control | acknowledged | self._sticky | 1 << 6  # READOK

    # Access port.

    def read_ap(self, address: int) -> int:
        """``address`` is 0, 4, 8 or 12, in the bank of SELECT; 0 when the access is refused."""
        value = self._read_ap(address) if self._usable() else 0
        self._rdbuff = value
        return value

    def write_ap(self, address: int, value: int) -> None:
        """See ``read_ap``."""
        if not self._usable():
            return
        register = self._ap_register(address)
        if register == CSW:
            self._write_csw(value)
        elif register == TAR:
            self._tar = value & 0xFFFFFFFF
        elif register == DRW:
            self._transfer(value)
        elif register is not None and BD0 <= register < BD0 + 16:
            self._bus_write((self._tar & ~0xF) + register - BD0, value, 4)

    def _usable(self) -> bool:
        """An access while the debug domain has no power, or after an error, is refused."""
        if not self._control & CDBGPWRUPREQ:
            self._sticky |= STICKYERR
        return not self._sticky & STICKYERR

    def _ap_register(self, address: int) -> int | None:
        """The register's number; none of an AP that does not exist."""
        return None if self._select >> 24 else (self._select & 0xF0) | (address & 0xC)

    def _read_ap(self, address: int) -> int:
        register = self._ap_register(address)
        if register is None:
            return 0
        if register == DRW:
            return self._transfer(None)
        if BD0 <= register < BD0 + 16:
            return self._bus_read((self._tar & ~0xF) + register - BD0, 4)
        profile = self.core.profile
        registers = {CSW: self._csw | _CSW_FIXED, TAR: self._tar, CFG: 0}
        registers |= {BASE: profile.rom_table | 3, IDR: profile.ap}
        return registers.get(register, 0)

    def _write_csw(self, value: int) -> None:
        """Sizes and increments that are not there read back as they were."""
        csw = value & _CSW_BITS
        if csw & 7 not in _SIZES:
            csw = (csw & ~7) | (self._csw & 7)
        if (csw >> 4) & 3 > _PACKED:
            csw = (csw & ~0x30) | (self._csw & 0x30)
        self._csw = csw

    def _transfer(self, value: int | None) -> int:
        """DRW: one access, or as many as fill a word. Data lies on the byte lanes of its address
        (C2.2.6)."""
        size, increment = _SIZES[self._csw & 7], (self._csw >> 4) & 3
        result = 0
        for _ in range(4 // size if increment == _PACKED else 1):
            lane = 8 * (self._tar & 3 & ~(size - 1))
            if value is None:
                result |= self._bus_read(self._tar, size) << lane
            else:
                self._bus_write(self._tar, value >> lane, size)
            if self._sticky & STICKYERR:
                return 0
            if increment:
                self._tar = (self._tar & ~(_PAGE - 1)) | ((self._tar + size) & (_PAGE - 1))
        return result

    def _bus_read(self, address: int, size_bytes: int) -> int:
        try:
            return self.core.read(address & ~(size_bytes - 1), size_bytes)
        except AccessFaultError:
            self._sticky |= STICKYERR
            return 0

    def _bus_write(self, address: int, value: int, size_bytes: int) -> None:
        try:
            self.core.write(address & ~(size_bytes - 1), value, size_bytes)
        except AccessFaultError:
            self._sticky |= STICKYERR
