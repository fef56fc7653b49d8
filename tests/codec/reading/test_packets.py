# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The packet table against what a decoder says."""

import io
import warnings

import av
import numpy as np
import pytest
from synth import REAL_CLIPS, clip_bytes, make_clip, moving_frames, plain_decode, real_clip

from transformers_ov2.codec.reading import packets as packets_module
from transformers_ov2.codec.reading.decoding import decode_frames
from transformers_ov2.codec.reading.packets import read_packets
from transformers_ov2.codec.reading.source import VideoError, open_source


def demux(video) -> list[av.Packet]:
    with av.open(io.BytesIO(video) if isinstance(video, bytes) else str(video)) as container:
        return [packet for packet in container.demux(container.streams.best("video")) if packet.size]


@pytest.mark.parametrize("name", REAL_CLIPS)
def test_real_clips(name):
    path = real_clip(name)
    table = read_packets(open_source(path))
    plain, packets = plain_decode(path), demux(path)
    assert table.pts.tolist() == [frame.pts for frame in plain]
    by_pts = {packet.pts: packet for packet in packets}
    assert table.size.tolist() == [by_pts[frame.pts].size for frame in plain]
    assert table.is_key.tolist() == [by_pts[frame.pts].is_keyframe for frame in plain]
    assert [packets[i].pts for i in table.decode_index] == table.pts.tolist()
    assert table.is_reference.dtype == bool and table.pts.dtype == table.size.dtype == np.int64
    # I- and P-pictures of these clips are references.
    for frame, is_reference in zip(plain, table.is_reference):
        assert is_reference or frame.pict_type == 3
    assert (table.fps == 25.0) if "phone" not in name else (table.fps == 30000 / 1001)


def test_nothing_is_decoded(monkeypatch):
    """A clean file needs its headers only."""
    monkeypatch.setattr(packets_module, "_output_order", lambda *args: pytest.fail("decoded"))
    for name in REAL_CLIPS:
        read_packets(open_source(real_clip(name)))


