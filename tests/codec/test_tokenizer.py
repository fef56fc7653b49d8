# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import io
import subprocess
import sys
import textwrap
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from synth import clip_bytes, make_clip, moving_frames, plain_images, real_clip

import transformers_ov2.codec
from transformers_ov2.codec import CodecStream, CodecStreamConfig, VideoError, iter_groups, tokenize_video, tokenizer
from transformers_ov2.codec.deciding import budget
from transformers_ov2.codec.deciding.budget import plan_groups, timestamp_text_tokens
from transformers_ov2.codec.deciding.fusion import SIGNAL_SOURCES
from transformers_ov2.codec.reading.packets import read_packets
from transformers_ov2.codec.reading.source import open_source


ARRAYS = ("canvases", "patch_positions", "groups", "canvases_per_group", "frame_ids", "timestamps")
SELECTIONS = ("evidence", "state")


@pytest.fixture(scope="module")
def clip() -> bytes:
    """75 frames of 96x128 with B-frames and a key frame each 25."""
    return clip_bytes(75, options={"g": "25", "bf": "2", "x264-params": "scenecut=0"})


def assert_same(one: CodecStream, other: CodecStream):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert (one.fps, one.signal_source) == (other.fps, other.signal_source)


def blocks_of(stream: CodecStream) -> list[np.ndarray]:
    """Blocks (frame, block row, block column) of each group, in token order."""
    blocks = stream.block_positions()[:: stream.merge**2] // (1, stream.merge, stream.merge)
    per_canvas = stream.num_tokens // len(stream.canvases)
    return np.split(blocks, np.cumsum(stream.canvases_per_group)[:-1] * per_canvas)


def assert_well_formed(stream: CodecStream, num_frames: int):
    """What holds for every stream: groups that cover the video, an I-canvas first, full and ordered P-canvases."""
    assert stream.canvases.dtype == np.uint8
    assert stream.patch_positions.dtype == stream.groups.dtype == stream.frame_ids.dtype == np.int64
    assert len(stream.canvases) == stream.canvases_per_group.sum()
    assert stream.groups[0, 0] == 0 and stream.groups[-1, 1] == num_frames
    np.testing.assert_array_equal(stream.groups[1:, 0], stream.groups[:-1, 1])
    assert (np.diff(stream.frame_ids) > 0).all() and (np.diff(stream.timestamps) >= 0).all()
    assert (stream.patch_positions >= 0).all()
    per_canvas = stream.num_tokens // len(stream.canvases)
    for (start, end), blocks in zip(stream.groups, blocks_of(stream)):
        assert len(np.unique(blocks, axis=0)) == len(blocks)
        assert ((blocks[:, 0] >= start) & (blocks[:, 0] < end)).all()
        anchor, rest = blocks[:per_canvas], blocks[per_canvas:]
        assert (anchor[:, 0] == anchor[0, 0]).all()
        order = np.lexsort((rest[:, 2], rest[:, 1], rest[:, 0]))
        np.testing.assert_array_equal(order, np.arange(len(rest)))
        assert not (rest[:, 0] == anchor[0, 0]).any()
    assert set(stream.timings) == {"demux", "decode", "score", "select", "pack"}
    assert len(stream.signal_source) == len(stream.frame_ids) and set(stream.signal_source) <= set(SIGNAL_SOURCES)


