"""Model files: what kind a file is, and its way into the graph IR.

In: the path of a ``.tflite`` or ``.graph`` file, for the latter also the ``.npz`` of its constants.
Out: a ``Model``, whose bytes are read once, and from it a graph. The kind is decided by content,
not by name. Every mistake is a UtvmError that names the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from utvm.driver.archive import read_archive
from utvm.importers.tflite import import_tflite
from utvm.ir.graph import Graph
from utvm.ir.parse_graph import parse_graph
from utvm.op.registry import find_op
from utvm.support.errors import InputError, ModelError, UtvmError
from utvm.support.text import identifier, printable

# The importer bounds the tensors of a model; this bounds what is read to begin with.
MAX_FILE_BYTES = 256 << 20
_TFLITE_MARK = b"TFL3"
_OTHER_KINDS = {
    ".onnx": "ONNX files cannot be read yet; convert the model to TFLite",
    ".pt": "PyTorch files cannot be read yet; convert the model to TFLite",
    ".pth": "PyTorch files cannot be read yet; convert the model to TFLite",
    ".h5": "convert the model to TFLite",
    ".keras": "convert the model to TFLite",
}


@dataclass(frozen=True)
class Model:
    """A model file. ``kind`` is 'tflite' or 'graph'; ``params`` are constants of a graph."""

    name: str
    path: Path
    kind: str
    data: bytes
    params: Mapping[str, np.ndarray] = field(default_factory=dict)


def load_model(path: Path, params: Path | None = None, name: str = "") -> Model:
    """The model in ``path``. ``name`` is what C names are made of; by default the file's stem."""
    data = _read(path)
    kind = _kind(path, data)
    if params is not None and kind != "graph":
        raise InputError(
            "this model brings its own constants",
            where=str(path),
            hint="--params is for models in text form (.graph)",
        )
    arrays = read_archive(params) if params is not None else {}
    return Model(identifier(name or path.stem), path, kind, data, arrays)


def import_model(model: Model) -> Graph:
    """The graph of a model, as its file gives it."""
    if model.kind == "tflite":
        with naming(model):
            return import_tflite(model.data, name=model.name, find_op=find_op)
    try:
        text = model.data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError("the graph is not UTF-8 text", where=str(model.path)) from error
    graph = parse_graph(text, find_op, model.params, file=model.path.name)
    return replace(graph, name=model.name)


@contextmanager
def naming(model: Model) -> Iterator[None]:
    """Errors of readers that know a model's bytes alone say which file these are of."""
    try:
        yield
    except UtvmError as error:
        error.where = ": ".join(filter(None, (model.path.name, error.where)))
        raise


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise InputError("the model is a folder", where=str(path), expected="a model file")
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise InputError(f"the model cannot be read: {reason}", where=str(path)) from error
    if len(data) > MAX_FILE_BYTES:
        raise InputError(
            "the model is far too large for a microcontroller",
            where=str(path),
            expected=f"at most {MAX_FILE_BYTES >> 20} MiB",
        )
    return data


def _kind(path: Path, data: bytes) -> str:
    suffix = path.suffix.lower()
    if data[4:8] == _TFLITE_MARK or suffix == ".tflite":
        return "tflite"
    if suffix == ".graph" or data.lstrip().startswith(b"graph "):
        return "graph"
    raise InputError(
        "the kind of this model is not known",
        where=str(path),
        expected="a TFLite file or a graph in text form (.graph)",
        found=printable(suffix) or "no suffix",
        hint=_OTHER_KINDS.get(suffix, ""),
    )
