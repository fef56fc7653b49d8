# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Every kind of file that must work, against PyAV's own sequential decode, and every kind that must fail with
`VideoError`."""

import dataclasses
import io
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image
from synth import clip_bytes, make_clip, moving_frames, plain_decode, plain_images

from transformers_ov2.codec import iter_live_groups, tokenize_video
from transformers_ov2.codec.reading import decoding
from transformers_ov2.codec.reading.decoding import decode_frames
from transformers_ov2.codec.reading.packets import read_packets
from transformers_ov2.codec.reading.source import VideoError, open_source


X264 = "x264-params"
GOP = "keyint=12:min-keyint=12:scenecut=0"
NUM_FRAMES = 40

# name: encoder, container, encoder options, further arguments of `clip_bytes`
FORMATS = {
    "h264-mp4-b-pyramid": ("libx264", "mp4", {X264: f"{GOP}:bframes=5:b-pyramid=normal"}, {}),
    "h264-mov-strict-b": ("libx264", "mov", {X264: f"{GOP}:bframes=3:b-pyramid=none"}, {}),
    "h264-mp4-open-gop": ("libx264", "mp4", {X264: f"{GOP}:open-gop=1:bframes=3"}, {}),
    "h264-ts-open-gop": ("libx264", "mpegts", {X264: f"{GOP}:open-gop=1:bframes=3"}, {}),
    "h264-mkv-intra-refresh": ("libx264", "matroska", {X264: "keyint=12:intra-refresh=1:bframes=0"}, {}),
    "h264-mp4-fragmented": (
        "libx264",
        "mp4",
        {X264: GOP},
        {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    ),
    "h264-mp4-all-intra": ("libx264", "mp4", {"g": "1"}, {}),
    "h264-mp4-interlaced": ("libx264", "mp4", {"flags": "+ildct+ilme", X264: f"tff=1:{GOP}"}, {}),
    "h264-mp4-10bit": ("libx264", "mp4", {X264: GOP}, {"pix_fmt": "yuv420p10le"}),
    "h264-mkv-444": ("libx264", "matroska", {X264: GOP}, {"pix_fmt": "yuv444p"}),
    "h264-mp4-rgb": ("libx264rgb", "mp4", {X264: GOP}, {"pix_fmt": "rgb24"}),
    "h264-ts": ("libx264", "mpegts", {X264: GOP}, {}),
    "h264-avi": ("libx264", "avi", {X264: f"{GOP}:bframes=0"}, {}),
    "h264-flv": ("libx264", "flv", {X264: GOP}, {}),
    "hevc-mp4": ("libx265", "mp4", {"x265-params": "keyint=12:min-keyint=12:log-level=none"}, {}),
    "hevc-mkv-10bit-open-gop": (
        "libx265",
        "matroska",
        {"x265-params": "keyint=12:min-keyint=12:open-gop=1:log-level=none"},
        {"pix_fmt": "yuv420p10le"},
    ),
    "hevc-ts-temporal-layers": (
        "libx265",
        "mpegts",
        {"x265-params": "keyint=16:temporal-layers=3:bframes=7:log-level=none"},
        {},
    ),
    "vp8-webm-altref": ("libvpx", "webm", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "300k"}, {}),
    "vp9-webm-altref": (
        "libvpx-vp9",
        "webm",
        {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5"},
        {},
    ),
    "vp9-mp4": ("libvpx-vp9", "mp4", {"g": "12", "deadline": "realtime", "cpu-used": "8"}, {}),
    "av1-mp4": ("libsvtav1", "mp4", {"g": "12", "preset": "12"}, {}),
    "av1-webm": ("libsvtav1", "webm", {"g": "12", "preset": "10"}, {}),
    "mpeg4-avi": ("mpeg4", "avi", {"g": "12"}, {}),
    "mpeg4-avi-b": ("mpeg4", "avi", {"g": "12", "bf": "2"}, {}),
    "mpeg4-mp4-b": ("mpeg4", "mp4", {"g": "12", "bf": "2"}, {}),
    "mpeg2-ts-b": ("mpeg2video", "mpegts", {"g": "12", "bf": "2"}, {}),
    "mpeg2-ps-b": ("mpeg2video", "mpeg", {"g": "12", "bf": "2"}, {}),
    "mjpeg-avi": ("mjpeg", "avi", {}, {"pix_fmt": "yuvj420p"}),
    "mjpeg-mov-444": ("mjpeg", "mov", {}, {"pix_fmt": "yuvj444p"}),
    "ffv1-mkv": ("ffv1", "matroska", {}, {"pix_fmt": "yuv444p"}),
    "gif": ("gif", "gif", {}, {"pix_fmt": "rgb8"}),
}


def check(video, images, rng_seed=0, **kwargs):
    """The whole clip and random selections of it decode to `images`, with one thread and with several, with and
    without seeking."""
    source = open_source(video, **kwargs)
    table = read_packets(source)
    assert table.num_frames == len(images)
    assert table.seconds[0] == 0 and (np.diff(table.seconds) >= 0).all()
    assert sorted(table.decode_index) == np.unique(table.decode_index).tolist()
    rng = np.random.default_rng(rng_seed)
    selections = [range(len(images))]
    selections += [rng.choice(len(images), min(len(images), k), replace=False) for k in (1, 2, 3, 5, 8, 8)]
    for number, indices in enumerate(selections):
        frames = list(decode_frames(source, table, indices, num_threads=1 + number % 3))
        assert [frame.index for frame in frames] == sorted(indices)
        for frame in frames:
            np.testing.assert_array_equal(frame.image, images[frame.index])
    return source, table


@pytest.fixture(params=["read through", "seek"])
def jumps(request, monkeypatch):
    """Short gaps are read through; small clips would never be sought in otherwise."""
    if request.param == "seek":
        monkeypatch.setattr(decoding, "_SKIP_BYTES", -1)


@pytest.mark.parametrize("name", FORMATS)
def test_format_decodes_as_pyav_does(name, jumps):
    codec, fmt, options, kwargs = FORMATS[name]
    video = clip_bytes(NUM_FRAMES, codec, fmt, options=options, **kwargs)
    plain = plain_decode(video)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source, table = check(video, [frame.to_ndarray(format="rgb24", threads=1) for frame in plain])
    assert table.pts.tolist() == [frame.pts for frame in plain]
    np.testing.assert_allclose(np.diff(table.seconds), 1 / 25, atol=0.0011)
    assert table.fps == pytest.approx(25, rel=1e-3)
    assert (source.width, source.height) == (128, 96)


@pytest.mark.parametrize("fmt", ["avi", "h264", "hevc"])
def test_order_without_presentation_times(fmt):
    """H.264 in AVI has decoding times only and raw streams have none: the order is the decoder's, the times run
    evenly."""
    if fmt == "hevc":
        video = clip_bytes(NUM_FRAMES, "libx265", fmt, options={"x265-params": "keyint=12:log-level=none"})
    else:
        video = clip_bytes(NUM_FRAMES, "libx264", fmt, options={X264: f"{GOP}:bframes=3"})
    _, table = check(video, plain_images(video))
    np.testing.assert_allclose(np.diff(table.seconds), 1 / 25, atol=1e-4)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_clip_cut_at_an_open_gop(codec):
    """A file that starts at a key frame with leading pictures: no decoder can show those."""
    options = {
        "libx264": {X264: f"{GOP}:open-gop=1:bframes=3"},
        "libx265": {"x265-params": "keyint=12:min-keyint=12:open-gop=1:bframes=3:log-level=none"},
    }[codec]
    whole = clip_bytes(NUM_FRAMES, codec, "mpegts", options=options)
    cut = io.BytesIO()
    with av.open(io.BytesIO(whole)) as source, av.open(cut, "w", format="matroska") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        keys = 0
        for packet in source.demux(stream):
            keys += packet.is_keyframe
            if keys >= 2 and packet.size:
                packet.stream = copy
                target.mux(packet)
    video = cut.getvalue()
    images = plain_images(video)
    assert 0 < len(images) <= NUM_FRAMES - 12
    check(video, images)


def test_edit_list_hides_frames():
    """Packets before the start of the edit list are decoded but not shown."""
    whole = clip_bytes(NUM_FRAMES, options={X264: f"{GOP}:bframes=2"})
    trimmed = io.BytesIO()
    with av.open(io.BytesIO(whole)) as source, av.open(trimmed, "w", format="mp4") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        shift = int(5 / 25 / stream.time_base)
        target.options.update({"use_editlist": "1", "avoid_negative_ts": "disabled"})
        for packet in source.demux(stream):
            if packet.size:
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = copy
                target.mux(packet)
    video = trimmed.getvalue()
    images = plain_images(video)
    assert len(images) == NUM_FRAMES - 5
    np.testing.assert_array_equal(images[0], plain_images(whole)[5])
    check(video, images)


def test_variable_frame_rate():
    pts = np.cumsum([0, 1, 1, 5, 30, 1, 2, 200, 7, 1, 1, 90]).tolist()
    video = clip_bytes(len(pts), pts=pts, rate=100, time_base=Fraction(1, 100))
    _, table = check(video, plain_images(video))
    np.testing.assert_allclose(table.seconds, np.array(pts) / 100, atol=1e-9)
    assert table.fps == pytest.approx(len(pts) / (pts[-1] / 100), rel=0.2)


@pytest.mark.parametrize("fmt", ["mpegts", "matroska", "mp4"])
def test_start_offset_is_removed(fmt):
    video = clip_bytes(10, fmt=fmt, pts=[250 + i for i in range(10)])
    _, table = check(video, plain_images(video))
    np.testing.assert_allclose(table.seconds, np.arange(10) / 25, atol=0.0011)


def test_parts_with_clashing_timestamps_follow_each_other():
    """Transport streams joined without restamping: the second part starts at the first one's times again."""
    part = clip_bytes(moving_frames(25, seed=1), fmt="mpegts", options={X264: GOP})
    other = clip_bytes(moving_frames(50, seed=2), fmt="mpegts", options={X264: GOP})
    video = other + part
    images = plain_images(other) + plain_images(part)
    _, table = check(video, images)
    np.testing.assert_allclose(np.diff(table.seconds), 1 / 25, atol=0.0011)


