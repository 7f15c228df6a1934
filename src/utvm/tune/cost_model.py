"""A cost model that ranks schedules: gradient-boosted trees trained on what was measured.

In: for each task the features of measured configs and their scores (less is better; None: failed).
Out: a function that gives unmeasured ones a number, the better the higher. Only the order within a
task counts, so tasks of all sizes train one model together. The same data give the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import lightgbm
import numpy as np

Measured = tuple[np.ndarray, Sequence[float | None]]
"""Features and scores of one task."""

_LEVELS = 16
_PARAMETERS = {
    "objective": "lambdarank",
    "learning_rate": 0.15,
    "num_leaves": 15,
    "min_data_in_leaf": 3,
    "label_gain": [float(2 ** (level / 2)) for level in range(_LEVELS)],
    "lambdarank_truncation_level": 20,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "verbosity": -1,
}
_ROUNDS = 60


def train(groups: Sequence[Measured]) -> Callable[[np.ndarray], np.ndarray]:
    """The model's opinion, by features."""
    known = [(features, scores) for features, scores in groups if len(scores) > 1]
    assert known, "a model needs a task with two measured configs"
    data = lightgbm.Dataset(
        np.concatenate([features for features, _ in known]),
        np.concatenate([relevance(scores) for _, scores in known]),
        group=[len(scores) for _, scores in known],
        params={"verbosity": -1},
    )
    booster = lightgbm.train(_PARAMETERS, data, _ROUNDS)

    def predict(features: np.ndarray) -> np.ndarray:
        return np.asarray(booster.predict(features, num_threads=1))

    return predict


def relevance(scores: Sequence[float | None]) -> np.ndarray:
    """0 for what failed; then by how near a score comes to the best one of its task."""
    measured = [score for score in scores if score is not None]
    best = min(measured, default=1.0)
    levels = [0 if s is None else _level(best / s if s else 1.0) for s in scores]
    return np.array(levels, dtype=np.int32)


def _level(nearness: float) -> int:
    """Half the best speed and less is level 1; the levels above are of equal width."""
    share = max(0.0, 2 * nearness - 1)
    return 1 + round(share * (_LEVELS - 2))
