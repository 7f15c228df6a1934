"""Thumb instructions as the cycle models see them: what kind, which registers, when needed.

In: the bytes of a basic block. Out: a tuple of ``Instruction``. The text that capstone prints is
parsed, since that is quick and can be read beside a listing; each distinct text is parsed once.
Registers are numbers: 0 to 15 the core's, 16 to 47 the single floats s0 to s31 (d0 is s0 and s1).
Flags are left out: no timing rule of ours needs them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from capstone import CS_ARCH_ARM, CS_MODE_MCLASS, CS_MODE_THUMB, CS_MODE_V8, Cs

SP, LR, PC = 13, 14, 15


class Kind(Enum):
    """What the timing rules tell apart."""

    ALU = "alu"
    SIMPLE = "simple alu"  # add, sub, move, shift without a shifted operand
    BITS = "bit field, reversal"  # sources are shifted: needed early
    EXTEND = "extend, pack, parallel add"
    SATURATE = "saturate, saturating add"
    MULTIPLY = "multiply, multiply-accumulate"
    DIVIDE = "divide"
    LOAD = "load of a word"
    LOAD_NARROW = "load of a byte or halfword"
    STORE = "store"
    MULTIPLE = "several words loaded or stored"
    BRANCH = "branch"
    TABLE_BRANCH = "table branch"
    FPU = "floating point"
    FPU_MAC = "floating-point multiply-accumulate"
    FPU_DIVIDE = "floating-point divide, square root"
    FPU_PAIR = "two-register float move"
    BARRIER = "barrier"
    SYSTEM = "system register access"
    OTHER = "if-then, no-operation, breakpoint"


@dataclass(frozen=True, eq=False)
class Instruction:
    """One decoded instruction. Instances of the same text are the same object."""

    mnemonic: str  # without width, condition and flag suffix
    text: str
    size: int
    kind: Kind
    results: tuple[int, ...] = ()
    base_update: int | None = None  # the base register that the access writes back
    address: tuple[int, ...] = ()  # registers that form an address or a branch target
    sources: tuple[int, ...] = ()  # operands of the ALU, the multiplier, the FPU
    shifted: tuple[int, ...] = ()  # operands that pass the shifter first
    accumulator: tuple[int, ...] = ()
    data: tuple[int, ...] = ()  # registers stored
    words: int = 0  # moved between memory and registers
    is_store: bool = False
    register_offset: bool = False
    bank: tuple[int, int] | None = None  # base register and known offset of a single access
    conditional: bool = False  # a branch that may fall through
    stack: int | None = 0  # change of the stack pointer; None when only running tells

    @property
    def writes_pc(self) -> bool:
        """Whether it leaves the straight line (perhaps conditionally)."""
        return self.kind in (Kind.BRANCH, Kind.TABLE_BRANCH) or PC in self.results

    @property
    def is_call(self) -> bool:
        return self.mnemonic in ("bl", "blx")


_DISASSEMBLER = Cs(CS_ARCH_ARM, CS_MODE_THUMB | CS_MODE_MCLASS | CS_MODE_V8)

_CONDITIONS = ("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le")
_INVERSE = {name: _CONDITIONS[at ^ 1] for at, name in enumerate(_CONDITIONS)}
_REGISTERS = {f"r{n}": n for n in range(16)} | {f"s{n}": 16 + n for n in range(32)}
_REGISTERS |= {"sb": 9, "sl": 10, "fp": 11, "ip": 12, "sp": SP, "lr": LR, "pc": PC}

_MOVES = {"mov", "mvn", "movw", "adr", "neg", "rrx"}
_UNARY = _MOVES | {"sxtb", "sxth", "uxtb", "uxth", "sxtb16", "uxtb16", "rev", "rev16", "revsh"}
_UNARY |= {"rbit", "clz", "mrs"}
_COMPARES = {"cmp", "cmn", "tst", "teq"}
_SIMPLE = {"add", "sub", "addw", "subw", "mov", "movw", "adr", "lsl", "lsr", "asr", "ror"}
_BITS = {"ubfx", "sbfx", "rev", "rev16", "revsh", "rbit"}
_LONG_RESULT = {"umull", "smull", "umlal", "smlal", "umaal"}
_LONG_RESULT |= {"smlald", "smlaldx", "smlsld", "smlsldx", "smlalbb", "smlalbt", "smlaltb"}
_LONG_RESULT |= {"smlaltt"}
_BARRIERS = {"dmb", "dsb", "isb", "ssbb", "pssbb"}
_OTHERS = {"nop", "it", "bkpt", "udf", "svc", "cps", "cpsie", "cpsid", "yield", "wfe", "wfi"}
_OTHERS |= {"sev", "hint", "csdb", "clrex", "dbg", "pld", "pldw", "pli", "sg", "esb"}
_FLAG_SETTERS = {"add", "sub", "mov", "mvn", "lsl", "lsr", "asr", "ror", "and", "orr", "eor"}
_FLAG_SETTERS |= {"bic", "orn", "adc", "sbc", "rsb", "mul", "mla", "neg", "rrx"}
_FLAG_SETTERS |= {"umull", "smull", "umlal", "smlal"}
_MAC = re.compile(r"s?ml[as]|smml[as]r?|smla\w+|smls\w+|umlal|umaal|usada8")
_MULTIPLY = re.compile(r"mul|smul\w+|smmulr?|smu[as]dx?|[us]mull|usad8")
_SATURATE = re.compile(r"[us]sat(16)?|qd?(add|sub)|u?q(add|sub)(8|16)|u?q(asx|sax)")
_PARALLEL = re.compile(r"[us]h?(add|sub)(8|16)|[us]h?(asx|sax)|sel|pkh(bt|tb)")
_EXTEND = re.compile(r"[su]xt(a?[bh]|a?b16)")
_FPU_MAC = re.compile(r"vf?n?m[al]s?a?|vn?ml[as]|vfn?m[as]")
_MEMORY = re.compile(r"\[([^\]]*)\](!)?(?:, (.*))?$")
_NARROW = re.compile(r"ldr(ex)?(s?[bh])t?|lda(ex)?[bh]|ldrex[bh]")


def decode_block(
    code: bytes, address: int, conditions: Sequence[str] = ()
) -> tuple[Instruction, ...]:
    """The instructions of ``code``. Bytes that capstone does not know count as well.

    ``conditions`` are those of an if-then group that began before it, last first.
    """
    decoded: list[Instruction] = []
    pending = list(conditions)
    at = 0
    while at < len(code):
        for _, size, name, operands in _DISASSEMBLER.disasm_lite(code[at:], address + at):
            decoded.append(_parse(name, operands, size, pending.pop() if pending else ""))
            if decoded[-1].mnemonic == "it":
                pending = _conditions(name, operands)
            at += size
        if at < len(code):
            size = min(_width(code[at:]), len(code) - at)
            decoded.append(Instruction("unknown", code[at : at + size].hex(), size, Kind.OTHER))
            at += size
    return tuple(decoded)


def conditions_behind(
    instructions: Sequence[Instruction], conditions: Sequence[str] = ()
) -> tuple[str, ...]:
    """What an if-then group that goes on behind ``instructions`` asks of the next ones."""
    pending = list(conditions)
    for instruction in instructions:
        if instruction.mnemonic == "it":
            pending = _conditions(*instruction.text.split())
        elif pending:
            pending.pop()
    return tuple(pending)


def _conditions(name: str, first: str) -> list[str]:
    """The conditions that ``ittee ne`` and the like give to what follows, last first."""
    marks = reversed(name[1:])
    return [first if mark == "t" else _INVERSE.get(first, "") for mark in marks]


def _width(code: bytes) -> int:
    """Bytes of the Thumb instruction at the start of ``code``, known or not."""
    return 4 if len(code) > 1 and code[1] >= 0xE8 else 2


@lru_cache(maxsize=1 << 16)
def _parse(name: str, operands: str, size: int, condition: str) -> Instruction:
    stem, _, suffix = name.partition(".")
    if condition and stem.endswith(condition) and stem != condition:
        stem = stem[: -len(condition)]
    conditional = bool(condition)
    if stem[:1] == "b" and stem[1:] in _CONDITIONS:
        stem, conditional = "b", True
    elif stem in ("cbz", "cbnz"):
        conditional = True
    elif stem[:2] == "it" and not stem[2:].strip("te"):
        stem = "it"
    elif stem.endswith("s") and stem[:-1] in _FLAG_SETTERS:
        stem = stem[:-1]
    text = f"{name} {operands}".strip()
    fields: dict[str, object] = _fields(stem, suffix, operands)
    fields.setdefault("stack", _stack_change(stem, operands, fields))
    return Instruction(
        mnemonic=stem,
        text=text,
        size=size,
        conditional=conditional,
        **fields,  # type: ignore[arg-type]
    )


def _fields(stem: str, suffix: str, operands: str) -> dict[str, object]:
    if stem in _OTHERS:
        return {"kind": Kind.OTHER}
    if stem in _BARRIERS:
        return {"kind": Kind.BARRIER}
    if stem in ("tbb", "tbh"):
        return {"kind": Kind.TABLE_BRANCH, "address": _registers(operands)}
    if stem in ("b", "bl", "bx", "blx", "bxns", "blxns", "cbz", "cbnz"):
        registers = _registers(operands.split(",")[0])
        if stem in ("cbz", "cbnz"):
            return {"kind": Kind.BRANCH, "sources": registers}
        return {
            "kind": Kind.BRANCH,
            "address": registers,
            "results": (LR,) if stem.startswith("bl") else (),
        }
    if "{" in operands:
        return _register_list(stem, operands)
    if "[" in operands:
        return _memory(stem, operands)
    if stem.startswith("v"):
        return _float(stem, operands)
    return _data_processing(stem, operands)


def _registers(text: str) -> tuple[int, ...]:
    """Every register named in ``text``, in order; a double counts as its two singles."""
    found: list[int] = []
    for word in re.findall(r"[a-z]+\d*", text):
        if word in _REGISTERS:
            found.append(_REGISTERS[word])
        elif word[0] == "d" and word[1:].isdigit():
            found += (16 + 2 * int(word[1:]), 17 + 2 * int(word[1:]))
    return tuple(found)


def _register_list(stem: str, operands: str) -> dict[str, object]:
    """push, pop, ldm, stm and their float kin."""
    before, _, rest = operands.partition("{")
    listed = _registers(rest)
    base = _registers(before) or (SP,)
    is_store = "st" in stem or "push" in stem
    updates = "!" in before or not before.strip()
    return {
        "kind": Kind.MULTIPLE,
        "address": base,
        "base_update": base[0] if updates else None,
        "results": () if is_store else listed,
        "data": listed if is_store else (),
        "words": len(listed),
        "is_store": is_store,
    }


def _memory(stem: str, operands: str) -> dict[str, object]:
    """Single and double accesses with an address in brackets."""
    match = _MEMORY.search(operands)
    inside, bang, after = match.groups() if match else ("", None, None)
    before = operands[: match.start()] if match else operands
    address, moved = _registers(inside), _registers(before)
    base = address[0] if address else PC
    is_store = stem.startswith(("st", "vst"))
    offset = re.search(r"#(-?(?:0x)?[0-9a-f]+)", inside)
    words = len(moved) if stem.startswith(("ldrd", "strd", "v")) else 1
    kind = Kind.STORE if is_store else Kind.LOAD
    if words > 1:
        kind = Kind.MULTIPLE
    elif _NARROW.fullmatch(stem):
        kind = Kind.LOAD_NARROW
    status: tuple[int, ...] = ()
    if stem.startswith(("strex", "stlex")):
        status, moved = moved[:1], moved[1:]
    return {
        "kind": kind,
        "address": address + _registers(after or ""),
        "base_update": base if bang or after else None,
        "results": status if is_store else moved,
        "data": moved if is_store else (),
        "words": words,
        "is_store": is_store,
        "register_offset": len(address) > 1,
        "bank": None if len(address) > 1 else (base, int(offset[1], 0) if offset else 0),
    }


def _float(stem: str, operands: str) -> dict[str, object]:
    parts = [_registers(part) for part in operands.split(",")]
    named = [part for part in parts if part]
    if stem in ("vdiv", "vsqrt"):
        kind = Kind.FPU_DIVIDE
    elif _FPU_MAC.fullmatch(stem):
        kind = Kind.FPU_MAC
    else:
        kind = Kind.FPU
    if stem == "vmov" and len(named) >= 3:
        return _float_pair(named)
    if stem in ("vcmp", "vcmpe", "vmsr"):
        return {"kind": kind, "sources": _registers(operands)}
    results = named[0] if named else ()
    fields: dict[str, object] = {
        "kind": kind,
        "results": results,
        "sources": tuple(r for part in named[1:] for r in part),
    }
    if kind is Kind.FPU_MAC:
        fields["accumulator"] = results
    return fields


def _float_pair(named: list[tuple[int, ...]]) -> dict[str, object]:
    """vmov between two core registers and two singles or a double, either way."""
    flat = tuple(register for part in named for register in part)
    return {"kind": Kind.FPU_PAIR, "results": flat[:2], "sources": flat[2:]}


def _data_processing(stem: str, operands: str) -> dict[str, object]:
    parts = operands.split(", ")
    named = [_registers(part) for part in parts if not part.startswith(_SHIFTS)]
    flat = [part[0] for part in named if part]
    if stem in ("mrs", "msr"):
        return {"kind": Kind.SYSTEM, "results": tuple(flat[:1]) if stem == "mrs" else ()}
    shift = parts[-1] if parts[-1].startswith(_SHIFTS) else ""
    kind = _data_kind(stem, bool(shift))
    split = 0 if stem in _COMPARES else 2 if stem in _LONG_RESULT else 1
    results, sources = tuple(flat[:split]), flat[split:]
    if split == 1:
        # "adds r0, #1" and "ands r0, r1" read their result register too.
        reads_result = len(named) == 2 and stem not in _UNARY and not _EXTEND.fullmatch(stem)
        if reads_result or stem in ("bfi", "bfc", "movt"):
            sources = flat
    fields: dict[str, object] = {"kind": kind, "results": results}
    if kind is Kind.MULTIPLY and _MAC.fullmatch(stem):
        long = stem in _LONG_RESULT
        fields["accumulator"] = results if long else tuple(sources[2:])
        sources = sources if long else sources[:2]
    shifts_last = bool(shift) and not (stem in _UNARY and kind is Kind.EXTEND)
    adds_extended = bool(re.fullmatch(r"[su]xta(b|h|b16)|pkh(bt|tb)", stem))
    if kind in (Kind.BITS, Kind.SATURATE) and (kind is Kind.BITS or "sat" in stem):
        fields["shifted"], sources = tuple(sources), []
    elif (shifts_last or adds_extended) and sources:
        # The register that names the shift amount counts as shifted too.
        fields["shifted"], sources = (sources[-1], *_registers(shift)), sources[:-1]
    fields["sources"] = tuple(sources)
    return fields


_SHIFTS = ("lsl", "lsr", "asr", "ror", "rrx")


def _data_kind(stem: str, shifted: bool) -> Kind:
    if stem in ("sdiv", "udiv"):
        return Kind.DIVIDE
    if _MAC.fullmatch(stem) or _MULTIPLY.fullmatch(stem):
        return Kind.MULTIPLY
    if _SATURATE.fullmatch(stem):
        return Kind.SATURATE
    if _PARALLEL.fullmatch(stem) or _EXTEND.fullmatch(stem):
        return Kind.EXTEND
    if stem in _BITS:
        return Kind.BITS
    return Kind.SIMPLE if stem in _SIMPLE and not shifted else Kind.ALU


def _stack_change(stem: str, operands: str, fields: dict[str, object]) -> int | None:
    """How the instruction moves the stack pointer, in bytes; None when it is not written in it."""
    results = fields.get("results", ())
    assert isinstance(results, tuple)
    if fields.get("base_update") == SP and SP not in results:
        words = fields["words"]
        assert isinstance(words, int)
        if fields["kind"] is Kind.MULTIPLE and "[" not in operands:
            return -4 * words if fields["is_store"] else 4 * words
        amount = re.search(r"#(-?(?:0x)?[0-9a-f]+)", operands)
        return int(amount[1], 0) if amount else None
    if SP not in results:
        return 0
    amount = re.fullmatch(r"sp, (?:sp, )?#((?:0x)?[0-9a-f]+)", operands)
    if amount and stem in ("add", "addw", "sub", "subw"):
        return int(amount[1], 0) if stem.startswith("add") else -int(amount[1], 0)
    return None
