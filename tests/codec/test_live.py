# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import io
import itertools
import os
import threading

import numpy as np
import pytest
from synth import clip_bytes, moving_frames, plain_images
from test_tokenizer import SELECTIONS, assert_same, assert_well_formed

from transformers_ov2.codec import CodecStream, VideoError, iter_live_groups, tokenize_video
from transformers_ov2.codec.live import _OnlinePartition


def endless_frames():
    frames = moving_frames(50)
    for index in itertools.count():
        yield np.roll(frames[index % 50], index // 50, axis=0)


def test_a_group_comes_before_the_stream_ends():
    data = clip_bytes(400, fmt="mpegts", options={"g": "50"})
    read_end, write_end = os.pipe()
    got_group = threading.Event()
    ended_early = []

    def feed():
        with os.fdopen(write_end, "wb", buffering=0) as pipe:
            pipe.write(data[: len(data) * 9 // 10])
            ended_early.append(not got_group.wait(timeout=60))
            pipe.write(data[len(data) * 9 // 10 :])

    writer = threading.Thread(target=feed)
    writer.start()
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        groups = iter_live_groups(pipe)
        streams = [next(groups)]
        got_group.set()
        streams += groups
    writer.join()
    assert ended_early == [False]
    assert len(streams) > 2
    assert_well_formed(CodecStream.concatenate(streams), 400)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("fmt", ["mpegts", "matroska", "h264"])
def test_whole_streams(selection, fmt):
    data = clip_bytes(300, fmt=fmt, options={"g": "50", "bf": "2"})
    streams = list(iter_live_groups(io.BytesIO(data), selection=selection))
    joined = CodecStream.concatenate(streams)
    assert_well_formed(joined, 300)
    assert "motion+residual" in joined.signal_source
    assert (joined.canvases_per_group == 4).all()
    np.testing.assert_allclose(joined.timestamps, joined.frame_ids / 25, atol=0.01)
    lengths = np.diff(joined.groups, axis=1).ravel() / 25
    assert (lengths[:-1] >= 1.5 - 1e-9).all() and (lengths <= 6 + 0.5).all()


def test_pixels_are_those_of_the_frames():
    data = clip_bytes(moving_frames(120, 112, 140), fmt="mpegts", options={"bf": "2"})
    images = plain_images(data)
    for stream in iter_live_groups(io.BytesIO(data)):
        for row, (frame, y, x) in zip(stream.patch_rows(), stream.block_positions()):
            patch = images[frame][y * 14 : (y + 1) * 14, x * 14 : (x + 1) * 14]
            np.testing.assert_array_equal(row.reshape(3, 14, 14), patch.transpose(2, 0, 1))


def test_endless_frames():
    groups = iter_live_groups(endless_frames(), fps=25)
    streams = list(itertools.islice(groups, 4))
    bounds = np.concatenate([stream.groups for stream in streams])
    np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])
    # Nothing tells busy times from quiet ones: groups of the usual length.
    np.testing.assert_array_equal(np.diff(bounds, axis=1).ravel(), [100] * 4)
    assert streams[0].signal_shares == {"pixels": 1.0}
    assert streams[3].timestamps[0] == 12.0


@pytest.mark.parametrize("selection", SELECTIONS)
def test_many_frames_per_second(selection):
    """No more are held than the budget and one for each bin; groups cover all of them."""
    part = moving_frames(60, 56, 84)
    streams = list(
        iter_live_groups(itertools.islice(itertools.cycle(part), 2000), fps=240, frame_budget=100, selection=selection)
    )
    joined = CodecStream.concatenate(streams)
    assert_well_formed(joined, 2000)
    for stream in streams:
        assert 50 < len(stream.frame_ids) <= 100 + 13
        assert np.diff(stream.frame_ids).max() <= 16 < np.diff(stream.groups[0])[0]


def test_repeats_itself():
    data = clip_bytes(200, fmt="mpegts")
    runs = [CodecStream.concatenate(list(iter_live_groups(io.BytesIO(data)))) for _ in range(3)]
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


def test_a_short_stream_is_one_group():
    data = clip_bytes(20, fmt="mpegts")
    (stream,) = iter_live_groups(io.BytesIO(data))
    whole = tokenize_video(data, target_canvas=4)
    assert stream.groups.tolist() == whole.groups.tolist() == [[0, 20]]
    np.testing.assert_array_equal(stream.canvases[0], whole.canvases[0])


def test_fewer_frames_than_canvases():
    (stream,) = iter_live_groups(moving_frames(2), fps=25)
    assert len(stream.canvases) == 2


def test_clock_that_is_set_back():
    times = [*range(60), *range(5, 65)]
    parts = [clip_bytes(60, fmt="mpegts", options={"bf": "0"}, pts=part) for part in (times[:60], times[60:])]
    joined = CodecStream.concatenate(list(iter_live_groups(io.BytesIO(b"".join(parts)))))
    assert_well_formed(joined, 120)
    assert (np.diff(joined.timestamps) > 0).all()


def test_busy_times_get_short_groups():
    partition = _OnlinePartition(4)
    ends, count = [], 0
    for frame in range(1500):
        energy = 900.0 if 500 <= frame < 1000 else 100.0
        if cut := partition.push(frame / 25, energy):
            count += cut
            ends.append(count)
    lengths = np.diff([0, *ends]) / 25
    middle = np.array(ends) - lengths * 12.5
    busy = (middle > 500) & (middle < 1000)
    assert lengths.min() >= 1.5 and lengths.max() <= 6.0
    assert lengths[busy].mean() < 0.5 * lengths[middle > 1050].mean()


def test_groups_end_in_quiet_bins():
    partition = _OnlinePartition(4)
    # Quiet for half a second before the share of the group is reached.
    quiet = range(75, 88)
    cuts = [partition.push(frame / 25, 1.0 if frame in quiet else 100.0) for frame in range(150)]
    assert next(cut for cut in cuts if cut) == 75


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"grouping": "fixed"}, "`grouping='fixed'`"),
        ({"max_tokens": 100}, "`max_tokens=100`"),
        ({"bit_source": "codec-video-prep"}, "`bit_source=.codec-video-prep.`"),
        ({"fps": 25.0}, "`fps`"),
        ({"patchs": 14}, "`patchs` is no option"),
    ],
)
def test_options_that_do_not_apply(kwargs, message):
    with pytest.raises(ValueError, match=message):
        iter_live_groups(io.BytesIO(b""), **kwargs)


def test_frames_need_a_rate():
    with pytest.raises(ValueError, match="`fps` must be given"):
        iter_live_groups(endless_frames())


@pytest.mark.parametrize("data", [b"", b"no video at all " * 100, b"#EXTM3U\n#EXT-X-VERSION:3\nfile.ts\n"])
def test_no_video(data):
    with pytest.raises(VideoError, match="camera 1: "):
        list(iter_live_groups(io.BytesIO(data), name="camera 1"))


def test_no_frames():
    with pytest.raises(VideoError, match="none of its frames"):
        list(iter_live_groups(iter(()), fps=25))


@pytest.mark.parametrize(
    "frames",
    [
        [np.zeros((8, 8), np.uint8)],
        [np.zeros((8, 8, 3))],
        [np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)],
    ],
)
def test_frames_of_another_kind(frames):
    with pytest.raises(VideoError, match=r"<live>: frame \d must be uint8"):
        list(iter_live_groups(frames, fps=25))
