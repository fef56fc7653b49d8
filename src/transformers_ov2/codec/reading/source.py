# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Anything that holds a video → a probed source that can be opened again and again, from several threads.

Nothing here follows a reference to another file or host: demuxers are an allow-list (`DEMUXERS`), so playlists
(concat, HLS, DASH, SDP, image patterns, ...) are refused whatever their file name says, and http(s) is fetched only
when the caller asks for it.
"""

import contextlib
import hashlib
import http.client
import io
import math
import os
import stat
import sys
import tempfile
import urllib.request
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import av
import numpy as np
from av.stream import Disposition


# Demuxers that read one file and nothing else, by FFmpeg's names. Those that open other files or devices (concat,
# hls, dash, image2, sdp, rtsp, lavfi, ...) are left out on purpose.
DEMUXERS = (
    *(
        "mov",
        "matroska",
        "avi",
        "mpegts",
        "mpeg",
        "flv",
        "asf",
        "ogg",
        "nut",
        "ivf",
        "mxf",
        "dv",
        "gif",
        "apng",
        "yuv4mpegpipe",
    ),
    *("h264", "hevc", "av1", "obu", "m4v", "mpegvideo", "h263", "mjpeg"),
)
# 8192 x 8192: an 8K frame passes twice over. A frame of that size takes 0.2 GB as RGB.
MAX_SOURCE_PIXELS = 2**26
# 19 hours at 60 frames per second.
MAX_SOURCE_FRAMES = 2**22
# Streams that cannot be rewound and downloads are kept whole: in memory up to the first limit, in a temporary file
# up to the second.
SPOOL_MEMORY_BYTES = 2**26
SPOOL_FILE_BYTES = 2**33
HTTP_TIMEOUT_SECONDS = 30.0
# Packets tried before a video of which nothing decodes is given up.
PROBE_PACKETS = 512


class VideoError(ValueError):
    """A video that cannot be read or is refused. The message starts with the name of the source."""


@dataclass(eq=False)
class VideoSource:
    """A probed video that can be opened any number of times, also from several threads at once. Made by
    [`open_source`].

    Attributes:
        name (`str`): path, URL or a given name; every error message starts with it.
        codec (`str`): FFmpeg's name of the codec (`"h264"`, `"hevc"`, ...), `"frames"` for decoded frames.
        width, height (`int`): display size in pixels, rotation applied.
        rotation (`int`): clockwise degrees (0, 90, 180, 270) that turn the coded picture into the displayed one.
        time_base (`Fraction`): seconds per unit of timestamp.
        average_rate (`Fraction`, *optional*): frames per second according to the container, if it says.
        pix_fmt (`str`): FFmpeg's name of the coded pixel format.
        interlaced (`bool`): the first frame consists of two fields.
        has_b_frames (`bool`): pictures may be shown in another order than they are decoded in.
        num_frames_hint (`int`): number of frames that the header claims, 0 when it is silent. Never rely on it.
        max_source_pixels, max_source_frames (`int`): limits given to [`open_source`].
    """

    name: str
    codec: str
    width: int
    height: int
    rotation: int
    time_base: Fraction
    average_rate: Fraction | None
    pix_fmt: str
    interlaced: bool = False
    has_b_frames: bool = False
    num_frames_hint: int = 0
    max_source_pixels: int = MAX_SOURCE_PIXELS
    max_source_frames: int = MAX_SOURCE_FRAMES
    # Exactly one of the three holds the video: a path, the bytes of a file, or decoded frames.
    path: str | None = field(default=None, repr=False)
    data: bytes | None = field(default=None, repr=False)
    frames: Sequence[Any] | np.ndarray | None = field(default=None, repr=False)
    # The header of the file tells all about its only video stream, as those of MP4 files do; or may, until it is open.
    _is_described: bool = field(default=False, init=False, repr=False)
    _fingerprint: str | None = field(default=None, init=False, repr=False)

    @contextlib.contextmanager
    def open(self) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
        """Opens a fresh container: `with source.open() as (container, stream)`. Encoded sources only.

        The decoder of `stream` runs in one thread: frame threading corrupts motion vectors, and parallel work is cut
        by GOP instead.

        Raises:
            VideoError: the file is gone or no longer readable as a video.
        """
        if self.path is None and self.data is None:
            raise VideoError(f"{self.name}: decoded frames have no container to open.")
        container = self._open_container()
        try:
            stream = _video_stream(self.name, container)
            stream.codec_context.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(self.max_source_pixels)}
            yield container, stream
        finally:
            container.close()

    def _open_container(self) -> av.container.InputContainer:
        content = self.name, self.path, self.data, self.max_source_pixels
        if self._is_described:
            container = _open_container(*content, probe=False)
            videos = container.streams.video
            if len(videos) == 1 and videos[0].frames and videos[0].average_rate:
                return container
            container.close()
            self._is_described = False
        return _open_container(*content)

    def frame(self, index: int) -> np.ndarray:
        """Decoded frame `index` of a source of frames, uint8 `[height, width, 3]`."""
        return _frame_array(self.name, self.frames[index], index)

    def fingerprint(self) -> str:
        """SHA-256 of the content, as hex: the bytes of the file, or shape, pixels and rate of decoded frames.
        Computed once."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            if self.path is not None:
                try:
                    with open(self.path, "rb") as file:
                        digest = hashlib.file_digest(file, "sha256")
                except OSError as error:
                    raise VideoError(f"{self.name}: {error.strerror}.") from error
            elif self.data is not None:
                digest.update(self.data)
            else:
                digest.update(f"frames {len(self.frames)} {self.height} {self.width} {self.average_rate}".encode())
                for index in range(len(self.frames)):
                    digest.update(np.ascontiguousarray(self.frame(index)))
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def open_source(
    video: Any,
    *,
    fps: float | None = None,
    max_source_pixels: int = MAX_SOURCE_PIXELS,
    max_source_frames: int = MAX_SOURCE_FRAMES,
    allow_network: bool = False,
    name: str | None = None,
) -> VideoSource:
    """Probes a video and returns a source that can be opened again and again.

    Args:
        video: a path (`str`, `os.PathLike`), a `file://` URL, an http(s) URL (only with `allow_network`), the
            `bytes` of a file, a binary file object, or decoded frames: a uint8 array `[frames, height, width, 3]` or
            `[frames, 3, height, width]` (numpy, or anything `np.asarray` takes, such as a CPU tensor), or a list of
            PIL images or `[height, width, 3]` arrays of equal size. A file object is read to its end once, from its
            start if it is seekable, and is neither closed nor needed afterwards; what cannot be rewound (pipes,
            sockets, downloads) is kept in memory or, above 64 MiB, in a temporary file that lives as long as the
            source.
        fps (`float`, *optional*): frames per second of decoded frames; 1 when not given, so that seconds count
            frames, as in the released processor. Ignored for encoded videos, whose timestamps are used.
        max_source_pixels (`int`): the largest frame that is decoded, width times height.
        max_source_frames (`int`): the largest number of frames.
        allow_network (`bool`): fetch http(s) URLs, redirects included.
        name (`str`, *optional*): what messages call the video.

    Raises:
        VideoError: the video is missing, empty, no video, encrypted, over a limit, or of a refused kind (playlists,
            other protocols).
    """
    if isinstance(video, os.PathLike):
        video = os.fsdecode(video)
        name = name or video
        content = _from_path(name, video)
    elif isinstance(video, str):
        name = name or video
        content = _from_string(name, video, allow_network)
    elif isinstance(video, bytes | bytearray | memoryview):
        name = name or "<bytes>"
        content = _Content(data=bytes(video))
    elif callable(getattr(video, "read", None)):
        name = name or str(getattr(video, "name", "<stream>"))
        content = _from_file_object(name, video)
    else:
        return _frames_source(video, fps, max_source_pixels, max_source_frames, name or "<frames>")

    try:
        if content.data == b"" or (content.path is not None and os.path.getsize(content.path) == 0):
            raise VideoError(f"{name}: the video is empty.")
        _check_sample_tables(name, content, max_source_frames)
        source = _probe(name, content, max_source_pixels, max_source_frames)
    except BaseException:
        if content.temporary:
            os.unlink(content.path)
        raise
    if content.temporary:
        weakref.finalize(source, _remove, content.path)
    return source


