# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from transformers_ov2.codec import CodecStream, CodecStreamConfig
from transformers_ov2.codec.packing.canvas import canvas_size, order_blocks, pack_blocks
from transformers_ov2.codec.reading.pictures import PlanarPicture


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (272, 640, (252, 588)),  # over the limit: divided, rounded down
        (720, 1280, (280, 504)),
        (2160, 3840, (280, 504)),
        (144, 176, (140, 168)),  # between the limits: rounded
        (43, 71, (56, 84)),  # under the lower limit: multiplied, rounded up
        (1, 1, (56, 56)),
        (20, 20000, (28, 5348)),  # no side is 0, and the area keeps to the limit
        (20000, 20, (5348, 28)),
    ],
)
def test_canvas_size(height, width, expected):
    assert canvas_size(height, width, CodecStreamConfig()) == expected


def test_canvas_size_with_other_patches():
    config = CodecStreamConfig(patch=16, merge=3, max_pixels=100_000)
    height, width = canvas_size(720, 1280, config)
    assert (height % 48, width % 48) == (0, 0)
    assert height * width <= 100_000


def random_stream(num_canvases=3, rows=2, columns=3, patch=4, merge=2, frames=5, seed=0) -> CodecStream:
    """Canvases packed from random blocks of random frames."""
    rng = np.random.default_rng(seed)
    config = CodecStreamConfig(patch=patch, merge=merge, min_pixels=1, max_pixels=10**6)
    images = rng.integers(0, 256, (frames, rows * config.factor, columns * config.factor, 3), dtype=np.uint8)
    count = num_canvases * rows * columns
    blocks = np.stack([rng.integers(0, size, count) for size in (frames, rows, columns)], axis=1)
    frame_ids = np.arange(frames) * 7 + 3
    pictures = [PlanarPicture.from_rgb(image) for image in images]
    canvases, positions = pack_blocks(pictures, frame_ids, blocks, config)
    assert pictures == [None] * frames  # they are let go
    stream = CodecStream(
        canvases=canvases,
        patch_positions=positions,
        groups=np.array([[3, 40]]),
        canvases_per_group=np.array([num_canvases]),
        frame_ids=frame_ids,
        timestamps=frame_ids / 25,
        fps=25.0,
        signal_source=["pixels"] * frames,
        timings={"pack": 0.5},
        patch=patch,
        merge=merge,
    )
    stream.images, stream.blocks = images, blocks
    return stream