def test_best_of_several_video_streams():
    buffer = io.BytesIO()
    sizes = [(48, 64), (96, 128), (32, 32)]
    with av.open(buffer, "w", format="matroska") as container:
        streams = []
        for height, width in sizes:
            stream = container.add_stream("libx264", rate=25, options={X264: GOP})
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            streams.append(stream)
        streams[0].disposition, streams[1].disposition = Disposition(0), Disposition.default
        clips = [moving_frames(20, *size, seed=i) for i, size in enumerate(sizes)]
        for index in range(20):
            for stream, clip in zip(streams, clips):
                frame = av.VideoFrame.from_ndarray(clip[index]).reformat(format="yuv420p", threads=1)
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    video = buffer.getvalue()
    source, _ = check(video, plain_images(video))
    assert (source.height, source.width) == (96, 128)


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("fmt", ["mp4", "matroska"])
def test_rotation_is_applied(rotation, fmt):
    upright = moving_frames(6, 48, 80)
    turned = np.rot90(upright, rotation // 90, axes=(1, 2))  # counterclockwise, so that turning clockwise restores it
    video = clip_bytes(np.ascontiguousarray(turned), fmt=fmt, rotation=rotation, options={"crf": "5"})
    images = [np.rot90(image, -rotation // 90) for image in plain_images(video)]
    source, _ = check(video, images)
    assert (source.height, source.width) == (48, 80)
    assert np.abs(images[3].astype(int) - upright[3]).mean() < 8


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (33, 57), (17, 300)])
@pytest.mark.parametrize(("codec", "fmt"), [("libx264", "mp4"), ("mjpeg", "avi"), ("ffv1", "matroska")])
def test_odd_sizes(size, codec, fmt):
    pix_fmt = {"mjpeg": "yuvj444p"}.get(codec, "yuv444p")
    video = clip_bytes(moving_frames(5, *size), codec, fmt, pix_fmt=pix_fmt)
    source, table = check(video, plain_images(video))
    assert (source.height, source.width) == size
    for frame in decode_frames(source, table, range(5), size=(28, 28), side_data=True):
        assert frame.image.shape == (28, 28, 3)


def test_4k():
    video = clip_bytes(moving_frames(3, 2160, 3840), options={"preset": "ultrafast"})
    source, table = check(video, plain_images(video))
    assert (source.height, source.width) == (2160, 3840)


@pytest.mark.parametrize("num_frames", [1, 2, 5])
@pytest.mark.parametrize("fmt", ["mp4", "matroska", "mpegts", "avi"])
def test_few_frames(num_frames, fmt):
    video = clip_bytes(num_frames, "mpeg4" if fmt == "avi" else "libx264", fmt)
    _, table = check(video, plain_images(video))
    assert table.num_frames == num_frames and table.fps > 0


def test_static_clip():
    video = clip_bytes(np.repeat(moving_frames(1), 60, axis=0), options={X264: "bframes=8:b-adapt=2"})
    check(video, plain_images(video))


def test_two_hours():
    """One frame every two seconds; a few are picked from all over it."""
    rng = np.random.default_rng(0)
    clip = np.repeat(rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8), 60, axis=0)
    pts = [2 * i for i in range(len(clip))]
    video = clip_bytes(clip, rate=1, pts=pts, options={"preset": "ultrafast", "g": "30"})
    images = plain_images(video)
    source = open_source(video)
    table = read_packets(source)
    assert table.seconds[-1] == 7198 and table.num_frames == 3600
    indices = [0, 1234, 1235, 2999, 3599]
    for frame in decode_frames(source, table, indices, num_threads=2):
        np.testing.assert_array_equal(frame.image, images[frame.index])


