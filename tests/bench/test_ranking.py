"""How well rankings find wrong samples."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dynaprune.bench.ranking import auroc, precision


def test_how_well_scores_find_wrong_labels():
    draw = np.random.default_rng(0)
    is_wrong = draw.random(300) < 0.2
    scores = np.round(draw.normal(size=300) + is_wrong, 1).astype(np.float32)  # with ties
    assert auroc(scores, is_wrong) == pytest.approx(roc_auc_score(is_wrong, scores))
    scores = np.array([5.0, 1, 4, 3, 2], dtype=np.float32)
    assert precision(scores, np.array([True, True, False, False, False])) == 0.5
