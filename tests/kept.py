"""What tests of real networks have in common, made once in a run of the tests by any process of it.

In: a model, and for what it is compiled. Out: the compiled network, or a program with it, as
``compile_graph`` and ``build_model`` make them. Networks are kept by the bytes of the model and
everything that the compiler is told; the objects of their C files by text and command line. Tests
of other executors, toolchains and figures then share the same work. What is kept lies in the
folder of this run and is never used by another.
"""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from utvm.device.toolchain import Toolchain
from utvm.driver.build import Build, build_compiled
from utvm.driver.load import Model, import_model
from utvm.driver.options import BuildOptions
from utvm.driver.pipeline import Compiled, compile_graph, with_executor
from utvm.support.cache import publish
from utvm.target.target import Target

_KEEP = 'out=$1 kept=$2; shift 2; "$@" && cp "$out" "$kept.$$" && mv "$kept.$$" "$kept"'


@dataclass(frozen=True)
class Kept:
    """The compiler's results of this run of the tests, in ``folder``."""

    folder: Path

    def compiled(self, model: Model, options: BuildOptions) -> Compiled:
        """``compile_graph`` of a model. Calls for all executors are of one compilation."""
        told = (options.target.name, options.objective, options.portable_c, options.records)
        key = hashlib.sha256(pickle.dumps((model.data, model.name, model.params, told)))
        path = self.folder / f"{key.hexdigest()}.pickle"
        if not path.exists():
            compiled = compile_graph(
                import_model(model),
                options.target,
                objective=options.objective,
                portable_c=options.portable_c,
                records=options.records,
            )
            _write(path, compiled)
        compiled = _read(path)
        aot = options.executor == "aot"
        return compiled if aot else with_executor(compiled, options.executor, options.params)

    def build(self, model: Model, options: BuildOptions, folder: Path) -> Build:
        """``build_model``."""
        options = replace(options, toolchain=KeptToolchain(options.toolchain, self.folder))
        return build_compiled(model, self.compiled(model, options), options, folder)


@lru_cache(maxsize=4)  # the next test is often of the same network
def _read(path: Path) -> Compiled:
    found = pickle.loads(path.read_bytes())
    assert isinstance(found, Compiled)
    return found


def _write(path: Path, compiled: Compiled) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        new = Path(scratch) / "new"
        new.write_bytes(pickle.dumps(compiled))
        publish(new, path)


@dataclass(frozen=True)
class KeptToolchain:
    """A toolchain that compiles a network's kernels and constants once; all else every time."""

    inner: Toolchain
    folder: Path

    @property
    def name(self) -> str:
        return self.inner.name

    def version(self) -> str:
        return self.inner.version()

    def environment(self, scratch: Path) -> Mapping[str, str]:
        return self.inner.environment(scratch)

    def compile_command(
        self, target: Target, source: Path, out: str, include_dirs: Sequence[Path], optimize: str
    ) -> list[str]:
        command = self.inner.compile_command(target, source, out, include_dirs, optimize)
        if not source.name.endswith(("_kernels.c", "_params.c")):
            return command
        header = source.with_name(source.name.replace("_params.c", "_kernels.c")).with_suffix(".h")
        # Where they lie differs from test to test, and is not seen in objects.
        words = "\n".join(command).replace(str(source.parent), "folder").replace(out, "out")
        text = source.read_bytes() + header.read_bytes() + words.encode()
        kept = self.folder / f"{hashlib.sha256(text).hexdigest()}.o"
        if kept.exists():
            return ["cp", str(kept), out]
        return ["sh", "-c", _KEEP, "sh", out, str(kept), *command]

    def link_command(
        self,
        target: Target,
        objects: Sequence[str],
        script: Path | None,
        out: str,
        map_file: str,
    ) -> list[str]:
        return self.inner.link_command(target, objects, script, out, map_file)
