# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest

from transformers_ov2.codec.deciding.selection import _opened_frames, error_weights, select_evidence, select_state


def random_scores(n=12, rows=3, cols=4, seed=0):
    return np.random.default_rng(seed).random((n, rows, cols))


def test_evidence_without_penalty_is_plain_top_k():
    scores = random_scores()
    chosen = select_evidence(scores, 20, crowding_penalty=0.0, anchor=None)
    assert chosen.shape == (20, 3) and chosen.dtype == np.int64
    assert scores[tuple(chosen.T)].min() == np.sort(scores.ravel())[-20]
    np.testing.assert_array_equal(chosen, chosen[np.lexsort(chosen.T[::-1])])


def test_evidence_penalty_spreads_over_frames():
    scores = np.ones((6, 2, 3))
    scores[2] = 1.5
    assert (select_evidence(scores, 6, crowding_penalty=0.0, anchor=None)[:, 0] == 2).all()
    assert len(np.unique(select_evidence(scores, 6, crowding_penalty=2.0, anchor=None)[:, 0])) > 3


def test_evidence_penalty_is_the_published_one():
    scores = np.zeros((2, 1, 3))
    scores[0, 0] = [8.0, 4.0, 3.9]
    scores[1, 0] = [3.0, 2.9, 0.0]
    # With λ = 1 the ranks of frame 0 count 8, 4 / √2 = 2.83, 3.9 / √3 = 2.25 and those of frame 1 3, 2.9 / √2 = 2.05.
    chosen = select_evidence(scores, 3, crowding_penalty=1.0, anchor=None)
    np.testing.assert_array_equal(chosen, [[0, 0, 0], [0, 0, 1], [1, 0, 0]])


def test_evidence_ties_go_to_the_lowest_frame_row_column():
    chosen = select_evidence(np.ones((3, 2, 2)), 5, crowding_penalty=0.0, anchor=None)
    np.testing.assert_array_equal(chosen, [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]])


@pytest.mark.parametrize("select", ["evidence", "state"])
def test_anchor_and_bad_frames_give_nothing(select):
    bad = np.zeros(12, dtype=bool)
    bad[[0, 5]] = True
    if select == "evidence":
        chosen = select_evidence(random_scores(), 10_000, anchor=1, bad=bad)
        expected = set(range(12)) - {0, 1, 5}
    else:
        features = np.random.default_rng(0).normal(size=(12, 3, 4, 2)).astype(np.float32)
        chosen = select_state(features, 10_000, anchor=1, bad=bad)
        expected = set(range(2, 12)) - {5}
    assert set(chosen[:, 0].tolist()) == expected
    assert len(chosen) == len(expected) * 12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_the_frames_that_state_opens_are_those_of_a_plain_search(dtype, share):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        gains = rng.exponential(size=(30, 12)).astype(dtype)
        events = rng.random(gains.shape) < share
        order = np.argsort(-gains.sum(axis=1), kind="stable").tolist()
        kept, worth = order[:5], (gains * events).astype(np.float64)
        for _ in range(5):
            seen = worth[kept].sum(axis=0) + 1e-30
            strength = (worth**2 / (worth + seen)).max(axis=1)
            strength[kept] = 0
            left = [at for at in order if at not in kept]
            kept.append(int(strength.argmax()) if strength.any() else left[0])
        np.testing.assert_array_equal(np.flatnonzero(_opened_frames(gains, 10, events)), sorted(kept))


def test_state_frame_limit_leaves_frames_for_an_event():
    features = np.zeros((40, 4, 4, 1), np.float32)
    features[:, :2] = np.random.default_rng(0).uniform(0, 10, (40, 2, 4, 1))
    features[17:19, 3, 3] = 12.0
    events = np.zeros(features.shape[:3], dtype=bool)
    assert [17, 3, 3] not in select_state(features, 40, events=events, max_frames=4).tolist()
    events[17, 3, 3] = True
    assert [17, 3, 3] in select_state(features, 40, events=events, max_frames=4).tolist()


def test_evidence_frame_limit_keeps_strong_blocks_before_many_average_ones():
    scores = np.full((6, 4, 4), 1.0)
    scores[1] += 0.05  # a frame a little better everywhere
    scores[4, 2, 2] = 9.0
    chosen = select_evidence(scores, 16, crowding_penalty=0.0, anchor=0, max_frames=1)
    assert set(chosen[:, 0].tolist()) == {4}
    assert len(chosen) == 16


@pytest.mark.parametrize("max_frames", [1, 2, 5])
def test_frame_limit_holds_and_the_budget_is_used(max_frames):
    rng = np.random.default_rng(0)
    chosen = select_evidence(rng.random((30, 4, 4)), 16, max_frames=max_frames)
    assert len(np.unique(chosen[:, 0])) <= max_frames and len(chosen) == 16
    features = np.cumsum(rng.normal(size=(30, 4, 4, 3)), axis=0).astype(np.float32)
    chosen = select_state(features, 16, max_frames=max_frames)
    assert len(np.unique(chosen[:, 0])) <= max_frames and len(chosen) == 16


def held_error(features, chosen, weights=1.0):
    """Squared error of showing each block until the next one of its place; the first frame is shown whole."""
    n = len(features)
    shown = np.zeros(features.shape[:3], dtype=bool)
    shown[0] = True
    shown[tuple(chosen.T)] = True
    source = np.maximum.accumulate(np.where(shown, np.arange(n)[:, None, None], 0), axis=0)
    rows, cols = np.indices(features.shape[1:3])
    return float((((features - features[source, rows, cols]) ** 2).sum(axis=3) * weights).sum())


