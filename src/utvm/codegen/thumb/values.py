"""Integer expressions to instructions.

In: expressions of a prepared nest. Out: instructions in the builder and the register that holds the
value. A register holds every value as its type's sign or zero extension. Where a pattern of several
operations is one instruction (SMMLA, MLA, SSAT with a shift, shifted operands) it is taken.
"""

from __future__ import annotations

from collections.abc import Callable

from utvm.codegen.thumb.accesses import Fetch
from utvm.codegen.thumb.bounds import Bounds, bounds
from utvm.codegen.thumb.builder import Builder, constant_inst
from utvm.codegen.thumb.calls import CALLS, mulhi_long
from utvm.codegen.thumb.isa import CONDITIONS, INVERSE, UNSIGNED_CONDITIONS, is_modified_immediate
from utvm.codegen.thumb.machine import FLAGS, Inst, NotSelectableError
from utvm.ir.dtype import DType
from utvm.ir.loop import COMPARISONS, Binary, Call, Cast, Expr, Imm, Load, Select, Var

_EXTENSIONS = {
    DType.INT8: "sxtb",
    DType.UINT8: "uxtb",
    DType.INT16: "sxth",
    DType.UINT16: "uxth",
}
_FLEXIBLE = {"+": "add", "-": "sub", "&": "and", "|": "orr", "^": "eor"}
_SHIFTS = {"<<": "lsl", ">>": "asr"}


