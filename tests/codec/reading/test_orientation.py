# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Turned, mirrored and stretched video, in files and live."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from synth import MATRICES, as_stored, clip_bytes, display_matrix, moving_frames, plain_images

from transformers_ov2.codec import iter_live_groups
from transformers_ov2.codec.reading.decoding import decode_frames
from transformers_ov2.codec.reading.orientation import Orientation
from transformers_ov2.codec.reading.packets import read_packets
from transformers_ov2.codec.reading.source import open_source


FRAMES = moving_frames(6, 56, 84)


def decoded(video, **options):
    source = open_source(video)
    return source, list(decode_frames(source, read_packets(source), range(6), **options))


def error(images, expected) -> float:
    return np.abs(np.stack(images).astype(int) - expected).mean()


@pytest.mark.parametrize("fmt", ["mp4", "matroska"])
def test_every_display_matrix_shows_the_same_video(fmt):
    for matrix in MATRICES:
        video = clip_bytes(as_stored(FRAMES, matrix), fmt=fmt, matrix=matrix, options={"crf": "5"})
        source, frames = decoded(video)
        assert (source.height, source.width) == (56, 84), matrix
        assert error([frame.image for frame in frames], FRAMES) < 6, matrix


def test_a_live_stream_is_laid_out_as_a_file_is():
    for matrix in MATRICES:
        video = clip_bytes(
            as_stored(FRAMES, matrix), fmt="matroska", matrix=matrix, options={"crf": "5"}, pixel_aspect=Fraction(1)
        )
        (stream,) = iter_live_groups(io.BytesIO(video), images_per_group=1)
        assert error(stream.canvases, FRAMES[:1]) < 6, matrix


@pytest.mark.parametrize(("flip", "rotate"), [("horizontal", 0), ("vertical", 0), ("", 90), ("horizontal", 270)])
@pytest.mark.parametrize("fmt", ["h264", "mpegts"])
def test_orientation_from_the_stream_itself(flip, rotate, fmt):
    """A display orientation SEI message, as cameras write into streams without a container to tell it. It mirrors
    first and turns anticlockwise then."""
    stored = moving_frames(6, 56, 84)
    options = "".join(f":{name}={value}" for name, value in (("flip", flip), ("rotate", rotate)) if value)
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(clip_bytes(stored, fmt="h264", options={"crf": "5"}))) as source,
        av.open(buffer, "w", format=fmt) as target,
    ):
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        context = BitStreamFilterContext(f"h264_metadata=display_orientation=insert{options}", stream)
        for number, packet in enumerate(packet for packet in source.demux(stream) if packet.size):
            packet.pts = packet.dts = 90000 // 25 * number
            packet.time_base = Fraction(1, 90000)
            for filtered in context.filter(packet):
                filtered.stream = copy
                target.mux(filtered)
    video = buffer.getvalue()
    shown = np.stack(plain_images(video))
    shown = {"horizontal": shown[:, :, ::-1], "vertical": shown[:, ::-1], "": shown}[flip]
    shown = np.rot90(shown, rotate // 90, axes=(1, 2))
    source, frames = decoded(video)
    np.testing.assert_array_equal(np.stack([frame.image for frame in frames]), shown)
    assert (source.height, source.width) == shown.shape[1:3]


def test_maps_and_vectors_turn_with_the_picture():
    """A picture of its own coordinates tells where each place went."""
    height, width = 5, 7
    rows, columns = np.indices((height, width))
    vectors = np.zeros(
        height * width,
        dtype=[("w", "u1"), ("h", "u1"), *((name, "<i2") for name in ("src_x", "src_y", "dst_x", "dst_y"))]
        + [("motion_x", "<i4"), ("motion_y", "<i4")],
    )
    # Blocks of 2 x 4 pixels, one for each place, that came from 3 pixels right and 1 up.
    vectors["w"], vectors["h"] = 2, 4
    vectors["dst_x"], vectors["dst_y"] = 2 * columns.ravel() + 1, 4 * rows.ravel() + 2
    vectors["src_x"], vectors["src_y"] = vectors["dst_x"] + 3, vectors["dst_y"] - 1
    vectors["motion_x"], vectors["motion_y"] = 3, -1
    for matrix in MATRICES:
        orientation = Orientation.of_matrix(np.array(matrix).reshape(3, 3))
        place = orientation.turn(np.arange(height * width).reshape(height, width))
        turned = orientation.turn_vectors(vectors, 4 * height, 2 * width)
        across, down = int(turned["w"][0]), int(turned["h"][0])
        assert place.shape == (4 * height // down, 2 * width // across) or orientation.transposed
        found = place[(turned["dst_y"] - down // 2) // down, (turned["dst_x"] - across // 2) // across]
        np.testing.assert_array_equal(found, np.arange(height * width))
        np.testing.assert_array_equal(turned["src_x"] - turned["dst_x"], turned["motion_x"])
        np.testing.assert_array_equal(turned["src_y"] - turned["dst_y"], turned["motion_y"])


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (np.zeros((3, 3)), Orientation()),
        (np.array(display_matrix(2, 0, 0, 2)).reshape(3, 3), Orientation()),
        (np.array([[65536, 20000, 0], [-20000, 65536, 0], [0, 0, 1 << 30]]), Orientation()),
        (np.array([[-20000, 65536, 0], [-65536, -20000, 0], [0, 0, 1 << 30]]), Orientation(True, True, False)),
        (np.full((3, 3), -(2**31)), Orientation(False, True, True)),
    ],
)
def test_other_matrices_are_read_as_the_nearest(matrix, expected):
    assert Orientation.of_matrix(matrix) == expected


@pytest.mark.parametrize("fmt", ["mp4", "matroska", "mpegts"])
@pytest.mark.parametrize("aspect", [Fraction(16, 11), Fraction(8, 9), Fraction(2)])
def test_pixels_that_are_not_square(fmt, aspect):
    video = clip_bytes(FRAMES, fmt=fmt, pixel_aspect=aspect, options={"crf": "5"})
    source, frames = decoded(video, side_data=True)
    width = round(84 * aspect)
    assert (source.height, source.width, source.coded_size) == (56, width, (56, 84))
    assert frames[0].image.shape == (56, width, 3)
    # The square that moves keeps its place, relative to the picture.
    for frame in frames:
        wide = np.repeat(FRAMES[frame.index], 16, axis=1)[:, np.arange(width) * 84 * 16 // width]
        assert np.abs(frame.image.astype(int) - wide).mean() < 14
    vectors = frames[3].motion_vectors
    assert vectors["dst_x"].max() > 0.8 * width
    np.testing.assert_allclose(
        vectors["src_x"], vectors["dst_x"] + vectors["motion_x"] / vectors["motion_scale"], atol=1.6
    )


def test_turned_pixels_that_are_not_square():
    matrix = display_matrix(0, 1, -1, 0)
    video = clip_bytes(as_stored(FRAMES, matrix), matrix=matrix, pixel_aspect=Fraction(3, 2))
    source, frames = decoded(video, size=(28, 28))
    assert (source.height, source.width) == (84, 84)
    assert frames[0].image.shape == (28, 28, 3)


@pytest.mark.parametrize("aspect", [Fraction(1, 255), Fraction(12, 11), Fraction(10, 11)])
def test_absurd_pixels_and_nearly_square_ones_are_taken_as_square(aspect):
    video = clip_bytes(FRAMES, fmt="matroska", pixel_aspect=aspect)
    assert open_source(video).width == 84