def test_state_is_optimal_on_a_problem_small_enough_to_enumerate():
    rng = np.random.default_rng(3)
    features = np.cumsum(rng.normal(size=(6, 1, 2, 2)), axis=0).astype(np.float32)
    candidates = list(itertools.product(range(1, 6), range(1), range(2)))
    for budget in (1, 2, 3, 4, 6, 8):
        best = min(held_error(features, np.array(c)) for c in itertools.combinations(candidates, budget))
        found = held_error(features, select_state(features, budget, text_tokens=0))
        # The hull's budgets are met exactly, those between two of its corners nearly.
        assert found <= best * 1.15 + 1e-4


def bound(features, budget):
    """Least error by dynamic programming per position and the lower convex hulls of its curves."""
    n, rows, cols, _ = features.shape
    slopes, total = [], 0.0
    for row, col in np.ndindex(rows, cols):
        x = features[:, row, col].astype(np.float64)
        cost = np.zeros((n, n + 1))
        for i in range(n):
            cost[i, i + 1 :] = np.cumsum(((x[i:] - x[i]) ** 2).sum(axis=1))
        best = np.where(np.arange(n) == 0, 0.0, np.inf)
        curve = []
        for _ in range(n):
            curve.append((best + cost[:, n]).min())
            best = np.array([(best[:j] + cost[:j, j]).min() if j else np.inf for j in range(n)])
        hull = [0]
        while hull[-1] < n - 1:
            rest = np.arange(hull[-1] + 1, n)
            hull.append(int(rest[np.argmin((np.array(curve)[rest] - curve[hull[-1]]) / (rest - hull[-1]))]))
        for a, b in itertools.pairwise(hull):
            slopes += [(curve[a] - curve[b]) / (b - a)] * (b - a)
        total += curve[0]
    return total - np.sort(slopes)[::-1][:budget].sum()


@pytest.mark.parametrize("seed", range(3))
def test_state_is_within_half_a_decibel_of_the_bound(seed):
    rng = np.random.default_rng(seed)
    features = np.cumsum(rng.normal(size=(24, 4, 5, 6)) * rng.random((24, 4, 5, 1)) ** 4, axis=0).astype(np.float32)
    features += (rng.random((24, 4, 5, 1)) < 0.05).cumsum(axis=0) * 8  # sudden changes
    for budget in (10, 40, 120):
        error = held_error(features, select_state(features, budget, text_tokens=0))
        assert 10 * np.log10(error / bound(features, budget)) <= 0.5


def test_state_charges_timestamps():
    rng = np.random.default_rng(0)
    features = np.cumsum(rng.normal(size=(40, 4, 5, 3)), axis=0).astype(np.float32)
    frames = [len(np.unique(select_state(features, 60, text_tokens=tokens)[:, 0])) for tokens in (0, 10, 100)]
    assert frames[0] > frames[1] > frames[2] >= 1


def test_state_shows_a_change_when_it_happens():
    features = np.zeros((20, 3, 3, 4), dtype=np.float32)
    features[7:, 1, 2] = 5.0
    features[12:, 0, 0] = 3.0
    chosen = select_state(features, 2).tolist()
    assert chosen == [[7, 1, 2], [12, 0, 0]]


def test_state_weights_decide_between_equal_changes():
    features = np.zeros((10, 1, 2, 1), dtype=np.float32)
    features[5:] = 1.0
    weights = np.ones((10, 1, 2))
    weights[:, 0, 1] = 3.0
    np.testing.assert_array_equal(select_state(features, 1, weights=weights), [[5, 0, 1]])


def test_error_weights_have_a_bound_and_are_those_of_the_block_alone():
    surprise = np.array([[[0.0, 1.0, 10.0, 1e6]]], dtype=np.float32)
    weights = error_weights(surprise)
    assert weights[0, 0, 0] == 1 < weights[0, 0, 1] < weights[0, 0, 2] == weights[0, 0, 3] <= 1001
    np.testing.assert_array_equal(error_weights(surprise[..., 1:2]), weights[..., 1:2])


def test_a_small_event_outweighs_a_large_change_that_surprises_nobody():
    features = np.zeros((10, 2, 8, 1), dtype=np.float32)
    features[5:, 1] = 5.0  # half of the picture
    features[3:7, 0, 4] = 1.0
    surprise = np.zeros((10, 2, 8), dtype=np.float32)
    surprise[3, 0, 4] = 5
    plain = select_state(features, 8, max_frames=1)
    weighted = select_state(features, 8, max_frames=1, weights=error_weights(surprise))
    assert [5, 1, 0] in plain.tolist() and [3, 0, 4] not in plain.tolist()
    assert [3, 0, 4] in weighted.tolist()


def test_state_fills_the_budget_of_a_still_scene():
    assert select_state(np.zeros((9, 2, 3, 4), dtype=np.float32), 20).shape == (20, 3)


@pytest.mark.parametrize("select", ["evidence", "state"])
def test_same_input_gives_the_same_blocks(select):
    rng = np.random.default_rng(0)
    features = rng.integers(0, 3, (20, 4, 5, 2)).astype(np.float32)  # many ties
    if select == "evidence":
        results = [select_evidence(features[..., 0], 50) for _ in range(3)]
    else:
        results = [select_state(features.copy(), 50) for _ in range(3)]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_zero_budget_gives_nothing():
    assert select_evidence(random_scores(), 0).shape == (0, 3)
    assert select_state(np.zeros((5, 2, 2, 3), dtype=np.float32), 0).shape == (0, 3)