@dataclass
class _Content:
    path: str | None = None
    data: bytes | None = None
    temporary: bool = False  # `path` is ours to remove

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data) if self.path is None else open(self.path, "rb")


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _from_path(name: str, path: str) -> _Content:
    if "\0" in path:
        raise VideoError(f"{name!r}: not a path.")
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise VideoError(f"{name}: is a directory.")
        if stat.S_ISFIFO(mode):
            with open(path, "rb") as file:
                return _spool(name, file)
        if not stat.S_ISREG(mode):
            raise VideoError(f"{name}: is no regular file.")
        with open(path, "rb"):  # FFmpeg's message for a file without read permission names neither
            return _Content(path=os.path.abspath(path))
    except OSError as error:
        raise VideoError(f"{name}: {error.strerror or error}.") from error


def _from_string(name: str, video: str, allow_network: bool) -> _Content:
    try:
        url = urlsplit(video) if "://" in video else None
    except ValueError as error:
        raise VideoError(f"{name}: {error}.") from error
    if url is None or not url.scheme:
        return _from_path(name, video)
    if url.scheme == "file":
        if url.netloc not in ("", "localhost"):
            raise VideoError(f"{name}: a file URL must not name a host.")
        return _from_path(name, urllib.request.url2pathname(url.path))
    if url.scheme not in ("http", "https"):
        raise VideoError(f"{name}: protocol {url.scheme!r} is refused; pass a path, bytes or an http(s) URL.")
    if not allow_network:
        raise VideoError(f"{name}: network access is off; pass `allow_network=True` to fetch http(s) URLs.")
    # Only http(s) handlers: a redirect must not lead to file:, ftp: or data:.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    try:
        with opener.open(video, timeout=HTTP_TIMEOUT_SECONDS) as response:
            return _spool(name, response)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"{name}: {error}.") from error


