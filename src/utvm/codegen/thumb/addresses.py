"""Addresses while instructions are selected: where every walking pointer stands, and the rest.

A walker's register is the buffer's address plus its current form. An access needs a constant beyond
the form: its immediate, if it fits, else the pointer moves there. Accesses without a walker compute
base plus offset where they stand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from utvm.codegen.thumb.accesses import Access, Fetch, Nest
from utvm.codegen.thumb.builder import Builder, Draft
from utvm.codegen.thumb.isa import POST_LIMIT, is_modified_immediate
from utvm.codegen.thumb.machine import Inst, Memory
from utvm.codegen.thumb.polynomial import ZERO, Polynomial, constant, symbol
from utvm.codegen.thumb.walk import Walker, plan_walkers
from utvm.ir.dtype import DType
from utvm.ir.loop import For

_LOADS = {
    DType.INT8: "ldrsb",
    DType.UINT8: "ldrb",
    DType.BOOL: "ldrb",
    DType.INT16: "ldrsh",
    DType.UINT16: "ldrh",
}
_STORES = {1: "strb", 2: "strh", 4: "str"}


@dataclass
class Pointer:
    """A walker with its register and where it stands now."""

    walker: Walker
    register: int
    form: Polynomial


@dataclass
class Addresses:
    """``bases`` are the registers of buffers that are addressed without a walker; ``name`` gives
    the register of a name in a polynomial. ``jumps``: whether walkers may move by scalars from one
    access to the next."""

    nest: Nest
    builder: Builder
    named: Callable[[str], int]
    jumps: bool = False
    pointers: list[Pointer] = field(default_factory=list)
    bases: dict[str, int] = field(default_factory=dict)
    computed: dict[tuple[str, Polynomial], int] = field(default_factory=dict)
    by_access: dict[int, Pointer] = field(default_factory=dict)
    ends: dict[tuple[int, Polynomial], int] = field(default_factory=dict)
    at_entry: tuple[Draft, int] | None = None

    def __post_init__(self) -> None:
        self.walkers = plan_walkers(self.nest, self.jumps)

    def enter(self, parameters: dict[str, int]) -> None:
        """Makes the pointers from the parameters; the last walker of a buffer takes its register
        unless accesses need the base."""
        walkers = self.walkers
        self.bases = {a.buffer: parameters[a.buffer] for a in self._free()}
        last = {walker.buffer: walker for walker in walkers}
        for walker in walkers:
            register = parameters[walker.buffer]
            if walker.buffer in self.bases or walker is not last[walker.buffer]:
                register = self.builder.emit("mov", None, register)
                self.builder.names[register] = walker.buffer
            pointer = Pointer(walker, register, ZERO)
            self._advance(pointer, walker.entry)
            self.pointers.append(pointer)
            self.by_access |= dict.fromkeys(walker.members, pointer)
        self.at_entry = (self.builder.block, len(self.builder.block.insts))

    def free_names(self) -> frozenset[str]:
        """The names in the offsets of accesses that have no walker."""
        free = [access.form.names for access in self._free()]
        return frozenset().union(*free, *(walker.entry.names for walker in self.walkers))

    def _free(self) -> list[Access]:
        """The accesses that have no walker."""
        walking = {number for walker in self.walkers for number in walker.members}
        return [access for access in self.nest.accesses if access.number not in walking]

    def load(self, fetch: Fetch, dest: int | None) -> int:
        access = self.nest.accesses[fetch.number]
        op = _LOADS.get(access.dtype, "ldr")
        uses, memory = self._address(access)
        return self.builder.load(op, uses, memory, dest)

    def store(self, number: int, register: int) -> None:
        access = self.nest.accesses[number]
        uses, memory = self._address(access)
        self.builder.add(Inst(_STORES[access.size], (), (register, *uses), memory=memory))

    def _address(self, access: Access) -> tuple[tuple[int, ...], Memory]:
        pointer = self.by_access.get(access.number)
        if pointer is None:
            return self._computed(access)
        way = access.form - pointer.form
        offset = way.constant
        if not (way.is_constant and self.builder.isa.fits(offset, access.size)):
            self._advance(pointer, access.form)
            offset = 0
        return (pointer.register,), self._memory(access, offset)

    def _computed(self, access: Access) -> tuple[tuple[int, ...], Memory]:
        """Base plus an offset computed here; one register that is scaled goes into the access."""
        variable, rest = access.form.variable, access.form.constant
        base = self.bases[access.buffer]
        scale = _scaled(variable)
        if scale is not None and rest == 0:
            name, shift = scale
            memory = self._memory(access, 0, scale=shift)
            return (base, self.named(name)), memory
        key = (access.buffer, variable)
        if key not in self.computed:
            offset = self.evaluate(variable)
            at = base if offset is None else self.builder.emit("add", None, base, offset)
            self.computed[key] = at
        register = self.computed[key]
        if not self.builder.isa.fits(rest, access.size):
            register = self.builder.emit("add", None, register, self.builder.constant(rest))
            rest = 0
        return (register,), self._memory(access, rest)

    def _memory(self, access: Access, offset: int, scale: int | None = None) -> Memory:
        """Outputs and the inputs whose memory they may take count as one buffer."""
        function = self.nest.function
        shared = {function.inputs[i].name for i in function.in_place}
        if shared:
            shared |= {buffer.name for buffer in function.outputs}
        return Memory(
            offset,
            scale,
            buffer="@shared" if access.buffer in shared else access.buffer,
            form=access.form.variable,
            place=access.form.constant,
            size=access.size,
        )

    def evaluate(self, form: Polynomial) -> int | None:
        """The register with the value of a polynomial without constant; None for zero."""
        total: int | None = None
        for names, coefficient in form.terms:
            term = self.named(names[0])
            for name in names[1:]:
                term = self.builder.emit("mul", None, term, self.named(name))
            size = abs(coefficient)
            if total is None and coefficient == 1:
                total = term
            elif size & (size - 1) == 0 and total is not None:
                shift = ("lsl", size.bit_length() - 1) if size > 1 else None
                op = "add" if coefficient > 0 else "sub"
                total = self.builder.emit(op, None, total, term, shift=shift)
            else:
                total = self._plus_product(total, term, coefficient)
        return total

    def _plus_product(self, total: int | None, term: int, coefficient: int) -> int:
        power = coefficient > 0 and coefficient & (coefficient - 1) == 0
        if total is None and power:
            return self.builder.emit("lsli", None, term, imm=coefficient.bit_length() - 1)
        factor = self.builder.constant(coefficient)
        if total is None:
            return self.builder.emit("mul", None, term, factor)
        return self.builder.emit("mla", None, term, factor, total)

    def _advance(self, pointer: Pointer, form: Polynomial) -> None:
        """Moves a pointer to another form."""
        by = form - pointer.form
        pointer.form = form
        register = pointer.register
        self._move(register, by.variable)
        size = abs(by.constant)
        if size and (size < 4096 or is_modified_immediate(size)):
            op = "addi" if by.constant > 0 else "subi"
            self.builder.add(Inst(op, (register,), (register,), imm=size, advances=True))
        elif size:
            self.builder.emit("add", register, register, self.builder.constant(by.constant))

    def _move(self, register: int, by: Polynomial) -> None:
        """Adds a polynomial without constant; a name times one or two powers of two needs no
        product."""
        match by.terms:
            case (((name,), coefficient),) if (parts := _powers(coefficient)) is not None:
                for part in parts:
                    shift = ("lsl", abs(part).bit_length() - 1) if abs(part) > 1 else None
                    op = "add" if part > 0 else "sub"
                    self.builder.emit(op, register, register, self.named(name), shift=shift)
                return
        offset = self.evaluate(by)
        if offset is not None:
            self.builder.emit("add", register, register, offset)

    def approach(self, stmt: For, innermost: bool) -> None:
        """Before a loop: a pointer that moves in it goes to its first access there, so that an
        access with no offset can move it."""
        var = stmt.var.name
        for pointer in self._moving(var):
            step = pointer.walker.slopes[var] * constant(stmt.step)
            first = min(n for n in pointer.walker.members if var in self.nest.accesses[n].path)
            access = self.nest.accesses[first]
            if not innermost or not step.is_constant or abs(step.constant) > POST_LIMIT:
                continue
            if access.path[-1] == var:
                start = access.form.replaced({var: self.nest.starts[var]})
                if (start - pointer.form).is_constant:
                    self._advance(pointer, start)

    def top(self, stmt: For) -> dict[int, Polynomial]:
        """At the top of a loop's body: the forms now depend on the variable. Returns those on
        entry by register."""
        var = stmt.var.name
        entry = {pointer.register: pointer.form for pointer in self.pointers}
        for pointer in self._moving(var):
            slope = pointer.walker.slopes[var]
            pointer.form += slope * (symbol(var) - self.nest.starts[var])
        return entry

    def bottom(self, stmt: For, entry: dict[int, Polynomial]) -> None:
        """At the end of a loop's body: every pointer goes where the next round wants it."""
        var, after = stmt.var.name, symbol(stmt.var.name) + constant(stmt.step)
        for pointer in self.pointers:
            slope = pointer.walker.slopes.get(var, ZERO)
            form = entry[pointer.register] + slope * (after - self.nest.starts[var])
            if pointer.form != form:
                self._advance(pointer, form)

    def leave(self, stmt: For, entry: dict[int, Polynomial]) -> None:
        """Behind a loop."""
        var = stmt.var.name
        for pointer in self.pointers:
            slope = pointer.walker.slopes.get(var, ZERO)
            end = self.nest.end(var)
            pointer.form = entry[pointer.register]
            if slope.terms:
                assert end is not None, "a pointer walks in a loop of unknown end"
                pointer.form += slope * (end - self.nest.starts[var])

    def forms(self) -> dict[int, Polynomial]:
        return {pointer.register: pointer.form for pointer in self.pointers}

    def restore(self, forms: dict[int, Polynomial]) -> None:
        """Moves every pointer back where it was."""
        for pointer in self.pointers:
            if pointer.form != forms[pointer.register]:
                self._advance(pointer, forms[pointer.register])

    def pacer(self, stmt: For) -> tuple[Pointer, int] | None:
        """A pointer that can count a loop, and its bytes per unit of the variable; best is one
        that ends at the same place whatever the loops around it do."""
        var = stmt.var.name
        found = [p for p in self._moving(var) if p.walker.slopes[var].is_constant]
        found.sort(key=lambda p: bool(p.form.names & set(self.nest.loops)))
        return (found[0], found[0].walker.slopes[var].constant) if found else None

    def end(self, pointer: Pointer, way: int) -> int:
        """The register with the place ``way`` bytes on. Where no loop changes that place, it is
        computed on entry of the function, once."""
        form = pointer.form + constant(way)
        by = form - pointer.walker.entry
        if not by.is_constant or abs(by.constant) >= 4096 or self.at_entry is None:
            return self._beyond(pointer.register, way)
        key = (pointer.register, form)
        if key not in self.ends:
            block, at = self.at_entry
            self.ends[key] = self.builder.new()
            op = "addi" if by.constant >= 0 else "subi"
            inst = Inst(op, (self.ends[key],), (pointer.register,), imm=abs(by.constant))
            block.insts.insert(at, inst)
            self.at_entry = (block, at + 1)
        return self.ends[key]

    def _beyond(self, register: int, way: int) -> int:
        if abs(way) < 4096:
            return self.builder.emit("addi" if way > 0 else "subi", None, register, imm=abs(way))
        return self.builder.emit("add", None, register, self.builder.constant(way))

    def _moving(self, var: str) -> list[Pointer]:
        return [p for p in self.pointers if p.walker.slopes.get(var, ZERO).terms]


def _powers(coefficient: int) -> tuple[int, ...] | None:
    """One or two powers of two, with their signs, whose sum is the coefficient."""
    size, sign = abs(coefficient), 1 if coefficient > 0 else -1
    low = size & -size
    if size == low:
        return (coefficient,)
    for other in (size - low, size + low):
        if other & (other - 1) == 0:
            return (sign * other, sign * (low if other < size else -low))
    return None


def _scaled(form: Polynomial) -> tuple[str, int] | None:
    """A name times 1, 2, 4 or 8."""
    match form.terms:
        case (((name,), coefficient),) if coefficient in (1, 2, 4, 8):
            return name, coefficient.bit_length() - 1
    return None