class Values:
    """Selects expressions. ``variable`` and ``fetch`` give the registers of variables and of
    accesses; ``registers`` those of register buffers by name; ``ranges`` what variables can be."""

    def __init__(
        self,
        builder: Builder,
        variable: Callable[[Var], int],
        fetch: Callable[[Fetch, int | None], int],
    ) -> None:
        self.builder = builder
        self.registers: dict[tuple[str, int], int] = {}
        self.ranges: dict[str, Bounds] = {}
        self._variable = variable
        self._fetch = fetch

    def element(self, load: Load) -> int:
        """The register of one element of a register buffer."""
        at = 0
        for extent, index in zip(load.buffer.shape, load.indices, strict=True):
            if not isinstance(index, Imm):
                raise NotSelectableError("an array of registers is indexed at run time")
            at = at * extent + int(index.value)
        key = (load.buffer.name, at)
        if key not in self.registers:
            stem = load.buffer.name.partition(".")[0]
            name = stem if load.buffer.elements == 1 else f"{stem}{at}"
            self.registers[key] = self.builder.new(name)
        return self.registers[key]

    def value(self, expr: Expr, dest: int | None = None) -> int:
        """The register with a value; ``dest`` if that is given."""
        if expr.dtype.is_float or expr.dtype.bits > 32:
            raise NotSelectableError(f"a value of type {expr.dtype.value}")
        match expr:
            case Imm(value):
                if dest is None:
                    return self.builder.constant(int(value))
                self.builder.add(constant_inst(dest, int(value)))
                return dest
            case Var():
                return self._moved(self._variable(expr), dest)
            case Load():
                return self._moved(self.element(expr), dest)
            case Fetch():
                return self._fetch(expr, dest)
            case Cast(dtype, value):
                return self._cast(dtype, value, dest)
            case Call(name, args):
                select = CALLS.get(name)
                if select is None:
                    raise NotSelectableError(f"the intrinsic {name}")
                return select(self, args, dest)
            case Select(condition, a, b):
                return self._select(condition, a, b, dest)
            case Binary():
                return self._binary(expr, dest)
        raise NotSelectableError(type(expr).__name__)

    def _moved(self, register: int, dest: int | None) -> int:
        if dest is None or dest == register:
            return register
        return self.builder.emit("mov", dest, register)

    def private(self, expr: Expr) -> int:
        """A register with the value that nobody else reads, so that it may be written."""
        before = self.builder.registers
        register = self.value(expr)
        if register > before and register not in self.builder.known.values():
            return register
        return self.builder.emit("mov", None, register)

    def _cast(self, dtype: DType, value: Expr, dest: int | None) -> int:
        if dtype is DType.BOOL and value.dtype is not DType.BOOL:
            return self.value(Binary("!=", value, Imm(0, value.dtype)), dest)
        low, high = bounds(value, self.ranges)
        if dtype not in _EXTENSIONS or (dtype.minimum <= low and high <= dtype.maximum):
            return self.value(value, dest)
        match value:
            case Binary(">>", word, Imm(value=int(first))) if 0 < first <= 32 - dtype.bits:
                name = "sbfx" if dtype.is_signed else "ubfx"
                imm = first | dtype.bits << 16
                return self.builder.emit(name, dest, self.value(word), imm=imm)
        return self.builder.emit(_EXTENSIONS[dtype], dest, self.value(value))

    def _binary(self, expr: Binary, dest: int | None) -> int:
        if expr.op in COMPARISONS:
            one, zero = Imm(1, DType.INT32), Imm(0, DType.INT32)
            return self._select(expr, one, zero, dest)
        if expr.op in ("min", "max"):
            return self._extreme(expr, dest)
        if expr.op in _SHIFTS:
            return self._shift(expr, dest)
        if expr.op == "*":
            return self._product(expr, dest)
        if expr.op not in _FLEXIBLE:
            raise NotSelectableError(f"the operator {expr.op}")
        return self._flexible(expr, dest)

    def _product(self, expr: Binary, dest: int | None) -> int:
        a, b = (expr.b, expr.a) if isinstance(expr.a, Imm) else (expr.a, expr.b)
        if isinstance(b, Imm) and int(b.value) > 0 and int(b.value) & (int(b.value) - 1) == 0:
            shift = int(b.value).bit_length() - 1
            return self.builder.emit("lsli", dest, self.value(a), imm=shift)
        return self.builder.emit("mul", dest, self.value(a), self.value(b))

    def _shift(self, expr: Binary, dest: int | None) -> int:
        match expr:
            case Binary("<<", Binary("&", inner, Imm(mask)), Imm(value=int(amount))) if (
                is_modified_immediate(int(mask) << amount)
            ):
                # The shift of what is left is that of an operand, under a mask that is shifted.
                shifted = self.builder.constant(_signed(int(mask) << amount))
                uses = shifted, self.value(_as_word(inner))
                return self.builder.emit("and", dest, *uses, shift=("lsl", amount))
        name = _shift_name(expr)
        a = self.value(expr.a)
        if isinstance(expr.b, Imm):
            if int(expr.b.value) == 0:
                return self._moved(a, dest)
            return self.builder.emit(f"{name}i", dest, a, imm=int(expr.b.value))
        return self.builder.emit(name, dest, a, self.value(expr.b))

    def _flexible(self, expr: Binary, dest: int | None) -> int:
        """Sums and bitwise operations, with an immediate, a product or a shifted operand."""
        op, a, b = expr.op, expr.a, expr.b
        if op != "-" and (isinstance(a, Imm) or (_shift_of(a) and not _shift_of(b))):
            a, b = b, a
        if op in "+-":
            fused = self._fused(op, a, b, dest)
            if fused is not None:
                return fused
        if isinstance(b, Imm):
            immediate = self._immediate(op, a, int(b.value), dest)
            if immediate is not None:
                return immediate
        if op == "-" and isinstance(a, Imm) and is_modified_immediate(int(a.value)):
            return self.builder.emit("rsbi", dest, self.value(b), imm=int(a.value) & 0xFFFFFFFF)
        if op == "-" and _shift_of(a) and not _shift_of(b):
            amount, inner = _shift_parts(a)
            return self.builder.emit("rsb", dest, self.value(b), self.value(inner), shift=amount)
        name = _FLEXIBLE[op]
        first = self.value(a)
        if _shift_of(b):
            amount, inner = _shift_parts(b)
            return self.builder.emit(name, dest, first, self.value(inner), shift=amount)
        return self.builder.emit(name, dest, first, self.value(b))

    def _fused(self, op: str, a: Expr, b: Expr, dest: int | None) -> int | None:
        """A product or high product and a sum in one instruction."""
        dsp = self.builder.target.has("dsp")
        if op == "-" and isinstance(b, Imm) and not is_modified_immediate(abs(int(b.value))):
            # The literal takes a register anyway: that of a sum.
            op, b = "+", Imm(-int(b.value), b.dtype)
        pairs = ((a, b),) if op == "-" else ((a, b), (b, a))
        for acc, product in pairs:
            match product:
                case Call("mulhi", (x, y)) if op == "+" and dsp:
                    uses = self.value(x), self.value(y), self.value(acc)
                    return self.builder.emit("smmla", dest, *uses)
                case Call("mulhi_long", args) if op == "+":
                    return mulhi_long(self, args, acc, dest)
                case Binary("*", x, y) if not (_is_power(x) or _is_power(y)):
                    uses = self.value(x), self.value(y), self.value(acc)
                    return self.builder.emit("mla" if op == "+" else "mls", dest, *uses)
        return None

    def _immediate(self, op: str, a: Expr, value: int, dest: int | None) -> int | None:
        """``a op value`` where the instruction has room for the value."""
        if op in "+-":
            value = -value if op == "-" else value
            if value == 0:
                return self.value(a, dest)
            if abs(value) < 4096 or is_modified_immediate(abs(value)):
                name = "addi" if value > 0 else "subi"
                return self.builder.emit(name, dest, self.value(a), imm=abs(value))
            return None
        if op == "&" and value in (0xFF, 0xFFFF):
            name = "uxtb" if value == 0xFF else "uxth"
            return self.builder.emit(name, dest, self.value(a))
        if not is_modified_immediate(value):
            return None
        return self.builder.emit(f"{_FLEXIBLE[op]}i", dest, self.value(a), imm=value & 0xFFFFFFFF)

    def _extreme(self, expr: Binary, dest: int | None) -> int:
        """A minimum or maximum: SSAT or USAT where the pair is such a range, else compare and
        move."""
        limits = _limits(expr)
        if limits is not None and expr.dtype.is_signed:
            value, low, high = limits
            bits = (high + 1).bit_length() - 1
            power = high >= 0 and high + 1 == 1 << bits
            if power and low == -high - 1:
                return self._saturated("ssat", bits + 1, value, dest)
            if power and low == 0 and bits > 0:
                return self._saturated("usat", bits, value, dest)
            if power and -high - 1 < low <= high:
                result = self._saturated("ssat", bits + 1, value, None)
                self._replace_where(result, CONDITIONS[">"], Imm(low, expr.dtype))
                return self._moved(result, dest)
            if low < 0 and low & -low == -low and low <= high < -low - 1:
                result = self._saturated("ssat", (-low).bit_length(), value, None)
                self._replace_where(result, CONDITIONS["<"], Imm(high, expr.dtype))
                return self._moved(result, dest)
        a, b = (expr.b, expr.a) if isinstance(expr.a, Imm) else (expr.a, expr.b)
        result = self.private(a)
        cond = "<" if expr.op == "min" else ">"
        table = CONDITIONS if expr.dtype.is_signed else UNSIGNED_CONDITIONS
        self._replace_where(result, table[cond], b)
        return self._moved(result, dest)

    def _replace_where(self, result: int, cond: str, other: Expr) -> None:
        """``result = other`` where ``other cond result``."""
        flipped = {"lt": "gt", "gt": "lt", "lo": "hi", "hi": "lo"}[cond]
        if isinstance(other, Imm) and is_modified_immediate(int(other.value)):
            word = int(other.value) & 0xFFFFFFFF
            self.builder.add(Inst("cmpi", (FLAGS,), (result,), imm=word))
            uses: tuple[int, ...] = (result, FLAGS)
            self.builder.add(Inst("movci", (result,), uses, imm=word, cond=flipped))
            return
        register = self.value(other)
        self.builder.add(Inst("cmp", (FLAGS,), (result, register)))
        self.builder.add(Inst("movc", (result,), (result, register, FLAGS), cond=flipped))

    def _saturated(self, op: str, bits: int, value: Expr, dest: int | None) -> int:
        self.builder.require("thumb2")
        if _shift_of(value):
            amount, inner = _shift_parts(value)
            return self.builder.emit(op, dest, self.value(inner), imm=bits, shift=amount)
        return self.builder.emit(op, dest, self.value(value), imm=bits)

    def _select(self, condition: Expr, a: Expr, b: Expr, dest: int | None) -> int:
        """Both sides are computed: nothing that can be selected here traps or has effects, but a
        load may lie outside of its buffer, so none is moved out of its side."""
        if any(map(_loads, (a, b))):
            raise NotSelectableError("a load that is made only sometimes")
        first = self.value(a) if not isinstance(a, Imm) else None
        result = self.value(b, self.builder.new())
        cond = self.compare(condition)
        if first is None:
            assert isinstance(a, Imm)
            word = int(a.value) & 0xFFFFFFFF
            if is_modified_immediate(word):
                self.builder.add(Inst("movci", (result,), (result, FLAGS), imm=word, cond=cond))
                return self._moved(result, dest)
            first = self.builder.constant(word)
        self.builder.add(Inst("movc", (result,), (result, first, FLAGS), cond=cond))
        return self._moved(result, dest)

    def compare(self, condition: Expr) -> str:
        """Sets the flags; the condition under which ``condition`` holds."""
        match condition:
            case Binary(op, a, b) if op in CONDITIONS:
                table = CONDITIONS if a.dtype.is_signed else UNSIGNED_CONDITIONS
                first = self.value(a)
                if isinstance(b, Imm) and is_modified_immediate(int(b.value)):
                    word = int(b.value) & 0xFFFFFFFF
                    self.builder.add(Inst("cmpi", (FLAGS,), (first,), imm=word))
                else:
                    self.builder.add(Inst("cmp", (FLAGS,), (first, self.value(b))))
                return table[op]
        register = self.value(condition)
        self.builder.add(Inst("cmpi", (FLAGS,), (register,), imm=0))
        return "ne"


