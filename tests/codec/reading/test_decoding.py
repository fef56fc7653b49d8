# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Pixels, side data and order of decoded frames, and what decoding costs."""

import dataclasses
import gc
import hashlib
import io
import os
import platform
import threading
import tracemalloc
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
from synth import MATRICES, REAL_CLIPS, as_stored, clip_bytes, moving_frames, plain_decode, real_clip

from transformers_ov2.codec import CodecStream, iter_live_groups, tokenize_video
from transformers_ov2.codec.reading import conversion, decoding
from transformers_ov2.codec.reading.conversion import DecodeRequest, FrameConverter
from transformers_ov2.codec.reading.decoding import decode_frames
from transformers_ov2.codec.reading.packets import read_packets
from transformers_ov2.codec.reading.pictures import ColorSpace, PlanarPicture
from transformers_ov2.codec.reading.source import VideoError, VideoSource, open_source


B_PYRAMID = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=5:b-pyramid=normal:b-adapt=0"}


def opened(video):
    source = open_source(video)
    return source, read_packets(source)


def digest(frames) -> str:
    """Every byte of every field."""
    out = hashlib.sha256()
    for frame in frames:
        out.update(f"{frame.index} {frame.pict_type}".encode())
        vectors = frame.motion_vectors
        # Field by field: the padding of FFmpeg's struct is whatever was in memory.
        fields = [] if vectors is None else [vectors[name] for name in vectors.dtype.names]
        for field in (frame.picture.planes, frame.image, *fields, frame.quantiser_steps):
            out.update(b"none" if field is None else np.ascontiguousarray(field).tobytes())
    return out.hexdigest()


def area_weights(source: int, target: int) -> np.ndarray:
    """Share of each source pixel in each target pixel, [target, source]."""
    edges = np.linspace(0, source, target + 1)
    pixels = np.arange(source)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return overlap.clip(0) * target / source


# How much libswscale truncates on the way from YUV to RGB depends on the instructions it uses.
on_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="rounding measured on x86-64")


@pytest.fixture(scope="module")
def b_frames():
    return clip_bytes(moving_frames(48), options=B_PYRAMID)


@pytest.mark.parametrize("name", REAL_CLIPS)
def test_real_clips_after_seeking(name, monkeypatch):
    monkeypatch.setattr(decoding, "_SKIP_BYTES", -1)
    path = real_clip(name)
    plain = plain_decode(path)
    source, table = opened(path)
    rng = np.random.default_rng(0)
    for num_threads in (1, 2):
        indices = rng.choice(table.num_frames, 12, replace=False)
        for frame in decode_frames(source, table, indices, num_threads=num_threads):
            reference = plain[frame.index]
            np.testing.assert_array_equal(frame.image, reference.to_ndarray(format="rgb24", threads=1))
            assert frame.pict_type == " IPB"[reference.pict_type]


@pytest.mark.parametrize("video", ["b-frames", "bikes", "carphone_pristine"])  # the last is one long GOP
def test_bit_equal_for_any_number_of_threads_and_on_every_run(video, b_frames):
    source, table = opened(b_frames if video == "b-frames" else real_clip(video))
    indices = range(0, table.num_frames, 2)
    options = {"side_data": True, "size": (56, 84)}
    digests = {
        digest(decode_frames(source, table, indices, num_threads=n, **options)) for n in (1, 2, 4) for _ in range(5)
    }
    assert len(digests) == 1


