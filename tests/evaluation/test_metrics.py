# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Every expected value is computed by hand, the sums in the comments."""

import pytest

from transformers_ov2.evaluation.metrics import average_precision, grounding_scores, jump_score, temporal_iou


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        ([], [], 1.0),
        ([1.0], [], 0.0),
        ([], [1.0], 0.0),
        ([1.0, 2.0], [1.0, 2.0], 1.0),
        # Hit, miss, hit: (1/1 + 2/3) / 2.
        ([1.0, 1.5, 2.0], [1.0, 2.0], (1 + 2 / 3) / 2),
        # Miss first: (1/2) / 1.
        ([0.5, 1.0], [1.0], 0.5),
        # Two predictions near one truth: the second finds none left, precision 1/1 of one of two truths.
        ([1.0, 1.05], [1.0, 3.0], 0.5),
        # Any order gives the same.
        ([2.0, 1.0], [1.0, 2.0], 1.0),
        # The limit itself counts, in binary floating point.
        ([0.1], [0.0], 1.0),
        ([1.3], [1.2], 0.0),
        # The nearest truth is taken, not the first in reach.
        ([1.05, 1.1], [1.0, 1.1], 1.0),
    ],
)
def test_average_precision(predicted, truth, expected):
    assert average_precision(predicted, truth, tolerance=0.1) == pytest.approx(expected)


def test_jump_score_averages_over_tolerances():
    # 0.25 s off: missed at 0.1 and 0.2, hit at 0.3.
    assert jump_score([1.25], [1.0]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        ((0, 10), (5, 15), 5 / 15),
        ((5, 15), (0, 10), 5 / 15),
        ((0, 1), (2, 3), 0.0),
        ((2, 3), (2, 3), 1.0),
        ((3, 2), (2, 3), 0.0),
        (None, (2, 3), 0.0),
        ((2, 2), (2, 2), 1.0),
    ],
)
def test_temporal_iou(predicted, truth, expected):
    assert temporal_iou(predicted, truth) == pytest.approx(expected)


def test_grounding_scores():
    # IoU 1, 1/2, 3/10 and 0 for what cannot be parsed.
    pairs = [((0, 4), (0, 4)), ((0, 2), (0, 4)), ((0, 3), (0, 10)), (None, (1, 2))]
    scores = grounding_scores(pairs)
    assert scores == pytest.approx({"R1@0.3": 75.0, "R1@0.5": 50.0, "R1@0.7": 25.0, "mIoU": 45.0})


def test_grounding_scores_of_nothing():
    with pytest.raises(ValueError, match="nothing to score"):
        grounding_scores([])