class TestCanvases:
    @pytest.mark.parametrize("grouping", ["packet_energy", "fixed"])
    @pytest.mark.parametrize("target", [1, 2, 3, 4, 5, 8, 13, 32, 72])
    def test_as_many_as_asked_for(self, clip, grouping, target):
        stream = tokenize_video(clip, target_canvas=target, grouping=grouping)
        assert len(stream.canvases) == target
        assert_well_formed(stream, 75)

    @pytest.mark.parametrize("grouping", ["packet_energy", "fixed", "readiness"])
    def test_automatic(self, clip, grouping):
        stream = tokenize_video(clip, target_canvas="auto", grouping=grouping)  # 3 seconds: one group
        assert_same(stream, tokenize_video(clip, target_canvas=4, grouping=grouping))

    def test_frame_budget(self, clip):
        everything = tokenize_video(clip, target_canvas=4, source_frames_per_canvas=1)
        stream = tokenize_video(clip, target_canvas=4, source_frames_per_canvas=1, frame_budget=20)
        assert len(everything.frame_ids) > 30 and len(stream.frame_ids) == 20
        assert_well_formed(stream, 75)

    @pytest.mark.parametrize("selection", SELECTIONS)
    @pytest.mark.parametrize("per_group", [1, 2, 4, 8])
    def test_images_per_group(self, clip, selection, per_group):
        stream = tokenize_video(clip, target_canvas=16, images_per_group=per_group, selection=selection)
        np.testing.assert_array_equal(stream.canvases_per_group, [per_group] * (16 // per_group))
        assert_well_formed(stream, 75)

    def test_only_the_last_group_is_smaller(self, clip):
        stream = tokenize_video(clip, target_canvas=10)
        np.testing.assert_array_equal(stream.canvases_per_group, [4, 4, 2])

    @pytest.mark.parametrize("selection", SELECTIONS)
    @pytest.mark.parametrize(("frames", "canvases"), [(1, 1), (2, 2), (3, 3), (5, 4), (9, 8)])
    def test_short_clips(self, selection, frames, canvases):
        stream = tokenize_video(clip_bytes(frames), selection=selection)
        assert len(stream.canvases) == canvases
        assert_well_formed(stream, frames)

    @pytest.mark.parametrize("frames", [1, 2, 5, 30])
    def test_readiness_groups_of_short_clips(self, frames):
        stream = tokenize_video(clip_bytes(frames), grouping="readiness", target_canvas=4)
        assert len(stream.canvases) == min(4, frames)
        assert_well_formed(stream, frames)

    def test_readiness_decodes_again_what_does_not_fit_in_memory(self, clip, monkeypatch):
        options = {"grouping": "readiness", "target_canvas": 8, "min_group_frames": 8, "selection": "state"}
        held = tokenize_video(clip, **options)
        monkeypatch.setattr(budget, "HELD_BYTES", 2**20)
        assert_same(tokenize_video(clip, **options), held)

    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_patches_show_their_source(self, clip, selection):
        stream = tokenize_video(clip, target_canvas=8, selection=selection, min_pixels=96 * 128, max_pixels=10**5)
        source = open_source(clip)
        size = stream.canvases.shape[1:3]
        decoded = tokenizer.decode_frames(source, read_packets(source), stream.frame_ids, size=size)
        images = {frame.index: frame.image for frame in decoded}
        for row, (frame, y, x) in zip(stream.patch_rows(), stream.block_positions()):
            patch = images[frame][y * 14 : (y + 1) * 14, x * 14 : (x + 1) * 14]
            np.testing.assert_array_equal(row.reshape(3, 14, 14), patch.transpose(2, 0, 1))

    @pytest.mark.parametrize("selection", SELECTIONS)
    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_source_frames_per_canvas(self, clip, selection, limit):
        stream = tokenize_video(clip, target_canvas=8, selection=selection, source_frames_per_canvas=limit)
        assert all(len(np.unique(blocks[:, 0])) <= 4 * limit for blocks in blocks_of(stream))
        assert_well_formed(stream, 75)

    @pytest.mark.parametrize(("patch", "merge"), [(16, 2), (14, 3), (16, 3), (14, 1)])
    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_other_patches(self, clip, patch, merge, selection):
        stream = tokenize_video(clip, patch=patch, merge=merge, target_canvas=4, selection=selection)
        assert (stream.patch, stream.merge) == (patch, merge)
        assert_well_formed(stream, 75)


class TestBadFrames:
    @pytest.mark.parametrize("selection", SELECTIONS)
    @pytest.mark.parametrize("grouping", ["packet_energy", "fixed", "readiness"])
    def test_are_neither_anchors_nor_sources(self, selection, grouping):
        frames = moving_frames(40)
        frames[:5] = 0
        frames[12:15] = 128
        frames[20:22] = (0, 255, 0)
        options = {"target_canvas": 4, "group_size": 40} if grouping == "readiness" else {"target_canvas": 8}
        stream = tokenize_video(frames, selection=selection, grouping=grouping, max_group_frames=40, **options)
        bad = [*range(5), *range(12, 15), *range(20, 22)]
        assert not np.isin(stream.patch_positions[..., 0], bad).any()

    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_a_solid_title_is_what_is_shown(self, selection):
        frames = moving_frames(40)
        frames[:6] = frames[30:] = (49, 60, 73)
        stream = tokenize_video(frames, selection=selection, target_canvas=4)
        (blocks,) = blocks_of(stream)
        assert blocks[0, 0] == 0
        # The scene that follows, and the title that ends it.
        grid = stream.canvases.shape[1] // 28 * (stream.canvases.shape[2] // 28)
        for first, last in ((6, 30), (30, 40)):
            places = blocks[(blocks[:, 0] >= first) & (blocks[:, 0] < last), 1:]
            assert len(np.unique(places, axis=0)) == grid

    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_fill_what_others_cannot(self, selection):
        frames = np.zeros((8, 56, 56, 3), np.uint8)
        frames[5] = moving_frames(1, 56, 56)[0]
        stream = tokenize_video(frames, target_canvas=4, selection=selection)
        assert_well_formed(stream, 8)
        assert len(stream.canvases) == 4
        assert (stream.patch_positions[0, :, 0] == 5).all()

    @pytest.mark.parametrize("selection", SELECTIONS)
    @pytest.mark.parametrize("value", [0, 200])
    def test_a_clip_of_nothing_else(self, selection, value):
        frames = np.full((20, 64, 64, 3), value, np.uint8)
        stream = tokenize_video(clip_bytes(frames), target_canvas=8, selection=selection)
        assert len(stream.canvases) == 8
        assert_well_formed(stream, 20)

    @pytest.mark.parametrize("selection", SELECTIONS)
    @pytest.mark.parametrize("good", [0, 6])
    def test_obey_the_limits_too(self, selection, good):
        frames = np.random.default_rng(0).integers(0, 14, (100, 56, 84, 3), np.uint8)  # night, and sensor noise
        frames[50 : 50 + good] = moving_frames(good, 56, 84)
        stream = tokenize_video(frames, selection=selection, source_frames_per_canvas=2, target_canvas=16)
        assert len(stream.canvases) == 16
        assert all(len(np.unique(blocks[:, 0])) <= 4 * 2 for blocks in blocks_of(stream))
        stream = tokenize_video(frames, selection=selection, max_tokens=500)
        assert TestTokenLimit.spent(stream, timestamp_text_tokens) <= 500
        assert_well_formed(stream, 100)

    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_static_clip(self, selection):
        frames = np.repeat(moving_frames(1), 60, axis=0)
        stream = tokenize_video(clip_bytes(frames), target_canvas=8, selection=selection)
        assert len(stream.canvases) == 8
        assert_well_formed(stream, 60)


class TestTokenLimit:
    @staticmethod
    def spent(stream: CodecStream, cost) -> int:
        return stream.num_tokens + sum(cost(float(second)) for second in stream.seconds(stream.runs()[:, 0]))

    @pytest.mark.parametrize("selection", SELECTIONS)
    @pytest.mark.parametrize("limit", [40, 55, 100, 150, 233, 400, 777, 1500])
    def test_is_never_exceeded(self, clip, selection, limit):
        stream = tokenize_video(clip, max_tokens=limit, selection=selection)
        assert self.spent(stream, timestamp_text_tokens) <= limit
        assert_well_formed(stream, 75)

    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_is_never_exceeded_with_a_cost_of_ones_own(self, clip, selection):
        def cost(second: float) -> int:
            return 3 + int(second * 100) % 17

        for limit in range(60, 600, 67):
            stream = tokenize_video(clip, max_tokens=limit, selection=selection, timestamp_tokens=cost)
            assert self.spent(stream, cost) <= limit

    @pytest.mark.parametrize("name", ["bikes", "carphone_pristine"])
    def test_is_used_well(self, name):
        limit = 1000
        stream = tokenize_video(real_clip(name), max_tokens=limit)
        assert 0.75 * limit < self.spent(stream, timestamp_text_tokens) <= limit

    def test_changes_nothing_when_it_is_high(self, clip):
        assert_same(tokenize_video(clip, target_canvas=8, max_tokens=100_000), tokenize_video(clip, target_canvas=8))

    def test_too_low_for_one_canvas(self, clip):
        with pytest.raises(ValueError, match=r"`max_tokens` \(20\) does not hold one canvas.* takes 25 tokens"):
            tokenize_video(clip, max_tokens=20)

    def test_default_cost_of_a_timestamp(self):
        # "<", digits, ".", two decimals, " seconds", ">", vision start, vision end, newline
        assert [timestamp_text_tokens(second) for second in (0.0, 9.99, 10.0, 3599.9)] == [10, 10, 11, 13]

    def test_keeps_enough_timestamps(self, clip):
        config = CodecStreamConfig(max_tokens=300)
        plans = plan_groups(read_packets(open_source(clip)), 20, config)
        assert all(plan.max_timestamps >= 4 * plan.num_canvases for plan in plans if plan.num_canvases > 1)


class TestGenerator:
    def test_groups_join_to_the_whole(self, clip):
        groups = list(iter_groups(clip, target_canvas=12))
        assert [len(group.canvases) for group in groups] == [4, 4, 4]
        assert_same(CodecStream.concatenate(groups), tokenize_video(clip, target_canvas=12))

    def test_groups_come_before_the_rest_is_decoded(self, clip, monkeypatch):
        decoded = []

        def counted(*args, **kwargs):
            for frame in tokenizer_decode_frames(*args, **kwargs):
                decoded.append(frame.index)
                yield frame

        tokenizer_decode_frames = tokenizer.decode_frames
        monkeypatch.setattr(tokenizer, "decode_frames", counted)
        groups = iter_groups(clip, target_canvas=12, num_threads=1)
        first = next(groups)
        # The frame that shows that the group is over, and no other.
        assert max(decoded) >= first.groups[0, 1] > sorted(decoded)[-2]

    def test_options_are_checked_at_once(self, clip):
        with pytest.raises(ValueError, match="`targetcanvas` is no option"):
            iter_groups(clip, targetcanvas=3)

    def test_the_source_is_checked_at_once(self):
        with pytest.raises(VideoError, match="nothing.mp4"):
            iter_groups("nothing.mp4")

    def test_overrides_go_before_the_config(self, clip):
        stream = tokenize_video(clip, CodecStreamConfig(target_canvas=2, patch=16), target_canvas=3)
        assert (len(stream.canvases), stream.patch) == (3, 16)

    def test_abandoned(self, clip):
        groups = iter_groups(clip, target_canvas=12, num_threads=2)
        next(groups)
        groups.close()


class TestDeterminism:
    @pytest.mark.parametrize(("num_threads", "scoring"), [(1, 0), (2, 0), (4, 2)])
    def test_threads_that_are_started(self, clip, num_threads, scoring, monkeypatch):
        started, start = [], threading.Thread.start
        monkeypatch.setattr(threading.Thread, "start", lambda thread: (started.append(thread.name), start(thread)))
        tokenize_video(clip, target_canvas=8, num_threads=num_threads)
        # An idle thread takes the next work before another one is started.
        assert min(scoring, 1) <= sum(name.startswith("codec") for name in started) <= scoring
        assert any(name.startswith("decode_frames") for name in started) == (num_threads > 1)

    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_ten_runs_and_any_number_of_threads(self, clip, selection):
        first = tokenize_video(clip, target_canvas=8, selection=selection, num_threads=1)
        for run in range(10):
            again = tokenize_video(clip, target_canvas=8, selection=selection, num_threads=(1, 2, 4)[run % 3])
            assert_same(first, again)

    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_real_clip_with_b_frames(self, selection):
        streams = [
            tokenize_video(real_clip("bikes"), target_canvas=8, selection=selection, num_threads=threads)
            for threads in (1, 2, 4)
        ]
        assert_same(streams[0], streams[1])
        assert_same(streams[0], streams[2])

    def test_path_bytes_and_file_give_the_same(self, tmp_path, clip):
        path = tmp_path / "clip.mp4"
        path.write_bytes(clip)
        first = tokenize_video(clip, target_canvas=4)
        with path.open("rb") as file:
            for source in (path, str(path), path.as_uri(), file, open_source(path)):
                assert_same(first, tokenize_video(source, target_canvas=4))


H264 = {"codec": "libx264", "fmt": "mp4"}


@pytest.mark.parametrize("options", [{}, {"grouping": "readiness"}, {"selection": "state"}])
def test_evidence_of_every_frame_looked_at(clip, options):
    plain = tokenize_video(clip, target_canvas=8, **options)
    stream = tokenize_video(clip, target_canvas=8, return_evidence=True, **options)
    evidence = stream.evidence
    assert plain.evidence is None
    assert_same(plain, stream)
    np.testing.assert_array_equal(evidence.frame_ids, stream.frame_ids)
    np.testing.assert_array_equal(evidence.seconds, stream.timestamps)
    assert evidence.signal_source.tolist() == stream.signal_source
    for name in ("motion", "residual", "bitrate", "score"):
        values = getattr(evidence, name)
        assert values.shape == (len(stream.frame_ids), 3, 5) and values.dtype == np.float32
        assert np.isfinite(values).all() and values.any()
    # A group of the stream has the frames of its bounds.
    first = next(iter_groups(clip, target_canvas=8, return_evidence=True, **options))
    np.testing.assert_array_equal(first.evidence.score, evidence.score[: len(first.frame_ids)])


class TestInputs:
    """Tokens of every kind of video that must work; decoding itself is tested elsewhere."""

    @pytest.mark.parametrize(
        ("kwargs", "signal_source"),
        [
            (H264, "motion+residual"),
            (H264 | {"pix_fmt": "yuv420p10le"}, "motion+residual"),
            (H264 | {"pix_fmt": "yuv444p"}, "motion+residual"),
            (H264 | {"options": {"g": "1"}}, "residual"),
            (H264 | {"options": {"bf": "3", "b-pyramid": "normal"}, "fmt": "matroska"}, "motion+residual"),
            (H264 | {"options": {"flags": "+ildct+ilme"}, "fmt": "mov"}, "motion+residual"),
            (H264 | {"fmt": "mpegts"}, "motion+residual"),
            (H264 | {"fmt": "avi"}, "motion+residual"),
            (H264 | {"fmt": "h264"}, "motion+residual"),  # no timestamps at all
            ({"codec": "mpeg4", "fmt": "avi"}, "motion+residual"),
            ({"codec": "mpeg4", "fmt": "mp4"}, "motion+residual"),
            ({"codec": "mjpeg", "fmt": "avi", "pix_fmt": "yuvj420p"}, "residual"),
            ({"codec": "libx265", "fmt": "mp4", "options": {"x265-params": "log-level=error"}}, "residual"),
            ({"codec": "libvpx-vp9", "fmt": "webm", "options": {"deadline": "realtime", "cpu-used": "8"}}, "residual"),
            ({"codec": "libsvtav1", "fmt": "matroska", "options": {"preset": "12"}}, "residual"),
        ],
        ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
    )
    def test_codecs_and_containers(self, kwargs, signal_source):
        stream = tokenize_video(clip_bytes(24, **kwargs), target_canvas=8)
        assert len(stream.canvases) == 8
        assert signal_source == max(stream.signal_shares, key=SIGNAL_SOURCES.index)
        assert_well_formed(stream, 24)

    def test_decoded_frames(self):
        frames = moving_frames(24)
        stream = tokenize_video(open_source(frames, fps=12.5), target_canvas=8)
        assert stream.signal_shares == {"pixels": 1.0}
        np.testing.assert_array_equal(stream.timestamps, stream.frame_ids / 12.5)
        assert_well_formed(stream, 24)
        for other in (list(frames), frames.transpose(0, 3, 1, 2)):
            np.testing.assert_array_equal(tokenize_video(other, target_canvas=8).canvases, stream.canvases)

    @pytest.mark.parametrize(("height", "width"), [(2, 2), (46, 98), (98, 46), (16, 640), (2160, 3840)])
    def test_sizes(self, height, width):
        stream = tokenize_video(clip_bytes(moving_frames(5, height, width)), target_canvas=4)
        assert len(stream.canvases) == 4
        assert np.prod(stream.canvases.shape[1:3]) <= 150_000
        assert_well_formed(stream, 5)

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (97, 131)])
    def test_odd_sizes(self, height, width):
        stream = tokenize_video(clip_bytes(moving_frames(5, height, width), pix_fmt="yuv444p"), target_canvas=4)
        assert len(stream.canvases) == 4
        assert_well_formed(stream, 5)

    @pytest.mark.parametrize("rotation", [90, 180, 270])
    def test_rotation(self, rotation):
        frames = moving_frames(12, 112, 168)
        upright = np.rot90(plain_images(clip_bytes(frames))[0], -rotation // 90)
        stream = tokenize_video(clip_bytes(frames, rotation=rotation), target_canvas=4)
        assert stream.canvases.shape[1:3] == upright.shape[:2]
        assert np.abs(stream.canvases[0].astype(int) - upright).mean() < 2

    def test_variable_frame_rate(self):
        times = np.cumsum([0, *np.random.default_rng(0).integers(1, 400, 39)]).tolist()
        data = clip_bytes(40, pts=times, time_base=Fraction(1, 1000))
        stream = tokenize_video(data, target_canvas=8)
        np.testing.assert_allclose(stream.timestamps, np.array(times)[stream.frame_ids] / 1000, atol=1e-3)
        assert_well_formed(stream, 40)

    def test_two_hours(self):
        frames = np.tile(moving_frames(100, 56, 56), (36, 1, 1, 1))
        data = clip_bytes(frames, pts=range(0, 7200, 2), time_base=Fraction(1), options={"preset": "ultrafast"})
        stream = tokenize_video(data)
        assert len(stream.canvases) == 32
        assert stream.timestamps[-1] > 7100
        assert_well_formed(stream, 3600)

    def test_start_offset(self):
        stream = tokenize_video(clip_bytes(20, fmt="matroska", pts=range(100, 120)), target_canvas=4)
        assert stream.timestamps[0] == 0
        assert_well_formed(stream, 20)

    def test_stream_that_cannot_be_rewound(self, clip):
        class Pipe(io.RawIOBase):
            def __init__(self):
                self.file = io.BytesIO(clip)

            def readable(self):
                return True

            def read(self, size=-1):
                return self.file.read(min(size, 1000) if size > 0 else size)

        assert_same(tokenize_video(Pipe(), target_canvas=4), tokenize_video(clip, target_canvas=4))

    def test_truncated(self, tmp_path):
        path = make_clip(tmp_path / "clip.mp4", 75, options={"g": "25"}, container_options={"movflags": "faststart"})
        data = path.read_bytes()
        with pytest.warns(UserWarning, match="<bytes>: "):
            stream = tokenize_video(data[: len(data) * 2 // 3], target_canvas=8)
        assert len(stream.canvases) == 8
        assert (stream.patch_positions >= 0).all()

    def test_damage_in_the_middle_keeps_groups_whole(self):
        data = bytearray(clip_bytes(100, fmt="mpegts", options={"g": "10", "bf": "0"}))
        data[len(data) // 4 : len(data) * 3 // 4] = bytes(len(data) * 3 // 4 - len(data) // 4)
        stream = tokenize_video(bytes(data), target_canvas=32)
        assert len(stream.canvases) > 4
        assert (stream.canvases_per_group[:-1] == 4).all()
        assert (stream.patch_positions >= 0).all()

    def test_nothing_can_be_decoded(self, clip, monkeypatch):
        monkeypatch.setattr(tokenizer, "decode_frames", lambda *args, **kwargs: iter(()))
        for grouping in ("packet_energy", "readiness"):
            with pytest.raises(VideoError, match="none of its frames can be decoded"):
                tokenize_video(clip, grouping=grouping)

    def test_several_video_streams(self, tmp_path):
        path = tmp_path / "two.mkv"
        with av.open(str(path), "w") as container:
            streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
            for stream, size in zip(streams, ((56, 56), (112, 112))):
                stream.height, stream.width = size
                stream.pix_fmt = "yuv420p"
            for stream in streams:
                for index, image in enumerate(moving_frames(12, stream.height, stream.width)):
                    frame = av.VideoFrame.from_ndarray(image)
                    frame.pts = index
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        stream = tokenize_video(path, target_canvas=4)
        best = plain_images(path)
        assert stream.canvases.shape[1:] == best[0].shape
        np.testing.assert_array_equal(stream.canvases[0], best[0])


# Peak of resident memory while a clip is tokenized, in KiB, over what the process holds after another clip. The peak
# of `resource.getrusage` is of no use: it begins with that of the parent process.
MEMORY = """
import ctypes, sys, types
package = types.ModuleType("transformers_ov2")
package.__path__ = [sys.argv[1]]
sys.modules["transformers_ov2"] = package
from transformers_ov2.codec import iter_groups, tokenize_video

def resident(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))

# One thread: how many frames wait between several differs from run to run, growth with the length would not.
options = {"num_threads": 1}
tokenize_video(sys.argv[2], target_canvas=4, source_frames_per_canvas=1, **options)
ctypes.CDLL(None).malloc_trim(0)  # what the first video left behind would hide what the second takes
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")  # the peak counts from here on
before = resident("VmRSS")
sum(len(group.canvases) for group in iter_groups(sys.argv[3], target_canvas=16, selection=sys.argv[4], **options))
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.slow
@pytest.mark.parametrize("selection", SELECTIONS)
def test_memory_does_not_grow_with_length(tmp_path, selection):
    part = clip_bytes(moving_frames(50, 180, 320), fmt="h264", options={"bf": "0", "preset": "ultrafast"})
    short = tmp_path / "short.mkv"
    peaks = []
    # From four minutes on no more frames are scored.
    for path, repeats in ((short, 120), (tmp_path / "long.mkv", 480)):
        with av.open(io.BytesIO(part * repeats), format="h264") as parts, av.open(str(path), "w") as container:
            stream = container.add_stream_from_template(parts.streams.video[0])
            for index, packet in enumerate(packet for packet in parts.demux(video=0) if packet.size):
                packet.stream, packet.time_base = stream, Fraction(1, 25)
                packet.pts = packet.dts = index
                container.mux(packet)
        command = [sys.executable, "-c", MEMORY, str(PACKAGE.parent), str(short), str(path), selection]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024)
    assert peaks[0] > 10, f"{peaks} MiB"
    assert peaks[1] < 1.2 * peaks[0] + 4, f"{peaks} MiB"


PACKAGE = Path(transformers_ov2.codec.__file__).parent


def test_imports_neither_torch_nor_transformers():
    """The codec package by itself: its parent, which imports both, is replaced by an empty one."""
    code = """
        import sys, types
        package = types.ModuleType("transformers_ov2")
        package.__path__ = [sys.argv[1]]
        sys.modules["transformers_ov2"] = package
        import transformers_ov2.codec
        loaded = {name.partition(".")[0] for name in sys.modules}
        print(*sorted(loaded & {"av", "numpy", "torch", "transformers", "PIL", "cv2"}))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(PACKAGE.parent)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert result.stdout.split() == ["av", "numpy"]