@pytest.mark.parametrize("fmt", ["mp4", "matroska", "mpegts", "avi", "flv"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.8, 0.99])
def test_truncated_file(fmt, share, tmp_path):
    """What is readable is used, with a warning where the file is known to be longer, and is right up to the cut."""
    file = tmp_path / "clip"
    options = {"movflags": "faststart"} if fmt == "mp4" else {}
    make_clip(file, 80, "mpeg4" if fmt == "avi" else "libx264", fmt, container_options=options)
    video = file.read_bytes()
    cut = int(len(video) * share)
    with av.open(io.BytesIO(video)) as container:
        whole = sum(packet.pos + packet.size <= cut for packet in container.demux(video=0) if packet.size)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            source = open_source(video[:cut])
        except VideoError:
            assert whole < 2
            return
        table = read_packets(source)
        frames = list(decode_frames(source, table, range(table.num_frames)))
    # The packet at the cut and, in transport streams, the one before may be damaged; pictures predicted from them
    # are, too.
    assert whole - 2 <= table.num_frames <= whole + 1
    images = plain_images(video)
    good = sum(np.array_equal(frame.image, images[frame.index]) for frame in frames)
    assert good >= whole - 6
    if fmt == "mp4":  # the header knows better
        assert any("ends early" in str(warning.message) for warning in caught)