def inverse(cond: str) -> str:
    """The condition that holds where ``cond`` does not."""
    return INVERSE[cond]


def _is_power(expr: Expr) -> bool:
    return isinstance(expr, Imm) and int(expr.value) > 0 and expr.value & (expr.value - 1) == 0  # type: ignore[operator]


def _loads(expr: Expr) -> bool:
    match expr:
        case Fetch():
            return True
        case Binary(_, a, b):
            return _loads(a) or _loads(b)
        case Cast(_, value):
            return _loads(value)
        case Select(c, a, b):
            return _loads(c) or _loads(a) or _loads(b)
        case Call(_, args):
            return any(map(_loads, args))
    return False


def _signed(word: int) -> int:
    """32 bits as int32."""
    return word - (1 << 32) if word >> 31 else word


def _shift_name(expr: Binary) -> str:
    return "lsl" if expr.op == "<<" else "asr" if expr.dtype.is_signed else "lsr"


def _as_word(expr: Expr) -> Expr:
    """What a cast that changes no bit of a word is made of."""
    match expr:
        case Cast(dtype, value) if value.dtype.is_integer and dtype.bits == value.dtype.bits == 32:
            return _as_word(value)
    return expr


def _shift_of(expr: Expr) -> bool:
    """Whether an expression is a shift by a literal that a second operand can take."""
    match _as_word(expr):
        case Binary("<<" | ">>", _, Imm(value=int(amount))):
            return 1 <= amount <= 31
        case Binary("*", _, Imm() as factor):
            return _is_power(factor) and factor.value > 1
    return False


def _shift_parts(expr: Expr) -> tuple[tuple[str, int], Expr]:
    expr = _as_word(expr)
    assert isinstance(expr, Binary) and isinstance(expr.b, Imm)
    if expr.op == "*":
        return ("lsl", int(expr.b.value).bit_length() - 1), expr.a
    return (_shift_name(expr), int(expr.b.value)), expr.a


def _limits(expr: Binary) -> tuple[Expr, int, int] | None:
    """``min(max(x, low), high)`` or the other way round, as x, low, high."""
    match expr:
        case Binary("min", Binary("max", x, Imm(low)), Imm(high)):
            return x, int(low), int(high)
        case Binary("max", Binary("min", x, Imm(high)), Imm(low)) if low <= high:
            return x, int(low), int(high)
    return None
