"""The real networks of ../shared/models: they import with the shapes of their golden data.

Those beyond the importer say why in one line, and every operator of theirs is listed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from utvm.importers.tflite import import_tflite, list_operators
from utvm.op.registry import find_op
from utvm.support.errors import UnsupportedError

# Models that ask for more than the importer has.
UNSUPPORTED = {
    "mww_okay_nabu": "operator 0 CALL_ONCE",
    "tflm_audio_preprocessor_int8": "1 CUSTOM:SignalWindow",
    "tflm_keyword_scrambled_8bit": "7 SVDF",
    "tflm_mnist_lstm_int8": "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "tfls_dilated_conv": "2 FLOOR_MOD",
}


def model_folders(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob("*/model.tflite"))


def test_real_models_import_with_their_golden_shapes(shared_models: Path) -> None:
    count = 0
    for folder in model_folders(shared_models):
        if folder.name in UNSUPPORTED:
            continue
        data = (folder / "model.tflite").read_bytes()
        graph = import_tflite(data, name=folder.name, find_op=find_op)
        reports = list_operators(data, find_op=find_op)
        assert all(report.supported and not report.reason for report in reports), folder.name
        golden = np.load(folder / "golden.npz")
        for prefix, names in (("in", graph.inputs), ("out", graph.outputs)):
            for k, name in enumerate(names):
                array = golden[f"{prefix}{k}"]
                assert graph.values[name].shape == array.shape[1:], (folder.name, name)
                assert graph.values[name].dtype.numpy == array.dtype, (folder.name, name)
        count += 1
    assert count >= 36


def test_real_models_beyond_the_importer_say_why(shared_models: Path) -> None:
    for name, text in UNSUPPORTED.items():
        data = (shared_models / name / "model.tflite").read_bytes()
        with pytest.raises(UnsupportedError) as error:
            import_tflite(data, name=name, find_op=find_op)
        assert text in str(error.value)
        assert "\n" not in str(error.value)
        reports = list_operators(data, find_op=find_op)
        assert not all(report.supported for report in reports)
        assert all(report.supported == (report.reason == "") for report in reports)
