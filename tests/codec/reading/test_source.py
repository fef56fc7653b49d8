# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""What `open_source` accepts and refuses, and that it reads nothing else."""

import dataclasses
import gc
import io
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synth import clip_bytes, make_clip, moving_frames, plain_images, real_clip

from transformers_ov2.codec.reading import source as source_module
from transformers_ov2.codec.reading.decoding import decode_frames
from transformers_ov2.codec.reading.packets import read_packets
from transformers_ov2.codec.reading.source import VideoError, VideoSource, open_source


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "a clip.mp4", 12)


def first_image(source) -> np.ndarray:
    return next(decode_frames(source, read_packets(source), [0])).image


class Pipe(io.RawIOBase):
    """A stream that can be read once."""

    def __init__(self, data: bytes):
        self.buffer = io.BytesIO(data)

    def readable(self):
        return True

    def seekable(self):
        return False

    def readinto(self, target):
        return self.buffer.readinto(target)


class Duck:
    """The least a file object can be."""

    def __init__(self, data: bytes):
        self.buffer = io.BytesIO(data)

    def read(self, size=-1):
        return self.buffer.read(size)


KINDS = {
    "str": str,
    "path": lambda path: path,
    "bytes path": lambda path: BytesPath(path),
    "file url": lambda path: path.as_uri(),
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "file object": lambda path: open(path, "rb"),  # noqa: SIM115
    "BytesIO at its end": lambda path: at_end(path),
    "non-seekable stream": lambda path: Pipe(path.read_bytes()),
    "object with read": lambda path: Duck(path.read_bytes()),
}