def _from_file_object(name: str, file: BinaryIO) -> _Content:
    try:
        seekable = getattr(file, "seekable", None)
        if seekable is None or not seekable():
            return _spool(name, file)
        position = file.tell()
        file.seek(0)
        try:
            return _spool(name, file)
        finally:
            file.seek(position)
    except (OSError, TypeError, ValueError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"{name}: {error}.") from error


def _spool(name: str, file: BinaryIO) -> _Content:
    """Reads a stream to its end once: into memory while it is small, then into a temporary file."""
    buffer = io.BytesIO()
    total = 0
    spool = None
    try:
        while chunk := file.read(2**20):
            if isinstance(chunk, str):
                raise VideoError(f"{name}: the file object is in text mode; open it in binary mode.")
            total += len(chunk)
            if total > SPOOL_FILE_BYTES:
                raise VideoError(f"{name}: the stream is longer than {SPOOL_FILE_BYTES} bytes.")
            if spool is None and total > SPOOL_MEMORY_BYTES:
                spool = tempfile.NamedTemporaryFile(prefix="transformers-ov2-", delete=False)  # noqa: SIM115
                spool.write(buffer.getbuffer())
            (buffer if spool is None else spool).write(chunk)
    except BaseException:
        if spool is not None:
            spool.close()
            _remove(spool.name)
        raise
    if spool is None:
        return _Content(data=buffer.getvalue())
    spool.close()
    return _Content(path=spool.name, temporary=True)


def _refuse_io(url: str, flags: int, options: dict) -> None:
    raise PermissionError(f"refused to open {url}")


# Boxes of an ISO media file that lead to sample tables. FFmpeg also takes a header from "free" and "hoov".
_ISO_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"free", b"hoov"}
_ISO_MAX_BOXES = 2**22