@pytest.mark.parametrize(("patch", "merge"), [(4, 2), (5, 3), (3, 1)])
def test_every_patch_shows_its_source(patch, merge):
    stream = random_stream(patch=patch, merge=merge)
    _, _, grid_width = stream.grid_thw
    for canvas, positions in zip(stream.canvases, stream.patch_positions):
        for index, (frame, row, column) in enumerate(positions):
            y, x = index // grid_width * patch, index % grid_width * patch
            image = stream.images[np.searchsorted(stream.frame_ids, frame)]
            expected = image[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            np.testing.assert_array_equal(canvas[y : y + patch, x : x + patch], expected)


@pytest.mark.parametrize("merge", [1, 2, 3])
def test_block_order_is_the_order_of_the_blocks(merge):
    stream = random_stream(merge=merge)
    positions = stream.block_positions().reshape(-1, merge, merge, 3)
    assert positions.dtype == np.int64
    frame, row, column = stream.blocks.T
    inside = np.arange(merge)
    np.testing.assert_array_equal(positions[..., 0], np.tile(stream.frame_ids[frame], (merge, merge, 1)).T)
    np.testing.assert_array_equal(positions[:, :, 0, 1], (row * merge)[:, None] + inside)
    np.testing.assert_array_equal(positions[:, 0, :, 2], (column * merge)[:, None] + inside)


def test_patch_rows_are_patches_in_block_order_with_channels_first():
    stream = random_stream()
    rows = stream.patch_rows()
    assert rows.dtype == np.uint8
    assert rows.shape == (np.prod(stream.grid_thw), 3 * stream.patch**2)
    for row, (frame, y, x) in zip(rows, stream.block_positions()):
        image = stream.images[np.searchsorted(stream.frame_ids, frame)]
        p = stream.patch
        expected = image[y * p : (y + 1) * p, x * p : (x + 1) * p].transpose(2, 0, 1)
        np.testing.assert_array_equal(row.reshape(3, p, p), expected)


def test_grid_and_tokens():
    stream = random_stream(num_canvases=3, rows=2, columns=3, merge=2)
    assert stream.grid_thw == (3, 4, 6)
    assert stream.num_tokens == 18


def test_runs_join_across_canvases():
    stream = random_stream(num_canvases=2, rows=1, columns=3)
    frames = np.array([3, 3, 3, 3, 10, 3])
    stream.patch_positions = np.repeat(frames, 4).reshape(2, 3, 2, 2).swapaxes(1, 2).reshape(2, 12, 1)
    stream.patch_positions = np.concatenate([stream.patch_positions, np.zeros((2, 12, 2), np.int64)], axis=2)
    np.testing.assert_array_equal(stream.runs(), [[3, 4], [10, 1], [3, 1]])


def test_runs_count_every_token():
    stream = random_stream(num_canvases=5)
    runs = stream.runs()
    assert runs[:, 1].sum() == stream.num_tokens
    assert (runs[1:, 0] != runs[:-1, 0]).all()


def test_seconds():
    stream = random_stream()
    np.testing.assert_array_equal(stream.seconds(np.array([[10, 3], [31, 10]])), np.array([[10, 3], [31, 10]]) / 25)


def test_seconds_of_padding():
    """The time of the last frame before, or 0."""
    frames = np.array([[-1, 10], [-1, -1], [3, -1]])
    np.testing.assert_array_equal(random_stream().seconds(frames), np.array([[0, 10], [10, 10], [3, 3]]) / 25)


def test_seconds_of_a_frame_that_is_not_there():
    with pytest.raises(ValueError, match="Frame 4 is not among the frames"):
        random_stream().seconds(np.array([3, 4]))


def test_concatenate():
    first, second = random_stream(seed=0), random_stream(num_canvases=2, seed=1)
    second.timings = {"pack": 0.25, "select": 1.0}
    first.signal_source = ["residual", *["motion"] * 4]
    joined = CodecStream.concatenate([first, second])
    np.testing.assert_array_equal(joined.patch_rows(), np.concatenate([first.patch_rows(), second.patch_rows()]))
    np.testing.assert_array_equal(joined.canvases_per_group, [3, 2])
    assert joined.timings == {"pack": 0.75, "select": 1.0}
    assert (joined.fps, joined.patch, joined.merge) == (25.0, 4, 2)
    assert joined.signal_shares == {"pixels": 0.5, "motion": 0.4, "residual": 0.1}


def test_a_single_stream_is_not_copied():
    stream = random_stream(2)
    assert np.shares_memory(CodecStream.concatenate(iter([stream])).canvases, stream.canvases)


def test_frames_are_packed_some_blocks_at_a_time(monkeypatch):
    whole = random_stream(frames=1)
    monkeypatch.setattr("transformers_ov2.codec.packing.canvas.PACKED_PIXELS", 5 * 8 * 8)
    np.testing.assert_array_equal(random_stream(frames=1).canvases, whole.canvases)


def test_concatenate_nothing():
    with pytest.raises(ValueError, match="no stream"):
        CodecStream.concatenate([])


def test_blocks_of_a_group_are_ordered():
    selected = np.array([[4, 1, 0], [2, 0, 1], [4, 0, 1], [2, 0, 0]])
    expected = [[3, 0, 0], [3, 0, 1], [3, 1, 0], [3, 1, 1], [2, 0, 0], [2, 0, 1], [4, 0, 1], [4, 1, 0]]
    blocks = order_blocks(3, selected, (2, 2))
    assert blocks.dtype == np.int64
    np.testing.assert_array_equal(blocks, expected)