class BytesPath:
    """An `os.PathLike` that gives bytes."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return os.fsencode(self.path)


def at_end(path):
    buffer = io.BytesIO(path.read_bytes())
    buffer.seek(0, io.SEEK_END)
    return buffer


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_input_are_the_same_video(clip, kind):
    source = open_source(KINDS[kind](clip))
    assert source.codec == "h264" and (source.width, source.height) == (128, 96)
    assert source.fingerprint() == open_source(clip).fingerprint()
    np.testing.assert_array_equal(first_image(source), plain_images(clip)[0])
    np.testing.assert_array_equal(first_image(source), plain_images(clip)[0])  # and again


def test_file_object_is_left_as_it_was(clip):
    with open(clip, "rb") as file:
        file.seek(7)
        open_source(file)
        assert file.tell() == 7 and not file.closed


def test_fifo(clip, tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(clip.read_bytes()))
    writer.start()
    source = open_source(fifo)
    writer.join()
    np.testing.assert_array_equal(first_image(source), plain_images(clip)[0])


def test_long_stream_goes_to_a_temporary_file_that_disappears(clip, monkeypatch):
    monkeypatch.setattr(source_module, "SPOOL_MEMORY_BYTES", 1000)
    source = open_source(Pipe(clip.read_bytes()))
    path = source.path
    assert path is not None and os.path.exists(path)
    np.testing.assert_array_equal(first_image(source), plain_images(clip)[0])
    del source
    gc.collect()
    assert not os.path.exists(path)


def test_endless_stream_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(source_module, "SPOOL_MEMORY_BYTES", 2**20)
    monkeypatch.setattr(source_module, "SPOOL_FILE_BYTES", 2**22)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    endless = Duck(b"")
    endless.read = lambda size=-1: b"x" * 2**16
    with pytest.raises(VideoError, match="longer than"):
        open_source(endless)
    assert not list(tmp_path.iterdir())


def test_awkward_file_names(clip, tmp_path):
    for name in (
        "concat:a|b.mp4",
        "file:x.mp4",
        "-i.mp4",
        "ünï cödé.mp4",
        "%d.mp4",
        "a?b#c.mp4",
        "subfile,,start,0,end,9,,:x.mp4",
    ):
        path = tmp_path / name
        path.write_bytes(clip.read_bytes())
        assert open_source(path).width == 128
        assert open_source(str(path)).width == 128


@pytest.mark.parametrize(
    ("options", "container_options", "pts"),
    [
        ({"x264-params": "bframes=3:b-pyramid=normal"}, {}, None),
        ({"bf": "0"}, {}, None),
        ({}, {"movflags": "frag_keyframe+empty_moov"}, None),
        ({}, {}, [0, 3, 4, 9, 10, 20, 21, 22, 30, 41, 42, 50]),
    ],
    ids=["b-frames", "p-frames", "fragmented", "variable-rate"],
)
def test_headers_tell_what_probing_tells(options, container_options, pts, monkeypatch):
    """MP4 files are not probed where their header describes the stream; nothing else may depend on it."""
    video = clip_bytes(12, options=options, container_options=container_options, pts=pts)
    source = open_source(video)
    table = read_packets(source)
    assert source._is_described == (not container_options)  # a fragmented file has no table of its frames

    def probe(self):
        return source_module.open_container(self.name, self._file(), self.max_source_pixels)

    monkeypatch.setattr(VideoSource, "_open_container", probe)
    probed = open_source(video)
    for field in dataclasses.fields(source):
        if field.name != "_is_described":
            assert getattr(source, field.name) == getattr(probed, field.name), field.name
    other = read_packets(probed)
    for field in ("pts", "seconds", "size", "is_key", "is_reference", "decode_index"):
        np.testing.assert_array_equal(getattr(table, field), getattr(other, field))


def test_name_is_used_in_messages():
    with pytest.raises(VideoError, match="^clip 7: "):
        open_source(b"nonsense", name="clip 7")


def test_fingerprint_follows_content(clip, tmp_path):
    copy = tmp_path / "other name.bin"
    copy.write_bytes(clip.read_bytes())
    assert open_source(copy).fingerprint() == open_source(clip).fingerprint()
    frames = moving_frames(3)
    prints = {
        open_source(frames).fingerprint(),
        open_source(frames[:2]).fingerprint(),
        open_source(frames, fps=2).fingerprint(),
        open_source(frames + np.uint8(1)).fingerprint(),
        open_source(clip).fingerprint(),
    }
    assert len(prints) == 5
    assert open_source(list(frames)).fingerprint() == open_source(frames).fingerprint()


@pytest.mark.parametrize("kind", ["THWC", "TCHW", "list", "PIL", "PIL grey", "tensor", "read-only"])
def test_decoded_frames(kind):
    frames = moving_frames(4, 20, 30)
    if kind == "PIL grey":
        frames = frames[..., :1].repeat(3, axis=-1)
    video = {
        "THWC": lambda: frames,
        "TCHW": lambda: frames.transpose(0, 3, 1, 2),
        "list": lambda: list(frames),
        "PIL": lambda: [Image.fromarray(frame) for frame in frames],
        "PIL grey": lambda: [Image.fromarray(frame[..., 0]) for frame in frames],
        "tensor": lambda: pytest.importorskip("torch").from_numpy(frames).permute(0, 3, 1, 2),
        "read-only": lambda: np.frombuffer(frames.tobytes(), np.uint8).reshape(frames.shape),
    }[kind]()
    source = open_source(video, fps=2.5)
    table = read_packets(source)
    assert source.codec == "frames" and (source.height, source.width) == (20, 30)
    np.testing.assert_allclose(table.seconds, [0, 0.4, 0.8, 1.2])
    assert table.fps == 2.5 and table.is_reference.all() and table.is_key.tolist() == [True, False, False, False]
    for frame in decode_frames(source, table, [3, 1, 1]):
        np.testing.assert_array_equal(frame.image, frames[frame.index])


def test_frames_without_rate_count_as_seconds():
    assert read_packets(open_source(moving_frames(3))).seconds.tolist() == [0, 1, 2]


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_bad_rate(fps):
    with pytest.raises(VideoError, match="fps"):
        open_source(moving_frames(2), fps=fps)


def test_limits_are_adjustable(clip):
    with pytest.raises(VideoError, match="max_source_pixels"):
        open_source(clip, max_source_pixels=128 * 96 - 1)
    assert open_source(clip, max_source_pixels=128 * 96).width == 128
    with pytest.raises(VideoError, match="max_source_frames"):
        open_source(clip, max_source_frames=11)
    assert read_packets(open_source(clip, max_source_frames=12)).num_frames == 12
    stream = clip_bytes(12, fmt="mpegts")  # no count in the header
    with pytest.raises(VideoError, match="max_source_frames"):
        read_packets(open_source(stream, max_source_frames=11))
    with pytest.raises(VideoError, match="max_source_frames"):
        open_source(moving_frames(3), max_source_frames=2)


@pytest.mark.parametrize("box", ["stsz", "trun"])
@pytest.mark.timeout(20)
def test_header_that_claims_millions_of_samples(box):
    """FFmpeg would build an index of gigabytes on opening."""
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if box == "trun" else {}
    video = bytearray(clip_bytes(12, "mjpeg", "mov", pix_fmt="yuvj420p", container_options=fragments))
    at = video.index(box.encode()) + 4
    if box == "stsz":
        video[at + 4 : at + 12] = struct.pack(">II", 1, 10**8)
    else:
        video[at : at + 8] = struct.pack(">II", 1, 10**8)
    with pytest.raises(VideoError, match="claims more samples"):
        open_source(bytes(video))


HOSTILE = {
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "hls url": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{target}\n#EXT-X-ENDLIST\n",
    "dash": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S">'
        "<Period><AdaptationSet><Representation id='1' bandwidth='1' mimeType='video/mp4'>"
        "<BaseURL>{target}</BaseURL>"
        "</Representation></AdaptationSet></Period></MPD>"
    ),
    "sdp": (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    ),
    "ffmetadata": ";FFMETADATA1\ntitle=x\n",
    "imf": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>',
    "pls": "[playlist]\nFile1={target}\nNumberOfEntries=1\n",
    "smil": "<smil><body><video src='{target}'/></body></smil>",
    "rtsp redirect": "RTSPtext\n{target}\n",
    "subtitles": "1\n00:00:00,000 --> 00:00:01,000\nhello\n",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ffconcat", ".mpd", ".txt"])
def test_playlists_are_refused_whatever_their_name(name, suffix, clip, tmp_path):
    text = HOSTILE[name].format(target=clip)
    file = tmp_path / f"playlist{suffix}"
    file.write_text(text)
    with pytest.raises(VideoError):
        open_source(file)
    with pytest.raises(VideoError):
        open_source(text.encode())


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://127.0.0.1/x",
        "rtmp://127.0.0.1/x",
        "ftp://127.0.0.1/x.mp4",
        "udp://127.0.0.1:9",
        "concat://x",
        "data://text/plain,x",
        "file://host/etc/passwd",
        "http://[bad/x",
        "concat:{clip}|{clip}",
        "subfile,,start,0,end,0,,:{clip}",
        "crypto:{clip}",
        "pipe:0",
        "fd:0",
        "data:video/mp4;base64,AAAA",
        "lavfi:testsrc",
        "{clip}%03d.png",
    ],
)
def test_other_protocols_are_refused(url, clip):
    with pytest.raises(VideoError):
        open_source(url.format(clip=clip))


def test_nothing_is_left_open(clip):
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("counts handles in /proc")

    def use():
        source = open_source(clip)
        table = read_packets(source)
        list(decode_frames(source, table, [0, 5, 11], num_threads=2))
        frames = decode_frames(source, table, range(12), num_threads=2)
        next(frames)
        frames.close()
        frames = decode_frames(source, table, range(12))
        next(frames)
        del frames
        for bad in (b"nonsense", clip.read_bytes()[:300], "/nowhere"):
            with pytest.raises(VideoError):
                open_source(bad)

    use()
    before = len(list(folder.iterdir()))
    for _ in range(5):
        use()
    gc.collect()
    assert len(list(folder.iterdir())) <= before
    assert not [thread for thread in threading.enumerate() if thread.name == "decode_frames"]


def test_file_that_disappears(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", 5)
    source = open_source(path)
    table = read_packets(source)
    path.unlink()
    for use in (source.fingerprint, lambda: read_packets(source), lambda: list(decode_frames(source, table, [0]))):
        with pytest.raises(VideoError, match="clip.mp4"):
            use()


def test_real_clips_open():
    source = open_source(real_clip("bikes"))
    assert (source.codec, source.width, source.height, source.average_rate) == ("h264", 640, 272, 25)