@pytest.mark.parametrize(
    ("codec", "fmt", "options"),
    [
        ("libx264", "mp4", {"x264-params": "keyint=30:bframes=3:b-pyramid=none"}),
        ("libx264", "matroska", {"x264-params": "keyint=30:bframes=7:b-pyramid=normal:b-adapt=0"}),
        ("libx264", "mpegts", {"x264-params": "keyint=30:bframes=3"}),
        ("libx265", "mp4", {"x265-params": "keyint=30:bframes=4:b-adapt=0:log-level=none"}),
        ("libx265", "mpegts", {"x265-params": "keyint=32:temporal-layers=3:bframes=7:b-adapt=0:log-level=none"}),
    ],
)
def test_non_reference_pictures_are_disposable(codec, fmt, options):
    """Without all of them, the others decode to the same pixels; there are some, and none is a key frame."""
    video = clip_bytes(60, codec, fmt, options=options)
    source = open_source(video)
    table = read_packets(source)
    assert 10 < (~table.is_reference).sum() < 55
    assert not (table.is_key & ~table.is_reference).any()
    plain = plain_decode(video)
    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.best("video")
        decoded = {}
        dropped = set(table.decode_index[~table.is_reference].tolist())
        for number, packet in enumerate(container.demux(stream)):
            if number not in dropped:
                decoded |= {frame.pts: frame.to_ndarray(format="rgb24", threads=1) for frame in packet.decode()}
    assert len(decoded) == table.is_reference.sum()
    for index in np.flatnonzero(table.is_reference):
        np.testing.assert_array_equal(decoded[table.pts[index]], plain[index].to_ndarray(format="rgb24", threads=1))


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libsvtav1", "mpeg4", "mjpeg"])
def test_other_codecs_are_all_reference(codec):
    video = clip_bytes(20, codec, "matroska", pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p")
    assert read_packets(open_source(video)).is_reference.all()


def test_entries_are_idr_or_clean_recovery_points():
    """Open GOPs can be entered, gradual intra refresh cannot, though the container marks a key frame."""
    closed = read_packets(open_source(clip_bytes(40, options={"x264-params": "keyint=10:scenecut=0"})))
    assert np.flatnonzero(closed.packets.is_entry).tolist() == [0, 10, 20, 30]
    video = clip_bytes(40, fmt="mpegts", options={"x264-params": "keyint=10:min-keyint=10:open-gop=1:scenecut=0"})
    opened = read_packets(open_source(video))
    assert opened.packets.is_entry.sum() == opened.is_key.sum() >= 3
    video = clip_bytes(40, fmt="mpegts", options={"x264-params": "keyint=10:intra-refresh=1:bframes=0"})
    refresh = read_packets(open_source(video))
    assert refresh.packets.is_entry.sum() == 1 < refresh.is_key.sum()


def test_hidden_pictures_are_no_frames():
    """VP8's alternate references are packets that show nothing, but others are predicted from them."""
    hidden = io.BytesIO()
    with (
        av.open(io.BytesIO(clip_bytes(30, "libvpx", "webm", options={"b": "300k"}))) as source,
        av.open(hidden, "w", format="webm") as target,
    ):
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                data, pts = bytes(packet), packet.pts
                packet.stream = copy
                target.mux(packet)
                if pts in (200, 640):  # show it once more, without showing it
                    again = av.Packet(bytes([data[0] & ~0x10]) + data[1:])
                    again.pts = again.dts = pts + 1
                    again.time_base, again.stream = stream.time_base, copy
                    target.mux(again)
    video = hidden.getvalue()
    plain = plain_decode(video)
    source = open_source(video)
    table = read_packets(source)
    assert len(demux(video)) == 32 and table.num_frames == len(plain) == 30
    assert np.flatnonzero(table.packets.frame < 0).tolist() == [6, 18]
    for frame in decode_frames(source, table, range(30)):
        np.testing.assert_array_equal(frame.image, plain[frame.index].to_ndarray(format="rgb24", threads=1))


def test_timestamps_that_jump_forward_absurdly():
    pts = [*range(10), *(10**9 + i for i in range(10))]
    video = clip_bytes(20, fmt="matroska", pts=pts, options={"bf": "0"})
    table = read_packets(open_source(video))
    assert table.num_frames == 20
    np.testing.assert_allclose(table.seconds, np.arange(20) / 25, atol=0.0011)


def test_missing_decoding_and_presentation_times():
    """No timestamp anywhere: the rate gives the times."""
    video = clip_bytes(20, fmt="h264", options={"bf": "0"})
    table = read_packets(open_source(video))
    np.testing.assert_allclose(table.seconds, np.arange(20) / 25, atol=1e-4)


def test_average_rate():
    assert packets_module._average_fps(None, np.array([0.0, 0.5, 1.0])) == 2
    assert packets_module._average_fps(25, np.arange(100) / 25) == 25
    assert packets_module._average_fps(25, np.arange(100) / 10) == pytest.approx(10)  # the container is wrong
    assert packets_module._average_fps(25, np.zeros(1)) == 25
    assert packets_module._average_fps(None, np.zeros(1)) == 1


def test_early_end_is_reported(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", 40, container_options={"movflags": "faststart"})
    whole = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_packets(open_source(path))
    path.write_bytes(whole[: len(whole) * 2 // 3])
    source = open_source(path)
    with pytest.warns(UserWarning, match=r"clip\.mp4: the file ends early"):
        table = read_packets(source)
    assert 1 < table.num_frames < 40


def test_edit_list_at_the_end_is_no_early_end():
    """Frames behind the end of the edit list are not missing."""
    video = bytearray(clip_bytes(40, options={"x264-params": "bframes=0"}))
    at = video.index(b"elst") + 12
    duration = int.from_bytes(video[at : at + 4], "big")
    video[at : at + 4] = (duration // 2).to_bytes(4, "big")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = open_source(bytes(video))
        table = read_packets(source)
    assert table.num_frames == len(plain_decode(bytes(video)))
    assert len(list(decode_frames(source, table, range(table.num_frames)))) == table.num_frames


def test_frames_that_are_all_hidden():
    video = bytearray(clip_bytes(10, options={"x264-params": "bframes=0"}))
    at = video.index(b"elst") + 16  # media time: behind the end
    video[at : at + 4] = (2**30).to_bytes(4, "big")
    with pytest.raises(VideoError):
        read_packets(open_source(bytes(video)))


def test_order_of_packets_is_a_permutation():
    video = clip_bytes(moving_frames(30), options={"x264-params": "bframes=5:b-pyramid=normal:b-adapt=0"})
    table = read_packets(open_source(video))
    assert sorted(table.decode_index) == list(range(30))
    assert (table.decode_index != np.arange(30)).any()
    np.testing.assert_array_equal(table.packets.frame[table.decode_index], np.arange(30))
