# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Anything that holds a video → a probed source that can be opened again and again, from several threads."""

import contextlib
import hashlib
import io
import math
import os
import stat
import tempfile
import urllib.request
import warnings
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import av
import numpy as np

from .containers import VideoError, check_sample_tables, ffmpeg_message, open_container, open_stream
from .network import NetworkLimits, fetch
from .orientation import Orientation


# 8192 x 8192: an 8K frame passes twice over. A frame of that size takes 0.2 GB as RGB.
MAX_SOURCE_PIXELS = 2**26
# Pixels of broadcast and disc formats are at most twice as wide as high; what is beyond this is a damaged header.
MAX_PIXEL_ASPECT = 8
# Pixels that are no further off square are left alone, as by the reference: 4:3 video in CIF, PAL and NTSC sizes with
# 10:11 to 12:11. Rounding a canvas to whole blocks changes as much, and stretching every picture blurs it.
SQUARE_TOLERANCE = Fraction(1, 10)
# 19 hours at 60 frames per second.
MAX_SOURCE_FRAMES = 2**22
# Streams that cannot be rewound and downloads are kept whole: in memory up to the first limit, in a temporary file
# up to the second.
SPOOL_MEMORY_BYTES = 2**26
SPOOL_FILE_BYTES = 2**33
# AVColorTransferCharacteristic (ITU-T H.273, table 3).
_HDR_TRANSFERS = {16: "PQ, SMPTE ST 2084", 18: "HLG, ARIB STD-B67"}
# Packets tried before a video of which nothing decodes is given up.
PROBE_PACKETS = 512


@dataclass(frozen=True)
class Isolation:
    """
    Limits of the child process that reads a video.

    Attributes:
        seconds (`float`): most seconds that are waited for it in all.
        memory_bytes (`int`): most private memory, beyond what an idle child takes.
    """

    seconds: float = 300.0
    memory_bytes: int = 2**31

    def __post_init__(self):
        for name in ("seconds", "memory_bytes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` of `isolate` must be a positive number, got {getattr(self, name)}.")