def _claimed_samples(file: BinaryIO, size: int) -> int:
    """Samples that the headers of an ISO media file (mp4, mov) claim without spending bytes on each.

    FFmpeg builds its index of samples on opening, 24 bytes for each, so that a header of a few bytes could take
    gigabytes.
    """
    claimed = 0
    ends = [size]
    position = 0
    for _ in range(_ISO_MAX_BOXES):
        while ends and position + 8 > ends[-1]:
            position = ends.pop()
        if not ends:
            return claimed
        file.seek(position)
        header = file.read(32)
        length, kind, start = int.from_bytes(header[:4], "big"), header[4:8], position + 8
        body = header[8:]
        if length == 1:
            length, start, body = int.from_bytes(header[8:16], "big"), position + 16, header[16:]
        if length == 0:
            length = ends[-1] - position
        if position + length < start:
            return claimed
        end = min(position + length, ends[-1])
        if kind == b"cmov":  # a compressed header, out of use since QuickTime 6
            return sys.maxsize
        if kind == b"stsz" and int.from_bytes(body[4:8], "big"):  # one size for all
            claimed += int.from_bytes(body[8:12], "big")
        elif kind == b"trun" and len(body) >= 8 and not body[2] & 0x0F:  # no field of its own for any sample
            claimed += int.from_bytes(body[4:8], "big")
        if kind in _ISO_CONTAINERS:
            ends.append(end)
            position = start
        else:
            position = end
    return sys.maxsize


def _check_sample_tables(name: str, content: _Content, max_frames: int) -> None:
    with content.open() as file:
        size = file.seek(0, io.SEEK_END)
        # A sample takes a byte at least; files cut short hold fewer bytes than they claim samples, so there is some
        # leeway.
        if _claimed_samples(file, size) > max(size, 4 * max_frames):
            raise VideoError(f"{name}: its header claims more samples than the file can hold.")


def _open_container(
    name: str, path: str | None, data: bytes | None, max_pixels: int, *, probe: bool = True
) -> av.container.InputContainer:
    limits = {"max_pixels": str(max_pixels)}
    guard = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"}
    if not probe:
        # FFmpeg would decode the first frames to see what the streams are.
        guard["probesize"] = "32"
    try:
        if path is not None:
            # The explicit protocol keeps FFmpeg from reading one out of a file name such as "concat:a|b".
            return av.open("file:" + path, "r", options=limits, container_options=guard, metadata_errors="replace")
        return av.open(
            io.BytesIO(data),
            "r",
            options=limits,
            container_options=guard,
            metadata_errors="replace",
            buffer_size=2**18,
            io_open=_refuse_io,
        )
    except (av.FFmpegError, OSError, ValueError, RuntimeError, OverflowError) as error:
        raise VideoError(f"{name}: not a readable video ({_reason(error)}).") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _video_stream(name: str, container: av.container.InputContainer) -> av.video.stream.VideoStream:
    stream = container.streams.best("video")
    if stream is None or stream.disposition & Disposition.attached_pic:
        raise VideoError(f"{name}: holds no video stream.")
    if stream.codec_context is None:
        raise VideoError(f"{name}: no decoder for its video stream.")
    if not stream.time_base:
        raise VideoError(f"{name}: its video stream has no time base.")
    return stream


def _probe(name: str, content: _Content, max_pixels: int, max_frames: int) -> VideoSource:
    """Opens the file once and decodes up to its first picture, which alone tells the rotation and the true size."""
    source = VideoSource(
        name=name,
        codec="",
        width=0,
        height=0,
        rotation=0,
        time_base=Fraction(1),
        average_rate=None,
        pix_fmt="",
        max_source_pixels=max_pixels,
        max_source_frames=max_frames,
        path=content.path,
        data=content.data,
    )
    with content.open() as file:
        source._is_described = file.read(8)[4:] == b"ftyp"
    with source.open() as (container, stream):
        width, height = stream.codec_context.width, stream.codec_context.height
        _check_limits(name, width, height, stream.frames, max_pixels, max_frames)
        frame = _first_frame(name, container, stream)
        _check_limits(name, frame.width, frame.height, 0, max_pixels, max_frames)
        if frame.width < 1 or frame.height < 1:
            raise VideoError(f"{name}: its frames have no pixels.")
        source.codec = stream.codec_context.codec.canonical_name
        # FFmpeg gives the counterclockwise angle; anything but quarter turns is shown as the nearest one.
        source.rotation = -90 * round(frame.rotation / 90) % 360
        source.width, source.height = frame.width, frame.height
        if source.rotation in (90, 270):
            source.width, source.height = source.height, source.width
        source.time_base = stream.time_base
        source.average_rate = stream.average_rate or stream.guessed_rate or None
        source.pix_fmt = frame.format.name
        source.interlaced = frame.interlaced_frame
        source.has_b_frames = bool(stream.codec_context.has_b_frames)
        source.num_frames_hint = stream.frames
    return source


