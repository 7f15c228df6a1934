"""The core's own registers in the emulator: identity, vectors, faults, reset, and two counters.

In: reads and writes of words at the addresses of the system control space (0xE000E000) and of the
DWT (0xE0001000), and the modelled cycles so far. Out: values, and whether a reset was asked for.
Numbers and reset values are those of the Armv7-M manual (Arm DDI 0403, B3.2 and C1.8). What is not
named here is a word that keeps what is written to it. Of interrupts there is SysTick's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

SYSTEM_BASE, SYSTEM_BYTES = 0xE000E000, 0x1000
DWT_BASE, DWT_BYTES = 0xE0001000, 0x1000

# Offsets from SYSTEM_BASE.
_SYSTICK_CONTROL, _SYSTICK_RELOAD, _SYSTICK_VALUE = 0x010, 0x014, 0x018
CPUID, ICSR, VTOR, AIRCR = 0xD00, 0xD04, 0xD08, 0xD0C
SHCSR, CFSR, HFSR, MMFAR, BFAR, CPACR, DEMCR = 0xD24, 0xD28, 0xD2C, 0xD34, 0xD38, 0xD88, 0xDFC
# Offsets from DWT_BASE.
_DWT_CONTROL, _DWT_CYCLES = 0x000, 0x004

_RESET_KEY, _RESET_BITS = 0x05FA, 0x5  # SYSRESETREQ, VECTRESET
_RELOAD_MASK = (1 << 24) - 1
_COUNTED_TO_ZERO = 1 << 16
_TICKS = 3  # on, with its exception
_TRACE_ENABLED = 1 << 24
_FULL_ACCESS = 0xF << 20

_IDENTITY = {
    "cortex-m0plus": 0x410CC601,
    "cortex-m3": 0x412FC231,
    "cortex-m4": 0x410FC241,
    "cortex-m7": 0x410FC271,
    "cortex-m33": 0x410FD213,
}
WITHOUT_DWT_CYCLES = ("cortex-m0plus",)


@dataclass
class SystemRegisters:
    """The registers of one core; ``cycles`` tells the modelled cycles since reset."""

    cpu: str
    cycles: Callable[[], int]
    vectors: int  # what VTOR is after reset
    on_reset_request: Callable[[], None]
    on_tick: Callable[[int | None], None]  # told when SysTick's exception is due, None: never
    words: dict[int, int] = field(default_factory=dict)
    reset_requested: bool = False
    _systick_zero: int = 0  # when SysTick was last written, or its reload value
    _systick_taken: int = 0  # how many of its exceptions were taken since then
    _systick_seen: int = 0  # how often it had counted to zero when its flag was last read
    _dwt_base: int = 0  # what is added to the cycles
    _dwt_control: int = 0

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """All as after a reset of the core; the trace unit keeps what it has."""
        self.words = {
            CPUID: _IDENTITY[self.cpu],
            VTOR: self.vectors,
            AIRCR: 0xFA050000,
            DEMCR: self.words.get(DEMCR, 0),
        }
        self.reset_requested = False
        self._restart_systick()

    @property
    def float_unit_is_on(self) -> bool:
        """Whether the program gave itself full access to coprocessors 10 and 11."""
        return self.words.get(CPACR, 0) & _FULL_ACCESS == _FULL_ACCESS

    def read(self, offset: int) -> int:
        """The word at ``offset`` of the system control space, read by the core."""
        if offset == _SYSTICK_VALUE:
            return self._systick()
        if offset == _SYSTICK_CONTROL:
            turns = self._systick_turns()
            flag = _COUNTED_TO_ZERO if turns > self._systick_seen else 0
            self._systick_seen = turns
            return self.words.get(offset, 0) | flag
        return self.words.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """See ``read``."""
        if offset == CPUID:
            return
        if offset in (CFSR, HFSR):  # bits are cleared by ones
            self.words[offset] = self.words.get(offset, 0) & ~value
        elif offset == AIRCR:
            if value >> 16 == _RESET_KEY and value & _RESET_BITS:
                self.reset_requested = True
                self.on_reset_request()
        elif offset == _SYSTICK_VALUE:
            self._restart_systick()
        elif offset == _SYSTICK_CONTROL:
            self._set_systick_control(value & 0x7)
        elif offset == _SYSTICK_RELOAD:
            self.words[offset] = value & _RELOAD_MASK
            self.on_tick(self.next_tick())
        elif offset == DEMCR:
            self._keep_dwt(lambda: self.words.update({DEMCR: value}))
        else:
            self.words[offset] = value

    def read_dwt(self, offset: int) -> int:
        """The word at ``offset`` of the DWT; its counter stands still unless it is switched on."""
        if offset == _DWT_CONTROL:
            return 0x40000000 | self._dwt_control
        if offset == _DWT_CYCLES:
            return (self._dwt_base + (self.cycles() if self._dwt_runs else 0)) & 0xFFFFFFFF
        return 0

    def write_dwt(self, offset: int, value: int) -> None:
        """See ``read_dwt``."""
        if offset == _DWT_CONTROL:
            self._keep_dwt(lambda: self._set_dwt_control(value))
        elif offset == _DWT_CYCLES:
            self._dwt_base = value - (self.cycles() if self._dwt_runs else 0)

    @property
    def _dwt_runs(self) -> bool:
        return bool(self.words.get(DEMCR, 0) & _TRACE_ENABLED and self._dwt_control & 1)

    def _set_dwt_control(self, value: int) -> None:
        self._dwt_control = value & 1

    def _keep_dwt(self, change: Callable[[], None]) -> None:
        """Changes what decides whether the counter runs, but not what it shows."""
        shown = self.read_dwt(_DWT_CYCLES)
        change()
        self.write_dwt(_DWT_CYCLES, shown)

    def next_tick(self) -> int | None:
        """The cycle at which SysTick's next exception is due; it may be in the past."""
        if self.words.get(_SYSTICK_CONTROL, 0) & _TICKS != _TICKS:
            return None
        period = self.words.get(_SYSTICK_RELOAD, 0) + 1
        return self._systick_zero + (self._systick_taken + 1) * period if period > 1 else None

    def take_tick(self) -> None:
        """SysTick's exception is taken: once for all that are due."""
        self._systick_taken = self._systick_turns()
        self.on_tick(self.next_tick())

    def _set_systick_control(self, value: int) -> None:
        """Switching the counter on starts it at zero."""
        if value & 1 and not self.words.get(_SYSTICK_CONTROL, 0) & 1:
            self._restart_systick()
        self.words[_SYSTICK_CONTROL] = value
        self.on_tick(self.next_tick())

    def _restart_systick(self) -> None:
        self._systick_zero, self._systick_seen, self._systick_taken = self.cycles(), 0, 0
        self.on_tick(self.next_tick())

    def _elapsed(self) -> int:
        enabled = self.words.get(_SYSTICK_CONTROL, 0) & 1
        return self.cycles() - self._systick_zero if enabled else 0

    def _systick(self) -> int:
        """Zero when it was written, the reload value one cycle later, then down to zero."""
        period = self.words.get(_SYSTICK_RELOAD, 0) + 1
        elapsed = self._elapsed()
        return period - 1 - (elapsed - 1) % period if elapsed and period > 1 else 0

    def _systick_turns(self) -> int:
        return self._elapsed() // (self.words.get(_SYSTICK_RELOAD, 0) + 1)