def test_motion_vectors_are_those_of_a_sequential_decode(b_frames):
    """Also of B-frames reached by seeking, with non-reference pictures left out."""
    with av.open(io.BytesIO(b_frames)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.options = {"export_side_data": "mvs+venc_params"}
        plain = list(container.decode(stream))
    source, table = opened(b_frames)
    indices = [5, 13, 14, 20, 31, 40]
    kinds = set()
    for frame in decode_frames(source, table, indices, side_data=True, num_threads=2):
        reference = plain[frame.index]
        kinds.add(frame.pict_type)
        vectors = reference.side_data.get("MOTION_VECTORS")
        if vectors is None:
            assert frame.motion_vectors is None
        else:
            for name in frame.motion_vectors.dtype.names:
                np.testing.assert_array_equal(frame.motion_vectors[name], vectors.to_ndarray()[name])
        qp = reference.side_data.get("VIDEO_ENC_PARAMS").qp_map()
        steps = np.diff(qp.ravel(), prepend=qp[0, 0]) != 0
        np.testing.assert_array_equal(frame.quantiser_steps, steps.reshape(qp.shape))
    assert "B" in kinds


def test_vectors_point_to_where_the_block_was():
    """A texture that moves by a known amount: dst = src + motion, as displayed however the picture is stored."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (96, 200, 3), dtype=np.uint8)
    texture = texture.repeat(4, axis=0).repeat(4, axis=1)
    frames = np.stack([texture[40 : 40 + 128, 8 * i : 8 * i + 160] for i in range(10)])  # content moves left by 8
    for matrix in MATRICES:
        options = {"x264-params": "bframes=0:ref=1", "crf": "10"}
        video = clip_bytes(as_stored(frames, matrix), matrix=matrix, options=options)
        source, table = opened(video)
        (frame,) = decode_frames(source, table, [7], side_data=True)
        vectors = frame.motion_vectors
        assert frame.image.shape == (128, 160, 3) and frame.quantiser_steps.shape == (8, 10)
        motion = np.stack([vectors["motion_x"], vectors["motion_y"]], -1) / vectors["motion_scale"][:, None]
        assert np.median(motion, axis=0).tolist() == [8, 0]  # the block comes from 8 pixels to the right
        assert (vectors["dst_x"] <= 160).all() and (vectors["dst_y"] <= 128).all() and (vectors["dst_x"] > 0).all()
        np.testing.assert_allclose(vectors["src_x"], vectors["dst_x"] + motion[:, 0], atol=1)
        np.testing.assert_allclose(vectors["src_y"], vectors["dst_y"] + motion[:, 1], atol=1)


@pytest.mark.parametrize(
    ("codec", "vectors", "steps"),
    [
        ("libx264", True, True),
        ("mpeg4", True, True),
        ("libvpx-vp9", False, False),
        ("libx265", False, False),
        ("libsvtav1", False, False),
        ("mjpeg", False, False),
    ],
)
def test_side_data_by_codec(codec, vectors, steps):
    video = clip_bytes(8, codec, "matroska", pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p")
    source, table = opened(video)
    frames = list(decode_frames(source, table, range(8), side_data=True))
    assert any(frame.motion_vectors is not None for frame in frames) == vectors
    assert all((frame.quantiser_steps is not None) == steps for frame in frames)
    if steps:
        assert frames[3].quantiser_steps.shape == (6, 8) and frames[3].quantiser_steps.dtype == bool
    without = list(decode_frames(source, table, range(8)))
    assert all(frame.motion_vectors is None and frame.quantiser_steps is None for frame in without)


def exact_resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    vertical, horizontal = (area_weights(*sides) for sides in zip(image.shape, size))
    return np.einsum("ij,jkc,lk->ilc", vertical, image.astype(np.float64), horizontal, optimize=True)


@pytest.mark.parametrize("size", [(28, 56), (84, 112), (95, 127), (96, 64), (96, 128)])
def test_area_resize_is_exact(size):
    video = clip_bytes(moving_frames(4), "libx264rgb", pix_fmt="rgb24")
    source, table = opened(video)
    for frame in decode_frames(source, table, range(4), size=size):
        full = plain_decode(video)[frame.index].to_ndarray(format="rgb24", threads=1)
        assert frame.image.shape == (*size, 3) and frame.image.dtype == np.uint8
        error = frame.image - exact_resize(full, size)
        assert np.abs(error).max() < 0.75 and abs(error.mean()) < 0.15  # halves are rounded up


# Pixel format: bits of its numbers, and chroma rows and columns for each of luma.
PIXEL_FORMATS = {
    "yuv420p": (8, 2, 2),
    "yuvj420p": (8, 2, 2),
    "yuva420p": (8, 2, 2),
    "yuv422p": (8, 1, 2),
    "yuv440p": (8, 2, 1),
    "yuv444p": (8, 1, 1),
    "nv12": (8, 2, 2),
    "nv21": (8, 2, 2),
    "yuv420p10le": (10, 2, 2),
    "yuv422p10le": (10, 1, 2),
    "yuv444p12le": (12, 1, 1),
    "p010le": (16, 2, 2),
    "gray": (8, 0, 0),
    "gray10le": (10, 0, 0),
    "gbrp": (8, 1, 1),
    "gbrp10le": (10, 1, 1),
}


def packed(planes: list[np.ndarray], pix_fmt: str) -> av.VideoFrame:
    """A frame of planes of 16-bit numbers: Y, U and V, or R, G and B, or grey."""
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pix_fmt)
    bits = PIXEL_FORMATS[pix_fmt][0]
    planes = [(plane >> (16 - bits)).astype(np.uint8 if bits == 8 else np.uint16) for plane in planes]
    if pix_fmt in ("nv12", "nv21", "p010le"):
        chroma = planes[1:] if pix_fmt != "nv21" else planes[:0:-1]
        planes = [planes[0], np.stack(chroma, -1).reshape(len(chroma[0]), -1)]
    elif pix_fmt.startswith("gbr"):
        planes = [planes[1], planes[2], planes[0]]
    for plane, values in zip(frame.planes, planes):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        stored = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
        rows[:, : stored.shape[1]] = stored
        plane.update(rows)
    return frame


@pytest.mark.parametrize("size", [(28, 56), (48, 64), (84, 112), (96, 64)])
@pytest.mark.parametrize("pix_fmt", PIXEL_FORMATS)
def test_pictures_are_resized_plane_by_plane(size, pix_fmt):
    """Each from its own resolution and depth, without a picture of full size in RGB between."""
    rng = np.random.default_rng(0)
    bits, tall, wide = PIXEL_FORMATS[pix_fmt]
    planes = [rng.integers(16 << 8, 235 << 8, (96, 128))]
    if tall:
        planes += [rng.integers(16 << 8, 240 << 8, (96 // tall, 128 // wide)) for _ in range(2)]
    converter = FrameConverter(VideoSource("clip", width=128, height=96), DecodeRequest(size))
    converter.to_rgb = None
    picture = converter(0, packed(planes, pix_fmt)).picture
    for index, plane in enumerate(planes if tall else planes * 3):
        if size[0] <= len(plane) and size[1] <= plane.shape[1]:
            exact = exact_resize((plane >> (16 - bits))[..., None], size)[..., 0] / (1 << (bits - 8))
            error = picture.planes[index] - exact
            # Of more than 8 bits, libswscale dithers what it drops. Halves are rounded up.
            assert np.abs(error).max() < (0.75 if bits == 8 else 1.1) and -0.1 < error.mean() < 0.3


@on_x86
@pytest.mark.parametrize("pix_fmt", PIXEL_FORMATS)
def test_colours_of_every_pixel_format(pix_fmt):
    """Within two levels of PyAV's, whose conversions round in different ways."""
    _, tall, wide = PIXEL_FORMATS[pix_fmt]
    shapes = [(96, 128)] + [(96 // tall, 128 // wide)] * 2 if tall else [(96, 128)]
    for color_range in (1, 2):
        frame = packed([np.full(shape, level << 8) for shape, level in zip(shapes, (110, 90, 150))], pix_fmt)
        frame.color_range = color_range
        expected = frame.to_ndarray(format="rgb24", threads=1)[0, 0].astype(int)
        for size in ((28, 56), (112, 252)):
            converter = FrameConverter(VideoSource("clip", width=128, height=96), DecodeRequest(size))
            assert np.abs(converter(0, frame).image - expected).max() <= 2


@on_x86
@pytest.mark.parametrize(
    ("name", "size"), [("bigbuckbunny", (280, 504)), ("bikes", (252, 588)), ("bikes", (112, 280))]
)
def test_resized_pictures_are_those_of_pyav(name, size):
    """Up to rounding, and where colours meet: chroma that is enlarged is smooth, PyAV's is repeated."""
    source, table = opened(real_clip(name))
    plain = plain_decode(real_clip(name))
    for frame in decode_frames(source, table, range(5, table.num_frames, 40), size=size):
        error = frame.image - exact_resize(plain[frame.index].to_ndarray(format="rgb24", threads=1), size)
        assert np.abs(error).mean() < 0.75 and np.abs(error.mean((0, 1))).max() < 0.3


@on_x86
def test_colours_are_those_of_libswscale():
    """For every colour space and range it knows; it truncates, so single values differ by up to two levels."""
    rng = np.random.default_rng(0)
    planes = [rng.integers(70, 180, (64, 64)), *rng.integers(118, 138, (2, 32, 32))]
    for colorspace in conversion._COLORSPACES:
        for color_range in (0, 1, 2):
            frame = av.VideoFrame(64, 64, "yuv420p")
            for plane, values in zip(frame.planes, planes):
                rows = np.zeros((plane.height, plane.line_size), np.uint8)
                rows[:, : plane.width] = values
                plane.update(rows)
            frame.colorspace, frame.color_range = colorspace, color_range
            repeated = np.stack([planes[0], *(plane.repeat(2, 0).repeat(2, 1) for plane in planes[1:])])
            ours = PlanarPicture(repeated.astype(np.uint8), ColorSpace.of_yuv(colorspace, color_range == 2)).to_rgb()
            error = ours.astype(int) - frame.to_ndarray(format="rgb24", threads=1)
            assert np.abs(error).max() <= 2 and np.abs(error.mean((0, 1))).max() < 0.15


def test_yuvj_is_of_full_range_whatever_its_tag():
    converter = FrameConverter(open_source(clip_bytes(2)), DecodeRequest((28, 56)))
    frame = av.VideoFrame(128, 96, "yuvj420p")
    for plane, value in zip(frame.planes, (250, 128, 128)):
        plane.update(np.full(plane.buffer_size, value, np.uint8))
    for color_range in (0, 1, 2):
        frame.color_range = color_range
        assert np.abs(converter(0, frame).image.astype(int) - 249.5).max() <= 1


def test_resize_of_decoded_frames_and_rotated_video():
    frames = moving_frames(3, 40, 60)
    source = open_source(frames)
    exact = np.einsum("ij,tjkc,lk->tilc", area_weights(40, 14), frames.astype(float), area_weights(60, 28))
    for frame in decode_frames(source, read_packets(source), range(3), size=(14, 28)):
        assert np.abs(frame.image - exact[frame.index]).max() < 0.75
    turned = clip_bytes(
        np.ascontiguousarray(np.rot90(frames, 1, axes=(1, 2))), rotation=90, options={"crf": "0"}, pix_fmt="yuv444p"
    )
    source, table = opened(turned)
    for frame in decode_frames(source, table, range(3), size=(14, 28)):
        assert frame.image.shape == (14, 28, 3)
        assert np.abs(frame.image - exact[frame.index]).mean() < 3


def test_enlarging_is_smooth():
    source, table = opened(clip_bytes(moving_frames(2, 32, 32)))
    for frame in decode_frames(source, table, range(2), size=(64, 96)):
        small = plain_decode(source.data)[frame.index].to_ndarray(format="rgb24", threads=1)
        assert frame.image.shape == (64, 96, 3)
        np.testing.assert_allclose(frame.image.mean((0, 1)), small.mean((0, 1)), atol=2)


def test_video_that_changes_its_size():
    """Later parts of another size are brought to that of the first frame, which the source has stated."""
    video = clip_bytes(moving_frames(25, 96, 128), fmt="mpegts") + clip_bytes(moving_frames(25, 48, 64), fmt="mpegts")
    source, table = opened(video)
    frames = list(decode_frames(source, table, [3, 30]))
    assert [frame.image.shape for frame in frames] == [(96, 128, 3)] * 2
    first = plain_decode(video)[3].to_ndarray(format="rgb24", threads=1)
    np.testing.assert_array_equal(frames[0].image, first)


@pytest.mark.parametrize(("codec", "fmt"), [("libx264", "mpegts"), ("libx264", "h264"), ("mpeg4", "mpegts")])
def test_side_data_of_a_video_that_changes_its_size(codec, fmt):
    """Vectors and maps of all parts are in the terms of the first one, so that they can be scored together."""
    options = {"g": "12", "bf": "0"}
    parts = [moving_frames(20, 96, 128), moving_frames(20, 48, 96)]
    video = b"".join(clip_bytes(part, codec, fmt, options=options) for part in parts)
    source, table = opened(video)
    first, second = decode_frames(source, table, [5, 30], size=(28, 28), side_data=True)
    assert first.quantiser_steps.shape == second.quantiser_steps.shape == (6, 8)
    assert second.motion_vectors["dst_y"].max() > 70 and second.motion_vectors["dst_x"].max() > 110
    # A pan by two pixels of 96 that are shown as 128.
    pan = np.median(second.motion_vectors["motion_x"] / second.motion_vectors["motion_scale"])
    assert pan == pytest.approx(2 * 128 / 96, abs=0.3)
    for streams in ([tokenize_video(video, target_canvas=8)], list(iter_live_groups(io.BytesIO(video)))):
        stream = CodecStream.concatenate(streams)
        assert stream.frame_ids[-1] >= 38 and stream.canvases.shape[1:3] == (84, 140)


def count_decoded(monkeypatch, source, table, indices, **options) -> int:
    """Packets that reach the decoder."""
    sent = []
    original = decoding._Reader._pick
    monkeypatch.setattr(
        decoding._Reader,
        "_pick",
        lambda self, packet, wanted: sent.append(packet is not None) or original(self, packet, wanted),
    )
    assert len(list(decode_frames(source, table, indices, **options))) == len(set(indices))
    return sum(sent)


def test_only_what_is_needed_is_decoded(b_frames, monkeypatch):
    source, table = opened(b_frames)
    starts = np.flatnonzero(table.is_key)
    assert len(starts) == 4
    # One key frame: one packet. One reference frame: the references before it in its group. Nothing of other groups.
    assert count_decoded(monkeypatch, source, table, [int(starts[2])]) == 1
    target = int(starts[1] + 6)
    before = (table.decode_index <= table.decode_index[target]) & (table.decode_index >= table.decode_index[starts[1]])
    needed = (before & table.is_reference).sum() + (not table.is_reference[target])
    assert count_decoded(monkeypatch, source, table, [target]) == needed < 8
    assert count_decoded(monkeypatch, source, table, range(48)) == 48
    references = np.flatnonzero(table.is_reference).tolist()
    assert count_decoded(monkeypatch, source, table, references) <= len(references) < 30


def test_indices():
    source, table = opened(clip_bytes(10))
    assert [frame.index for frame in decode_frames(source, table, [7, 2, 2, 9, 7])] == [2, 7, 9]
    assert list(decode_frames(source, table, [])) == []
    for bad in ([-1], [10], [0, 99]):
        with pytest.raises(IndexError, match="indices"):
            decode_frames(source, table, bad)
    for options in ({"size": (0, 28)}, {"size": (28,)}, {"num_threads": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            decode_frames(source, table, [0], **options)


def test_order_against_the_decoder_still_gives_ascending_frames():
    """Times that swap neighbours (damaged headers): frames come in the order of the times, each once, as far as
    memory is bounded."""
    video = clip_bytes(30, options={"bf": "0", "g": "30"})
    source, table = opened(video)
    plain = plain_decode(video)
    for order, lost in (
        (np.arange(30).reshape(-1, 2)[:, ::-1].ravel(), 0),
        (np.roll(np.arange(30), -10), 0),
        (np.roll(np.arange(30), 1), 1),  # the first one in time is the last one decoded: too far away to wait for
    ):
        packets = dataclasses.replace(table.packets, frame=np.argsort(order))
        swapped = dataclasses.replace(table, decode_index=order, packets=packets)
        for num_threads in (1, 2):
            frames = list(decode_frames(source, swapped, range(30), num_threads=num_threads))
            indices = [frame.index for frame in frames]
            assert indices == sorted(indices) and len(set(indices)) == 30 - lost
            for frame in frames:
                np.testing.assert_array_equal(
                    frame.image, plain[order[frame.index]].to_ndarray(format="rgb24", threads=1)
                )


def test_container_that_seeks_to_the_wrong_place(b_frames, monkeypatch):
    """Positions are checked, not believed: reading from the start is always right."""
    monkeypatch.setattr(decoding, "_SKIP_BYTES", -1)
    plain = plain_decode(b_frames)
    source, table = opened(b_frames)
    for wrong in (
        lambda self, first: True,  # stays where it was
        lambda self, first: False,
    ):
        monkeypatch.setattr(decoding._Reader, "_seek", wrong)
        for frame in decode_frames(source, table, [15, 40]):
            np.testing.assert_array_equal(frame.image, plain[frame.index].to_ndarray(format="rgb24", threads=1))


def test_table_of_another_file_is_noticed():
    source, _ = opened(clip_bytes(20))
    _, table = opened(clip_bytes(moving_frames(20, seed=5)))
    with pytest.raises(VideoError, match="does not match its packet table"):
        list(decode_frames(source, table, [19]))


def test_lost_frames_are_left_out_with_a_warning():
    whole = clip_bytes(moving_frames(40), fmt="mpegts", options={"x264-params": "keyint=10:min-keyint=10"})
    source, table = opened(whole)
    broken = bytearray(whole)
    at = len(whole) * 6 // 10
    broken[at : at + 188 * 40] = b"".join(
        whole[i : i + 4] + bytes(184) for i in range(at - at % 188, at - at % 188 + 188 * 40, 188)
    )
    source, table = opened(bytes(broken))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frames = list(decode_frames(source, table, range(table.num_frames)))
    assert 0 < len(frames) <= table.num_frames
    assert (len(frames) < table.num_frames) == any("could not be decoded" in str(w.message) for w in caught)


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "decode_frames"]


def test_large_pictures_are_decoded_in_fewer_threads(b_frames, monkeypatch):
    """What decoders hold in all does not grow with the size of a picture."""
    source, table = opened(b_frames)
    asked = []
    pool = decoding._Pool
    monkeypatch.setattr(decoding, "_Pool", lambda *args: asked.append(args[-1]) or pool(*args))
    for size, expected in (((96, 128), [8]), ((1440, 2560), [3]), ((2160, 3840), [1])):
        asked.clear()
        found = list(decode_frames(dataclasses.replace(source, coded_size=size), table, range(6), num_threads=8))
        assert asked == expected and len(found) == 6
    # One decoder, and no room for pictures of this size that wait.
    asked.clear()
    large = dataclasses.replace(source, coded_size=(2160, 3840))
    assert len(list(decode_frames(large, table, range(6), size=(2156, 3836), num_threads=8))) == 6
    assert asked == []


def test_error_in_a_worker_reaches_the_caller(b_frames, monkeypatch):
    source, table = opened(b_frames)
    monkeypatch.setattr(FrameConverter, "__call__", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(decode_frames(source, table, range(48), num_threads=3))
    assert not workers()


def test_abandoned_generator_stops_its_workers(b_frames, monkeypatch):
    monkeypatch.setattr(decoding, "_BUFFER_BYTES", 0)  # two frames wait, so the workers do, too
    source, table = opened(b_frames)
    frames = decode_frames(source, table, range(48), num_threads=3)
    next(frames)
    assert workers()
    frames.close()
    assert not workers()


@pytest.mark.parametrize("num_threads", [1, 3])
def test_memory_does_not_grow_with_the_number_of_frames(num_threads, monkeypatch):
    """Frames wait for a slow consumer in buffers of limited size."""
    monkeypatch.setattr(decoding, "_BUFFER_BYTES", 2**20)
    frame_bytes = 96 * 128 * 3
    peaks = []
    for repeats in (1, 4):
        video = clip_bytes(np.tile(moving_frames(60), (repeats, 1, 1, 1)), options={"x264-params": "keyint=10"})
        source, table = opened(video)
        list(decode_frames(source, table, [0]))
        tracemalloc.start()
        for frame in decode_frames(source, table, range(table.num_frames), num_threads=num_threads):
            assert frame.image.nbytes == frame_bytes
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 30 * frame_bytes  # 180 frames more


def test_frames_of_a_later_part_that_are_shown_first():
    """Timestamps that put the second half before the first: each half is still decoded from its own key frame."""
    video = clip_bytes(40, options={"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=0"})
    source, table = opened(video)
    plain = plain_decode(video)
    order = np.roll(np.arange(40), 20)
    packets = dataclasses.replace(table.packets, frame=np.argsort(order))
    swapped = dataclasses.replace(table, decode_index=order, packets=packets)
    frames = list(decode_frames(source, swapped, [3, 19, 25]))
    assert [frame.index for frame in frames] == [3, 19, 25]
    for frame in frames:
        np.testing.assert_array_equal(frame.image, plain[order[frame.index]].to_ndarray(format="rgb24", threads=1))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_side_data_does_not_keep_pictures():
    """The pictures of the decoder are freed as they are consumed, not when the garbage collector runs."""
    frames = np.tile(moving_frames(8, 480, 640), (20, 1, 1, 1))
    source, table = opened(clip_bytes(frames, options={"preset": "ultrafast", "bf": "2", "g": "80"}))

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    gc.disable()
    try:
        for frame in decode_frames(source, table, range(160), side_data=True):
            if frame.index == 40:
                before = resident()
        assert resident() - before < 30 * 640 * 480 * 1.5  # 120 pictures were given out since
    finally:
        gc.enable()


def test_no_frame_is_kept_while_the_next_one_is_decoded(b_frames, monkeypatch):
    """Of 4K, each is 12 to 25 MB."""
    source, table = opened(b_frames)
    kept, pick = [], decoding._Reader._pick

    def counted(reader, packet, wanted):
        kept.append(sum(type(each) is av.VideoFrame for each in gc.get_objects()))
        return pick(reader, packet, wanted)

    monkeypatch.setattr(decoding._Reader, "_pick", counted)
    others = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    found = [frame.index for frame in decode_frames(source, table, range(48), size=(28, 28))]
    assert found == list(range(48))
    assert max(kept) == others + 1  # the empty one that PyAV's decoder fills next


@pytest.mark.parametrize("num_threads", [1, 2])
def test_decoders_do_not_wait_for_the_garbage_collector(b_frames, num_threads):
    source, table = opened(b_frames)
    kinds = ("_Reader", "VideoCodecContext", "InputContainer", "VideoFrame")

    def alive() -> int:
        return sum(type(each).__name__ in kinds for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        assert len(list(decode_frames(source, table, range(48), num_threads=num_threads))) == 48
        assert alive() == before
    finally:
        gc.enable()
