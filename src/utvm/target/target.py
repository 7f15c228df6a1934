"""Targets: what the compiler knows about a processor, as data.

In goes the name of a target; out comes a frozen ``Target`` read from ``data/<name>.toml``. A target
says nothing about memories or peripherals: that is the board's part. The lists of flags are for
the two families of compilers; which compiler is used is decided by ``device``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from utvm.target.costs import Costs, read_costs
from utvm.target.fields import Fields, read_fields
from utvm.target.names import unknown_name
from utvm.target.pipeline import Pipeline, read_pipeline

DATA = Path(__file__).parent / "data"

FEATURES = {
    "thumb2": "the full Thumb-2 instruction set",
    "hw_divide": "integer division in hardware",
    "unaligned": "word and halfword access at any address",
    "dsp": "the DSP extension: SMLAD, SXTB16, PKHBT, saturation",
    "fpu": "single-precision floating point in hardware",
    "mve": "the M-profile vector extension (Helium), integer part",
    "thumb1": "the 16-bit Thumb instructions of Armv6-M, and no others",
}

CYCLE_MODELS = ("cortex-m0plus", "cortex-m4", "cortex-m7")


@dataclass(frozen=True)
class Target:
    """A processor as the compiler sees it."""

    name: str
    title: str
    source: str  # where the facts come from
    cpu: str  # as compilers and the emulator name it
    arch: str  # 'armv7e-m', 'rv32imc'; 'native' is the machine that utvm runs on
    features: frozenset[str]  # keys of FEATURES
    cycle_model: str  # one of CYCLE_MODELS; empty: cycles are not modelled
    default_board: str
    clang_flags: tuple[str, ...]
    runtime_target: str  # triple and CPU for which the compiler's runtime library is built
    runtime_cpu: str
    gcc_program: str
    gcc_flags: tuple[str, ...]
    pipeline: Pipeline
    costs: Costs | None = None  # None: no forecast of cycles

    @property
    def is_native(self) -> bool:
        """Whether programs run on this machine, without cross compiler or device."""
        return self.arch == "native"

    @property
    def float_abi(self) -> str:
        """'hard' when float arguments travel in FPU registers, else 'soft'."""
        return "hard" if "fpu" in self.features else "soft"

    def has(self, feature: str) -> bool:
        """Whether the processor has ``feature``, a key of ``FEATURES``."""
        assert feature in FEATURES, feature
        return feature in self.features


def list_targets() -> tuple[str, ...]:
    """The names of all targets, sorted."""
    return tuple(sorted(path.stem for path in DATA.glob("*.toml")))


def load_target(name: str) -> Target:
    """The target called ``name``."""
    known = list_targets()
    if name not in known:
        raise unknown_name("target", name, known)
    return read_target(DATA / f"{name}.toml")


def read_target(path: Path) -> Target:
    """The target that the file ``path`` describes; its name is the file's name."""
    fields = read_fields(path)
    clang = fields.table("clang")
    gcc = fields.table("gcc")
    pipeline = fields.optional_table("pipeline")
    costs = fields.optional_table("costs")
    target = Target(
        name=path.stem,
        title=fields.text("title"),
        source=fields.text("source"),
        cpu=fields.text("cpu"),
        arch=fields.text("arch"),
        features=_features(fields),
        cycle_model=fields.choice("cycle_model", ("", *CYCLE_MODELS)),
        default_board=fields.text("default_board"),
        clang_flags=clang.texts("flags"),
        runtime_target=clang.text("runtime_target", ""),
        runtime_cpu=clang.text("runtime_cpu", ""),
        gcc_program=gcc.text("program"),
        gcc_flags=gcc.texts("flags"),
        pipeline=Pipeline(1) if pipeline is None else read_pipeline(pipeline),
        costs=None if costs is None else read_costs(costs),
    )
    for table in (fields, clang, gcc):
        table.finish()
    return target


def _features(fields: Fields) -> frozenset[str]:
    features = fields.texts("features")
    for feature in features:
        if feature not in FEATURES:
            raise fields.error(
                "unknown feature", expected=f"one of {', '.join(FEATURES)}", found=feature
            )
    return frozenset(features)
