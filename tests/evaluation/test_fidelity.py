# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from transformers_ov2.evaluation.fidelity import rebuild_psnr


def clip(n=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 42, 3), dtype=np.uint8)


def whole(frame):
    return [(frame, row, col) for row in range(2) for col in range(3)]


def test_every_frame_shown_is_perfect():
    frames = clip()
    assert rebuild_psnr(frames, [p for t in range(6) for p in whole(t)]) == float("inf")


def test_patches_are_held_until_the_next_one():
    frames = np.zeros((4, 28, 42, 3), dtype=np.uint8)
    frames[1:, :14, :14] = 100  # changes at frame 1, is refreshed at frame 3 only
    expected = 10 * np.log10(255**2 / (2 * 14 * 14 * 100**2 / (4 * 28 * 42)))
    assert rebuild_psnr(frames, [*whole(0), (3, 0, 0)]) == pytest.approx(expected)


def test_patches_paste_at_their_own_place_and_time():
    frames = clip(2)
    frames[1] = frames[0]
    frames[1, 14:, 28:] ^= 255
    assert rebuild_psnr(frames, [*whole(0), (1, 1, 2)]) == float("inf")
    assert rebuild_psnr(frames, [*whole(0), (1, 1, 1)]) < 20


def test_order_and_padding_do_not_matter():
    frames = clip()
    positions = [*whole(0), (2, 1, 1), (4, 0, 2), (5, 1, 0)]
    shuffled = np.random.default_rng(0).permutation(np.array([*positions, (-1, -1, -1)]))
    assert rebuild_psnr(frames, positions) == rebuild_psnr(iter(frames), shuffled)


def test_what_was_never_shown_is_black():
    frames = np.full((1, 28, 42, 3), 255, dtype=np.uint8)
    assert rebuild_psnr(frames, np.zeros((0, 3), dtype=np.int64)) == pytest.approx(0.0)


@pytest.mark.parametrize("position", [(0, 2, 0), (0, 0, 3), (6, 0, 0)])
def test_positions_outside_the_video_are_refused(position):
    with pytest.raises(ValueError, match="patch"):
        rebuild_psnr(clip(), [*whole(0), position])
