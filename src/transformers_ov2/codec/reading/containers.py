# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The one way in which containers are opened, files and live streams alike: nothing but the given bytes is read.

Demuxers are an allow-list (`DEMUXERS`), so playlists (concat, HLS, DASH, SDP, image patterns, ...) are refused
whatever their file name says, and no reference to another file or host is followed.
"""

import io
import sys
from typing import BinaryIO

import av
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
# Boxes of an ISO media file that lead to sample tables. FFmpeg also takes a header from "free" and "hoov".
_ISO_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"free", b"hoov"}
_ISO_MAX_BOXES = 2**22


class VideoError(ValueError):
    """A video that cannot be read or is refused. The message starts with the name of the source."""


def open_container(
    name: str, file: str | BinaryIO, max_pixels: int, *, probe: bool = True
) -> av.container.InputContainer:
    """
    Opens a path or a binary file object.

    Args:
        name (`str`): what messages call the video.
        file (`str` or `BinaryIO`): an absolute path, or an object with `read`.
        max_pixels (`int`): the largest frame that a decoder may allocate.
        probe (`bool`): decode the first frames to see what the streams are, where the header does not tell.

    Raises:
        VideoError: it is no readable video.
    """
    limits = {"max_pixels": str(max_pixels)}
    guard = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"}
    if not probe:
        guard["probesize"] = "32"
    try:
        if isinstance(file, str):
            # The explicit protocol keeps FFmpeg from reading one out of a file name such as "concat:a|b".
            return av.open("file:" + file, "r", options=limits, container_options=guard, metadata_errors="replace")
        return av.open(
            file,
            "r",
            options=limits,
            container_options=guard,
            metadata_errors="replace",
            # Few calls into Python for what is in memory, little delay for what comes in slowly.
            buffer_size=2**18 if isinstance(file, io.BytesIO) else 2**15,
            io_open=_refuse_io,
        )
    except (av.FFmpegError, OSError, ValueError, RuntimeError, OverflowError) as error:
        if _is_webp(file):
            raise VideoError(
                f"{name}: is a WebP image; FFmpeg reads no animated ones. Convert it to MP4, or pass its frames."
            ) from error
        raise VideoError(f"{name}: not a readable video ({ffmpeg_message(error)}).") from error


def _is_webp(file: str | BinaryIO) -> bool:
    if isinstance(file, str):
        try:
            with open(file, "rb") as opened:
                head = opened.read(12)
        except OSError:  # gone, or not ours to read: FFmpeg's message says so
            return False
    elif isinstance(file, io.BytesIO):
        head = file.getvalue()[:12]
    else:
        return False  # a live stream, which is gone
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


def _refuse_io(url: str, flags: int, options: dict) -> None:
    raise PermissionError(f"refused to open {url}")


def ffmpeg_message(error: Exception) -> str:
    """FFmpeg's message alone, without its numbers and file names."""
    return getattr(error, "strerror", None) or str(error)


def open_stream(
    name: str, container: av.container.InputContainer, max_pixels: int, *, side_data: bool = False
) -> av.video.stream.VideoStream:
    """
    The best video stream of a container, its decoder set up.

    The decoder runs in one thread: frame threading corrupts motion vectors, and parallel work is cut by GOP instead.

    Args:
        name (`str`): what messages call the video.
        container (`av.container.InputContainer`): what [`open_container`] returned.
        max_pixels (`int`): the largest frame that is decoded.
        side_data (`bool`): export motion vectors and quantisers.

    Raises:
        VideoError: there is no video stream, or none that can be decoded.
    """
    stream = container.streams.best("video")
    if stream is None or stream.disposition & Disposition.attached_pic:
        raise VideoError(f"{name}: holds no video stream.")
    if stream.codec_context is None:
        raise VideoError(f"{name}: no decoder for its video stream.")
    if not stream.time_base:
        raise VideoError(f"{name}: its video stream has no time base.")
    stream.codec_context.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    options = {"max_pixels": str(max_pixels)}
    if side_data:
        options["export_side_data"] = "mvs+venc_params"
    stream.codec_context.options = options
    return stream


def check_sample_tables(name: str, file: BinaryIO, max_frames: int) -> None:
    """
    Refuses ISO media files (mp4, mov) whose headers claim more samples than there is room for: FFmpeg builds its index
    of samples on opening, 24 bytes for each, so that a header of a few bytes could take gigabytes.

    Raises:
        VideoError: the claim is too large.
    """
    size = file.seek(0, io.SEEK_END)
    # A sample takes a byte at least; files cut short hold fewer bytes than they claim samples: hence some leeway.
    if _claimed_samples(file, size) > max(size, 4 * max_frames):
        raise VideoError(f"{name}: its header claims more samples than the file can hold.")


def _claimed_samples(file: BinaryIO, size: int) -> int:
    """Samples that the headers of an ISO media file claim without spending bytes on each."""
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
