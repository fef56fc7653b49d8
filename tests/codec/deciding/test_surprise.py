# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""What explains a difference between frames, and what is left for surprise."""

import numpy as np
import pytest
from test_scoring import texture

from transformers_ov2.codec.deciding.compensation import _camera, compensate, warped
from transformers_ov2.codec.deciding.features import FrameFeatures
from transformers_ov2.codec.deciding.signals import surprise
from transformers_ov2.codec.deciding.signals.surprise import Habit, blocks_of, deviations, explain_by_motion, passing
from transformers_ov2.codec.reading.decoding import DecodedFrame
from transformers_ov2.codec.reading.pictures import PlanarPicture


BLOCKS = (6, 8)


def features(image) -> FrameFeatures:
    picture = PlanarPicture.from_rgb(np.asarray(image).clip(0, 255).round().astype(np.uint8))
    return FrameFeatures.of(DecodedFrame(0, picture, ""), BLOCKS)


def smooth(rows=42, cols=56, seed=0) -> np.ndarray:
    """Blobs, float32 of shape `(rows, cols)`, that bilinear sampling follows well."""
    image = np.random.default_rng(seed).normal(scale=400, size=(rows, cols))
    for axis in (0, 1):
        for _ in range(3):
            image = (np.roll(image, 1, axis) + image + np.roll(image, -1, axis)) / 3
    return (120 + image).astype(np.float32)


@pytest.mark.parametrize(
    "motion",
    [
        [[3.3, 0, 0], [-1.6, 0, 0]],  # translation
        [[0.5, 1.5, 0], [0, 0, 1.5]],  # zoom
        [[-7, 0, 0.9], [4, -0.9, 0]],  # a large shift and rotation
    ],
)
def test_camera_motion_and_brightness_are_found(motion):
    before = smooth()
    now = 0.9 * warped(before[None], np.array(motion, np.float32))[0] + 7
    now[10:17, 20:27] = 250  # something of its own
    found, gain, offset = _camera(np.stack([before, now]), np.array([1]), np.array([0]))
    np.testing.assert_allclose(found[0], motion, atol=0.15)
    assert gain[0] == pytest.approx(0.9, abs=0.02) and offset[0] == pytest.approx(7, abs=2)


def test_nothing_is_compensated_where_nothing_explains_the_difference():
    now, before = features(texture(seed=1)), features(texture(seed=0))
    ((predicted, still),) = compensate([(now, before)])
    assert predicted is before.colours and still is None


def test_bands_of_light_are_explained_row_by_row():
    rows = 1 + 0.15 * np.sin(np.arange(168) / 20)[:, None, None]
    now, before = features(texture() * rows), features(texture())
    ((predicted, _),) = compensate([(now, before)])
    assert np.abs(now.colours - predicted).mean() < 0.2 * np.abs(now.colours - before.colours).mean()


def test_what_stands_still_behind_a_large_mover_has_a_prediction_of_its_own():
    now, before, mover = texture(), texture(), texture(width=240, seed=1)
    before[:, :150], now[:, :150] = mover[:, :150], mover[:, 8:158]
    now, before = features(now), features(before)
    ((moved, still),) = compensate([(now, before)])
    left, stayed = (np.abs(now.colours - predicted).mean(axis=0) for predicted in (moved, still))
    assert left[:, :34].mean() < 0.6 * stayed[:, :34].mean()
    assert stayed[:, 40:].max() == 0 and left[:, 40:].mean() > 5


def test_what_moves_on_its_own_is_explained_where_it_came_from():
    before = np.stack([smooth(seed=1)] * 3)
    now = before.copy()
    now[:, 14:21, 16:23] = before[:, 16:23, 14:21]  # two pixels up, two to the right
    now[:, 28:35, 35:42] += 200  # out of nowhere
    places = np.array([2, 4]), np.array([2, 5])
    error = blocks_of(np.abs(now - before).mean(axis=0)[None], *places, 7)[0]
    left = explain_by_motion(error, blocks_of(now, *places, 7), blocks_of(before, *places, 7, margin=3))
    moved, appeared = left.mean(axis=(0, 1)) / error.mean(axis=(0, 1))
    assert moved < 0.35 and appeared > 0.5


def test_blocks_at_the_edge_are_searched_for_where_the_edge_goes_on():
    image = smooth()[None]
    around = blocks_of(image, np.array([0, 5]), np.array([0, 7]), 7, margin=2)
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")
    np.testing.assert_array_equal(around, np.stack([padded[:, :11, :11], padded[:, -11:, -11:]], axis=3))


def test_the_motion_of_many_blocks_is_that_of_each(monkeypatch):
    rng = np.random.default_rng(0)
    error = rng.uniform(0, 9, (7, 7, 5)).astype(np.float32)
    now, before = (rng.uniform(0, 255, (3, side, side, 5)).astype(np.float32) for side in (7, 13))
    together = explain_by_motion(error, now, before)
    monkeypatch.setattr(surprise, "SEARCHED_BLOCKS", 2)
    np.testing.assert_array_equal(explain_by_motion(error, now, before), together)


def test_deviations_are_those_of_the_quiet_part():
    error = np.random.default_rng(0).uniform(0.5, 1.5, (1, 42, 56)).astype(np.float32)
    error[:, :, :28] += 30  # four columns of blocks of eight
    error[:, 7:14, 42:49] += 10
    _, deviation, *_ = deviations(error, BLOCKS, floor=0.3)
    assert deviation[0, 1, 6] > 10 and np.abs(np.delete(deviation[0, :, 4:].ravel(), 6)).max() < 3


def test_habit_forgets_by_halves_and_goes_on_in_the_next_group():
    habit = Habit(half_life=1.0)
    blink = np.zeros((3, 1, 2), np.float32)
    blink[1, 0, 0] = 40
    first = habit.exceed(blink, np.array([0.0, 1.0, 1.5]))
    assert first[1, 0, 0] == pytest.approx(40, abs=0.1) and first[1, 0, 1] == pytest.approx(0, abs=0.1)
    again = habit.exceed(np.full((2, 1, 2), 40, np.float32), np.array([2.0, 3.0]))
    np.testing.assert_allclose(again[:, 0], [[20, 40], [20, 20]], atol=0.1)


def test_what_passes_deviates_in_the_next_frame_and_what_stays_does_not():
    deviation = np.zeros((4, 1, 2), np.float32)
    deviation[1:4, 0, 0], deviation[1, 0, 1], deviation[3, 0, 1] = 20, 20, -3
    np.testing.assert_array_equal(passing(deviation)[:, 0], [[20, 20], [20, 0], [20, 0], [0, 0]])