def test_damaged_packets_are_skipped():
    video = bytearray(clip_bytes(NUM_FRAMES, fmt="mpegts", options={X264: GOP}))
    video[len(video) // 2 : len(video) // 2 + 188 * 6] = bytes(188 * 6)
    source = open_source(bytes(video))
    table = read_packets(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = list(decode_frames(source, table, range(table.num_frames)))
    assert len(frames) > NUM_FRAMES // 2


# Inputs that must fail.


def not_video(name: str, tmp_path) -> object:
    if name == "missing file":
        return tmp_path / "missing.mp4"
    if name == "directory":
        return tmp_path
    if name == "empty path":
        return ""
    if name == "path with a null byte":
        return "clip\0.mp4"
    if name == "device":
        return "/dev/null"
    if name == "number":
        return 3
    if name == "none":
        return None
    if name == "no frames":
        return []
    if name == "frames of different sizes":
        return [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)]
    if name == "float frames":
        return np.zeros((2, 4, 4, 3), np.float32)
    if name == "frames without pixels":
        return np.zeros((2, 0, 4, 3), np.uint8)
    if name == "grey frames":
        return np.zeros((2, 4, 4), np.uint8)
    if name == "text file object":
        return io.StringIO("hello")
    file = tmp_path / "clip.mp4"
    file.write_bytes(
        {
            "empty file": lambda: b"",
            "text": lambda: b"When does she jump?\n" * 100,
            "noise": lambda: np.random.default_rng(0).bytes(20000),
            "zeros": lambda: bytes(20000),
            "png image": lambda: png_bytes(),
            "audio only": lambda: audio_bytes("mp4"),
            "cover art only": lambda: cover_art_bytes(),
            "encrypted": lambda: clip_bytes(
                10,
                container_options={
                    "encryption_scheme": "cenc-aes-ctr",
                    "encryption_key": "00112233445566778899aabbccddeeff",
                    "encryption_kid": "112233445566778899aabbccddeeff00",
                },
            ),
            "unknown codec": lambda: clip_bytes(10).replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"),
            "no moov box": lambda: clip_bytes(10)[:1000],
            "zero-size frames": lambda: b"YUV4MPEG2 W0 H0 F25:1\nFRAME\n",
            "huge frames": lambda: b"YUV4MPEG2 W40000 H40000 F25:1 C420\nFRAME\n" + bytes(100),
            "overflowing frames": lambda: b"YUV4MPEG2 W2000000000 H2000000000 F25:1\nFRAME\n",
            "frame size over the limit": lambda: huge_mjpeg(),
        }[name]()
    )
    return file


def png_bytes() -> bytes:
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 8, 8, "rgb24", Fraction(1, 25)
    return b"".join(map(bytes, encoder.encode(av.VideoFrame(8, 8, "rgb24"))))


def audio_bytes(fmt: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=fmt) as container:
        add_audio(container)
    return buffer.getvalue()


def add_audio(container) -> None:
    stream = container.add_stream("aac", rate=16000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 16000
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def cover_art_bytes() -> bytes:
    """Audio with a picture attached, which FFmpeg shows as a video stream."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 8, 8, "rgb24"
        stream.disposition = Disposition.attached_pic
        audio = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(av.VideoFrame(8, 8, "rgb24")))
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return buffer.getvalue()


def huge_mjpeg() -> bytes:
    """A picture whose header says 65500 x 65500."""
    video = clip_bytes(moving_frames(1), "mjpeg", "avi", pix_fmt="yuvj420p")
    marker = video.index(b"\xff\xc0") + 5
    return video[:marker] + (65500).to_bytes(2, "big") * 2 + video[marker + 4 :]


NOT_VIDEOS = (
    *("missing file", "directory", "empty path", "path with a null byte", "device", "number", "none", "no frames"),
    *("frames of different sizes", "float frames", "frames without pixels", "grey frames", "text file object"),
    *(
        "empty file",
        "text",
        "noise",
        "zeros",
        "audio only",
        "cover art only",
        "encrypted",
        "unknown codec",
        "no moov box",
    ),
    *("png image", "zero-size frames", "huge frames", "overflowing frames", "frame size over the limit"),
)


@pytest.mark.parametrize("name", NOT_VIDEOS)
@pytest.mark.timeout(20)
def test_not_a_video(name, tmp_path):
    video = not_video(name, tmp_path)
    with pytest.raises(VideoError) as caught:
        source = open_source(video)
        frames = read_packets(source)
        print(source, frames)
    expected = {"number": "<frames>", "none": "<frames>", "text file object": "<stream>"}
    if not isinstance(video, (list, np.ndarray)):
        assert str(caught.value).lstrip("'").startswith(expected.get(name, str(video)[:4]))
    # The same bytes without a name.
    if hasattr(video, "is_file") and video.is_file():
        with pytest.raises(VideoError, match="^<bytes>: "):
            open_source(video.read_bytes())


# Sound files that look odd.


def edited(share: float) -> bytes:
    """A clip whose edit list ends it early."""
    video = bytearray(clip_bytes(NUM_FRAMES, options={X264: f"{GOP}:bframes=2"}))
    duration = video.index(b"elst") + 12
    length = int.from_bytes(video[duration : duration + 4], "big")
    video[duration : duration + 4] = int(share * length).to_bytes(4, "big")
    return bytes(video)


def test_clip_trimmed_by_an_edit_list_is_no_damaged_one():
    video = edited(0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, table = check(video, plain_images(video))
    assert table.num_frames == NUM_FRAMES // 2


def test_header_that_promises_a_frame_more():
    """One more that never came is usual in recordings; two are a damaged file."""
    video = clip_bytes(NUM_FRAMES, "mpeg4", "avi", options={"g": "12"})
    for more in (1, 2):
        promised = bytearray(video)
        total = promised.index(b"avih") + 8 + 16
        length = promised.index(b"strh") + 8 + 32
        for place in (total, length):
            promised[place : place + 4] = (NUM_FRAMES + more).to_bytes(4, "little")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            source = open_source(bytes(promised))
            table = read_packets(source)
            assert len(list(decode_frames(source, table, range(table.num_frames)))) == NUM_FRAMES
        assert source.num_frames_hint == NUM_FRAMES + more
        assert bool(caught) == (more > 1)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_last_packet_without_a_picture(num_threads):
    """Is no damage; anywhere else it is."""
    video = clip_bytes(NUM_FRAMES, "mjpeg", "avi", pix_fmt="yuvj420p")
    source = open_source(video)
    table = read_packets(source)
    for frame, warned in ((NUM_FRAMES - 1, False), (10, True)):
        blank = bytearray(video)
        with av.open(io.BytesIO(video)) as container:
            packet = [packet for packet in container.demux(video=0) if packet.size][frame]
        blank[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
        broken = dataclasses.replace(source, data=bytes(blank))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            frames = list(decode_frames(broken, table, range(NUM_FRAMES), num_threads=num_threads))
        assert len(frames) == NUM_FRAMES - 1
        assert any("could not be decoded" in str(each.message) for each in caught) == warned


@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG"), ("bt709", "")])
def test_hdr_is_named(transfer, name):
    options = {X264: f"{GOP}:transfer={transfer}:colorprim=bt2020:colormatrix=bt2020nc"}
    video = clip_bytes(10, options=options, fmt="matroska", pix_fmt="yuv420p10le")
    for read in (lambda: tokenize_video(video, target_canvas=2), lambda: list(iter_live_groups(io.BytesIO(video)))):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read()
        texts = [str(each.message) for each in caught if "HDR" in str(each.message)]
        assert len(texts) == bool(name) and all(f"({name}," in text for text in texts)


def test_interlaced_fields_are_woven():
    """As decoded: frames, not fields, and canvases of them."""
    video = clip_bytes(NUM_FRAMES, options={"flags": "+ildct+ilme", X264: f"tff=1:{GOP}"})
    source, _ = check(video, plain_images(video))
    assert source.interlaced and tokenize_video(video, target_canvas=4).frame_ids[-1] < NUM_FRAMES


def test_animated_webp_is_named(tmp_path):
    images = [Image.fromarray(frame) for frame in moving_frames(3)]
    images[0].save(tmp_path / "clip.webp", save_all=True, append_images=images[1:])
    for video in (tmp_path / "clip.webp", (tmp_path / "clip.webp").read_bytes()):
        with pytest.raises(VideoError, match="is a WebP image; FFmpeg reads no animated ones"):
            open_source(video)