@dataclass(eq=False)
class VideoSource:
    """A probed video that can be opened any number of times, also from several threads at once. Made by
    [`open_source`].

    Attributes:
        name (`str`): path, URL or a given name; every error message starts with it.
        codec (`str`): FFmpeg's name of the codec (`"h264"`, `"hevc"`, ...), `"frames"` for decoded frames.
        width, height (`int`): display size in pixels: turned upright, and as wide as pixels that are not
            square make it (more than a tenth off square, that is).
        coded_size (`tuple[int, int]`): height and width of the first decoded picture as it comes.
        orientation ([`Orientation`]): how the decoded picture is turned and mirrored into the displayed one.
        time_base (`Fraction`): seconds per unit of timestamp.
        average_rate (`Fraction`, *optional*): frames per second according to the container, if it says.
        pix_fmt (`str`): FFmpeg's name of the coded pixel format.
        interlaced (`bool`): the first frame consists of two fields. Such frames are used as they are decoded, both
            fields woven together: resized to a canvas, their lines blend.
        has_b_frames (`bool`): pictures may be shown in another order than they are decoded in.
        num_frames_hint (`int`): number of frames that the header claims, 0 when it is silent. Never rely on it.
        max_source_pixels, max_source_frames (`int`): limits given to [`open_source`].
        isolation ([`Isolation`], *optional*): the video is read in a child process only. This process does not look
            into it, and knows neither its size nor its codec.
    """

    name: str
    codec: str = ""
    width: int = 0
    height: int = 0
    coded_size: tuple[int, int] = (0, 0)
    orientation: Orientation = Orientation()
    time_base: Fraction = Fraction(1)
    average_rate: Fraction | None = None
    pix_fmt: str = ""
    interlaced: bool = False
    has_b_frames: bool = False
    num_frames_hint: int = 0
    max_source_pixels: int = MAX_SOURCE_PIXELS
    max_source_frames: int = MAX_SOURCE_FRAMES
    isolation: Isolation | None = None
    # At most one of the three holds the video: a path, the bytes of a file, or decoded frames. None for a live stream.
    path: str | None = field(default=None, repr=False)
    data: bytes | None = field(default=None, repr=False)
    frames: Sequence[Any] | np.ndarray | None = field(default=None, repr=False)
    # The header of the file tells all about its only video stream, as those of MP4 files do; or may, until it is open.
    _is_described: bool = field(default=False, init=False, repr=False)
    _fingerprint: str | None = field(default=None, init=False, repr=False)

    @contextlib.contextmanager
    def open(
        self, *, side_data: bool = False
    ) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
        """Opens a fresh container: `with source.open() as (container, stream)`. Encoded files only.

        Args:
            side_data (`bool`): the decoder exports motion vectors and quantisers.

        Raises:
            VideoError: the file is gone or no longer readable as a video.
        """
        if self.path is None and self.data is None:
            raise VideoError(f"{self.name}: has no file to open.")
        if self.isolation is not None:
            raise VideoError(f"{self.name}: is read in isolation, see `IsolatedVideo` and `open_frames`.")
        container = self._open_container()
        try:
            yield container, open_stream(self.name, container, self.max_source_pixels, side_data=side_data)
        finally:
            container.close()

    def _open_container(self) -> av.container.InputContainer:
        if self._is_described:
            container = open_container(self.name, self._file(), self.max_source_pixels, probe=False)
            videos = container.streams.video
            if len(videos) == 1 and videos[0].frames and videos[0].average_rate:
                return container
            container.close()
            self._is_described = False
        return open_container(self.name, self._file(), self.max_source_pixels)

    def _file(self) -> str | BinaryIO:
        return io.BytesIO(self.data) if self.path is None else self.path

    def describe(self, stream: av.video.stream.VideoStream, frame: av.VideoFrame):
        """Sets what a stream and its first decoded frame tell; only the frame knows its true size and orientation.

        Raises:
            VideoError: its frames are over the limit, or have no pixels.
        """
        check_limits(self.name, frame.width, frame.height, 0, self.max_source_pixels, self.max_source_frames)
        if frame.width < 1 or frame.height < 1:
            raise VideoError(f"{self.name}: its frames have no pixels.")
        self.codec = stream.codec_context.codec.canonical_name
        self.coded_size = frame.height, frame.width
        self.orientation = Orientation.of_frame(frame)
        width = max(1, round(frame.width * _pixel_aspect_ratio(stream)))
        self.height, self.width = self.orientation.size(frame.height, width)
        self.time_base = stream.time_base
        self.average_rate = stream.average_rate or stream.guessed_rate or None
        self.pix_fmt = frame.format.name
        self.interlaced = frame.interlaced_frame
        self.has_b_frames = bool(stream.codec_context.has_b_frames)
        self.num_frames_hint = stream.frames
        if transfer := _HDR_TRANSFERS.get(frame.color_trc):
            warnings.warn(
                f"{self.name}: is HDR video ({transfer}), which is not tone-mapped: its pictures look flat and dark. "
                "Convert it to SDR for better ones.",
                stacklevel=5,
            )

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
    allow_private_network: bool = False,
    download_seconds: float = NetworkLimits.download_seconds,
    max_download_bytes: int = NetworkLimits.max_download_bytes,
    isolate: bool | Isolation = False,
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
        allow_private_network (`bool`): also from addresses that are not public: loopback, private, link-local,
            reserved.
        download_seconds (`float`): most seconds that a download may take in all.
        max_download_bytes (`int`): most bytes of a download.
        isolate (`bool` or [`Isolation`]): read the video in a child process with a limit on time and memory; nothing
            of it is decoded here, not even to probe it. Decoded frames need none.
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
        limits = NetworkLimits(allow_network, allow_private_network, download_seconds, max_download_bytes)
        content = _from_string(name, video, limits)
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
        source = VideoSource(
            name,
            max_source_pixels=max_source_pixels,
            max_source_frames=max_source_frames,
            path=content.path,
            data=content.data,
        )
        if isolate:
            source.isolation = Isolation() if isolate is True else isolate
        else:
            with content.open() as file:
                check_sample_tables(name, file, max_source_frames)
            _probe(source, content)
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


def _from_string(name: str, video: str, limits: NetworkLimits) -> _Content:
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
    with fetch(name, video, limits) as download:
        return _spool(name, download)


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
        while chunk := file.read(2**18):
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


def _probe(source: VideoSource, content: _Content):
    """Opens the file once and decodes up to its first picture."""
    with content.open() as file:
        source._is_described = file.read(8)[4:] == b"ftyp"
    with source.open() as (container, stream):
        size, limits = stream.codec_context, (source.max_source_pixels, source.max_source_frames)
        check_limits(source.name, size.width, size.height, stream.frames, *limits)
        source.describe(stream, _first_frame(source.name, container, stream))


def _pixel_aspect_ratio(stream: av.video.stream.VideoStream) -> Fraction:
    """Width of a pixel in heights, by the container or else the stream; 1 where neither tells, or what they tell is
    absurd or next to square."""
    ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    plausible = Fraction(1, MAX_PIXEL_ASPECT) <= ratio <= MAX_PIXEL_ASPECT
    return ratio if plausible and abs(ratio - 1) > SQUARE_TOLERANCE else Fraction(1)


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
                reason = ffmpeg_message(error)
                continue
            if frames:
                return frames[0]
            if packet.size:
                reason = "its packets give no frame"
    except av.FFmpegError as error:
        reason = ffmpeg_message(error)
    raise VideoError(f"{name}: no frame could be decoded ({reason}).")


def check_limits(name: str, width: int, height: int, frames: int, max_pixels: int, max_frames: int) -> None:
    """Raises `VideoError` for frames that are larger or more than allowed."""
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
    check_limits(name, width, height, len(frames), max_pixels, max_frames)
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
        coded_size=(height, width),
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