def _first_frame(
    name: str, container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> av.VideoFrame:
    reason = "it has no packets"
    try:
        for _, packet in zip(range(PROBE_PACKETS), container.demux(stream)):
            if packet.has_sidedata("encryption_info") or packet.has_sidedata("encryption_init_info"):
                raise VideoError(f"{name}: is encrypted.")
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError) as error:
                reason = _reason(error)
                continue
            if frames:
                return frames[0]
            if packet.size:
                reason = "its packets give no frame"
    except av.FFmpegError as error:
        reason = _reason(error)
    raise VideoError(f"{name}: no frame could be decoded ({reason}).")


def _check_limits(name: str, width: int, height: int, frames: int, max_pixels: int, max_frames: int) -> None:
    if width * height > max_pixels:
        raise VideoError(
            f"{name}: frames of {width}x{height} pixels exceed the limit of {max_pixels}; "
            "raise `max_source_pixels` if you trust it."
        )
    if frames > max_frames:
        raise VideoError(
            f"{name}: {frames} frames exceed the limit of {max_frames}; raise `max_source_frames` if you trust it."
        )


def _frames_source(video: Any, fps: float | None, max_pixels: int, max_frames: int, name: str) -> VideoSource:
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise VideoError(f"{name}: fps must be a positive number, got {fps}.")
    frames: Sequence[Any] | np.ndarray
    if isinstance(video, list | tuple):
        frames = video
    else:
        try:
            frames = np.asarray(video)
        except (TypeError, ValueError, RuntimeError) as error:
            raise VideoError(f"{name}: cannot be read as a video or as frames ({error}).") from error
        if frames.ndim != 4:
            raise VideoError(
                f"{name}: expected a path, bytes, a binary file object or uint8 frames [T, H, W, 3] or [T, 3, H, W], "
                f"got {type(video).__name__} of shape {frames.shape}."
            )
        if frames.shape[-1] != 3 and frames.shape[1] == 3:
            frames = frames.transpose(0, 2, 3, 1)
    if not len(frames):
        raise VideoError(f"{name}: the video is empty.")
    first = _frame_array(name, frames[0], 0)
    height, width = first.shape[:2]
    _check_limits(name, width, height, len(frames), max_pixels, max_frames)
    if isinstance(frames, list | tuple):
        for index, frame in enumerate(frames):
            shape = (frame.height, frame.width) if hasattr(frame, "convert") else np.shape(frame)[:2]
            if tuple(shape) != (height, width):
                raise VideoError(f"{name}: frame {index} has size {shape}, frame 0 has {(height, width)}.")
    rate = Fraction(fps).limit_denominator(10**6) if fps else Fraction(1)
    return VideoSource(
        name=name,
        codec="frames",
        width=width,
        height=height,
        rotation=0,
        time_base=1 / rate,
        average_rate=rate,
        pix_fmt="rgb24",
        num_frames_hint=len(frames),
        max_source_pixels=max_pixels,
        max_source_frames=max_frames,
        frames=frames,
    )


def _frame_array(name: str, frame: Any, index: int) -> np.ndarray:
    """One decoded frame (array or PIL image) as uint8 `[height, width, 3]`."""
    if hasattr(frame, "convert"):
        frame = frame.convert("RGB")
    try:
        array = np.asarray(frame)
    except (TypeError, ValueError, RuntimeError) as error:
        raise VideoError(f"{name}: frame {index} cannot be read ({error}).") from error
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3 or 0 in array.shape:
        raise VideoError(f"{name}: frame {index} must be uint8 [H, W, 3], got {array.dtype} of shape {array.shape}.")
    return array
