"""Fault registers in words: every bit by its name in Arm's manual, the kind, the address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utvm.device.cortex_m_faults import decode_faults

# Armv7-M Architecture Reference Manual (DDI 0403E), B3.2.15; STKOF from Armv8-M (DDI 0553).
CFSR_BITS = {
    "memory management fault": {
        **{0: "IACCVIOL", 1: "DACCVIOL", 3: "MUNSTKERR", 4: "MSTKERR", 5: "MLSPERR"},
    },
    "bus fault": {
        **{8: "IBUSERR", 9: "PRECISERR", 10: "IMPRECISERR", 11: "UNSTKERR", 12: "STKERR"},
        13: "LSPERR",
    },
    "usage fault": {
        **{16: "UNDEFINSTR", 17: "INVSTATE", 18: "INVPC", 19: "NOCP", 20: "STKOF"},
        **{24: "UNALIGNED", 25: "DIVBYZERO"},
    },
}
BITS = [(kind, bit, name) for kind, names in CFSR_BITS.items() for bit, name in names.items()]
FORCED = 1 << 30
U32 = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(("kind", "bit", "name"), BITS)
def test_every_bit_has_its_name(kind: str, bit: int, name: str) -> None:
    cause = decode_faults(3, 1 << bit, FORCED)
    assert cause.kind == kind
    assert len(cause.causes) == 1
    assert cause.causes[0].endswith(f"({name})")
    assert cause.address is None


@pytest.mark.parametrize(("bit", "name"), [(1, "VECTTBL"), (31, "DEBUGEVT")])
def test_hard_faults_of_their_own(bit: int, name: str) -> None:
    cause = decode_faults(3, 0, 1 << bit)
    assert (cause.kind, cause.causes[0].endswith(f"({name})")) == ("hard fault", True)


def test_addresses_count_when_they_are_valid() -> None:
    assert decode_faults(3, 1 << 9 | 1 << 15, FORCED, 0x11, 0x22).address == 0x22
    assert decode_faults(3, 1 << 1 | 1 << 7, FORCED, 0x11, 0x22).address == 0x11
    assert decode_faults(3, 1 << 9 | 1 << 1, FORCED, 0x11, 0x22).address is None


@pytest.mark.parametrize(
    ("exception", "kind"),
    [(2, "NMI"), (3, "hard fault"), (15, "SysTick"), (9, "exception 9"), (21, "interrupt 5")],
)
def test_without_bits_the_exception_names_the_kind(exception: int, kind: str) -> None:
    cause = decode_faults(exception, 0, 0)
    assert (cause.kind, cause.causes, cause.address) == (kind, (), None)


@given(U32, U32, U32, U32, U32)
def test_any_values_are_accepted(exc: int, cfsr: int, hfsr: int, mmfar: int, bfar: int) -> None:
    cause = decode_faults(exc, cfsr, hfsr, mmfar, bfar)
    assert cause.kind
    known = sum(cfsr >> bit & 1 for _, bit, _ in BITS) + (hfsr >> 1 & 1) + (hfsr >> 31 & 1)
    assert len(cause.causes) == known
