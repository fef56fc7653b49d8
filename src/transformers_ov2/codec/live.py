# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Live sources: groups as they complete, from a stream that may never end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np

from .config import CodecStreamConfig
from .deciding.budget import timestamp_text_tokens
from .deciding.grouping import BIN_SECONDS, MAX_GROUP_SECONDS, MIN_GROUP_SECONDS
from .deciding.scoring import score_frames
from .packing.canvas import CodecStream, canvas_size
from .reading.decoding import DecodedFrame, _Converter, _Request
from .reading.packets import PacketTable
from .reading.source import DEMUXERS, MAX_SOURCE_PIXELS, VideoError, VideoSource
from .tokenizer import Clock, ScoredGroup, pack, select


# A group holds the energy of this many seconds of what was seen so far.
GROUP_SECONDS = 4.0
# Bins before the end of a group in which a quieter place for the cut is looked for.
CUT_REACH = 3
# Packets after which a picture that did not come out of the decoder is given up.
MAX_REORDERED = 256


def iter_live_groups(
    stream: BinaryIO | Iterable[np.ndarray],
    config: CodecStreamConfig | None = None,
    *,
    fps: float | None = None,
    name: str = "<live>",
    timestamp_tokens: Callable[[float], int] | None = None,
    **overrides: Any,
) -> Iterator[CodecStream]:
    """
    Tokenize a stream while it comes in: each group is yielded as soon as the frame after its last has arrived.

    Groups are cut as with `grouping="packet_energy"`, but by the energy so far instead of that of the whole video: a
    group lasts 1.5 to 6 seconds. Every group has `images_per_group` canvases, the last one perhaps fewer;
    `target_canvas` does not apply. Memory holds one group of frames at canvas size.

    Args:
        stream (`BinaryIO` or `Iterable[np.ndarray]`):
            A binary file object with a container that can be read from front to back (MPEG-TS, Matroska, WebM,
            fragmented MP4, raw H.264), such as a pipe or a socket; or decoded frames, uint8 `(height, width, 3)`.
        config (`CodecStreamConfig`, *optional*): the options; defaults when not given.
        fps (`float`, *optional*): frames per second of decoded frames; not for encoded streams.
        name (`str`, *optional*): what messages call the stream.
        timestamp_tokens (`Callable[[float], int]`, *optional*): as for `tokenize_video`.
        overrides: fields of the config that differ.

    Yields:
        [`CodecStream`]: one group; frames and times count from the start of the stream.

    Raises:
        ValueError: an option does not apply to live streams, or `fps` is missing.
        VideoError: the stream is no video, or none of its frames can be decoded.
    """
    config = (config or CodecStreamConfig()).replace(**overrides)
    for option, value, allowed in (
        ("grouping", config.grouping, "packet_energy"),
        ("max_tokens", config.max_tokens, None),
    ):
        if value != allowed:
            raise ValueError(f"`{option}={value!r}` needs the whole video and does not apply to a live stream.")
    if config.bit_source == "codec-video-prep":
        raise ValueError('`bit_source="codec-video-prep"` reads files and does not apply to a live stream.')
    encoded = callable(getattr(stream, "read", None))
    if encoded == (fps is not None):
        raise ValueError("`fps` must be given for decoded frames, and only for them.")
    reader = _Decoded(stream, name, config) if encoded else _Frames(stream, name, config, fps)
    return _iter_live_groups(reader, config, timestamp_tokens or timestamp_text_tokens)


@dataclass
class _LiveFrame:
    """A frame that arrived, with what its packet tells."""

    decoded: DecodedFrame
    seconds: float
    size: int
    is_key: bool
    decode_index: int


class _Reader:
    """Frames of a live stream in presentation order. `source` is known once the first one is there."""

    source: VideoSource

    def __init__(self, name: str, config: CodecStreamConfig):
        self.name = name
        self.config = config

    def _prepare(self, codec: str, height: int, width: int, rotation: int, rate: Fraction | None) -> _Converter:
        if height * width > MAX_SOURCE_PIXELS:
            raise VideoError(
                f"{self.name}: frames of {width}x{height} pixels exceed the limit of {MAX_SOURCE_PIXELS}."
            )
        if rotation in (90, 270):
            height, width = width, height
        self.source = VideoSource(self.name, codec, width, height, rotation, Fraction(1), rate, "")
        size = canvas_size(height, width, self.config)
        return _Converter(self.source, _Request(size=size, side_data=True))


class _Frames(_Reader):
    """Decoded frames at a steady rate."""

    def __init__(self, frames: Iterable[np.ndarray], name: str, config: CodecStreamConfig, fps: float):
        super().__init__(name, config)
        self.frames = frames
        self.fps = fps

    def __iter__(self) -> Iterator[_LiveFrame]:
        converter = shape = None
        for index, frame in enumerate(self.frames):
            array = np.asarray(frame)
            if (
                array.dtype != np.uint8
                or array.ndim != 3
                or array.shape[2] != 3
                or array.shape != (shape or array.shape)
            ):
                raise VideoError(
                    f"{self.name}: frame {index} must be uint8 of shape {shape or '(height, width, 3)'}, got "
                    f"{array.dtype} of shape {array.shape}."
                )
            if converter is None:
                shape = array.shape
                converter = self._prepare("frames", shape[0], shape[1], 0, Fraction(self.fps))
            yield _LiveFrame(converter.from_array(index, array), index / self.fps, 0, index == 0, index)


class _Decoded(_Reader):
    """An encoded stream, read and decoded once."""

    def __init__(self, file: BinaryIO, name: str, config: CodecStreamConfig):
        super().__init__(name, config)
        self.file = file

    def __iter__(self) -> Iterator[_LiveFrame]:
        def refuse(url: str, flags: int, options: dict):
            raise PermissionError(f"refused to open {url}")

        guard = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"}
        try:
            container = av.open(self.file, "r", container_options=guard, metadata_errors="replace", io_open=refuse)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"{self.name}: not a readable video ({error}).") from error
        with container:
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise VideoError(f"{self.name}: holds no video stream.")
            yield from self._read(container, stream)

    def _read(
        self, container: av.container.InputContainer, stream: av.video.stream.VideoStream
    ) -> Iterator[_LiveFrame]:
        decoder = stream.codec_context
        # Frame threading corrupts motion vectors.
        decoder.thread_type, decoder.thread_count = "NONE", 1
        decoder.options = {"export_side_data": "mvs+venc_params", "max_pixels": str(MAX_SOURCE_PIXELS)}
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        converter = None
        packets: dict[int, tuple[float | None, int, bool]] = {}  # by number: seconds, size, key
        index, offset, last = 0, None, 0.0
        for number, packet in enumerate(self._packets(container, stream)):
            if packet is not None:
                seconds = None if packet.pts is None else float(packet.pts * packet.time_base)
                packets[number] = (seconds, packet.size, packet.is_keyframe)
                # Numbers travel through the decoder in place of timestamps, which may be missing or repeat.
                packet.pts = packet.dts = number
            try:
                frames = decoder.decode(packet)
            except av.FFmpegError:  # a damaged packet: what can still be decoded is used
                continue
            for frame in frames:
                if converter is None:
                    rotation = -90 * round(frame.rotation / 90) % 360
                    codec = decoder.codec.canonical_name
                    converter = self._prepare(codec, frame.height, frame.width, rotation, rate)
                seconds, size, is_key = packets.pop(frame.pts, (None, 0, False))
                if seconds is not None and offset is not None and seconds - offset > last:
                    now = seconds - offset
                else:
                    # The first frame, or the clock is missing or was set back: it is right from here on.
                    now = last + float(1 / rate) if index else 0.0
                    offset = offset if seconds is None else seconds - now
                yield _LiveFrame(converter(index, frame), now, size, is_key, frame.pts)
                index, last = index + 1, now
            for lost in [key for key in packets if key < number - MAX_REORDERED]:
                del packets[lost]

    def _packets(self, container, stream) -> Iterator[av.Packet | None]:
        """Packets with content, and None at the end, which makes the decoder give what it holds back."""
        with contextlib.suppress(av.FFmpegError):  # a broken end is the end of a live stream
            for packet in container.demux(stream):
                if packet.size:
                    yield packet
        yield None


class _OnlinePartition:
    """`partition_packet_energy` without knowledge of what is to come."""

    def __init__(self, least_frames: int):
        self.least_frames = least_frames
        self.seconds: list[float] = []
        self.energy: list[float] = []
        self.total = 0.0
        self.start: float | None = None

    def push(self, seconds: float, energy: float) -> int:
        """Add a frame. Returns how many frames, from the first that is in no group, form a group now; mostly 0."""
        cut = self._cut(seconds) if self.seconds else 0
        self.start = seconds if self.start is None else self.start
        self.seconds, self.energy = self.seconds[cut:], self.energy[cut:]
        self.seconds.append(seconds)
        self.energy.append(energy)
        self.total += energy
        return cut

    def _cut(self, now: float) -> int:
        first, count = self.seconds[0], len(self.seconds)
        current = int((now - first) / BIN_SECONDS)
        if current == int((self.seconds[-1] - first) / BIN_SECONDS):  # groups end with a bin
            return 0
        share = self.total / (now - self.start) * GROUP_SECONDS
        if count < self.least_frames or now - first < MIN_GROUP_SECONDS:
            return 0
        if sum(self.energy) < share and now - first < MAX_GROUP_SECONDS:
            return 0
        # The quietest of the last bins starts the next group.
        bins = ((np.array(self.seconds) - first) / BIN_SECONDS).astype(np.int64)
        energy = np.bincount(bins, self.energy, minlength=current)
        candidates = np.arange(max(current - CUT_REACH, int(np.ceil(MIN_GROUP_SECONDS / BIN_SECONDS))), current)
        starts = np.searchsorted(bins, candidates)
        candidates = candidates[starts >= self.least_frames]
        quiet = candidates[energy[candidates] < energy[current - 1]]
        if not len(quiet):
            return count
        return int(np.searchsorted(bins, quiet[np.argmin(energy[quiet])]))


def _iter_live_groups(
    reader: _Reader, config: CodecStreamConfig, timestamp_tokens: Callable[[float], int]
) -> Iterator[CodecStream]:
    clock = Clock()
    partition = _OnlinePartition(config.images_per_group)
    frames: list[_LiveFrame] = []
    first = 0
    for frame in clock.iterate("decode", iter(reader)):
        # Key frames cost their bytes wherever the encoder put them, and decoded frames cost nothing: both count as if
        # nothing happened, and time alone cuts.
        usual = partition.total / max(1, first + len(frames)) or 1.0
        if cut := partition.push(frame.seconds, usual if frame.is_key or not frame.size else frame.size):
            yield _tokenize(reader, frames[:cut], first, config, timestamp_tokens, clock)
            frames, first = frames[cut:], first + cut
        frames.append(frame)
    if frames:
        yield _tokenize(reader, frames, first, config, timestamp_tokens, clock)
    elif not first:
        raise VideoError(f"{reader.name}: none of its frames can be decoded.")


def _tokenize(
    reader: _Reader,
    frames: list[_LiveFrame],
    first: int,
    config: CodecStreamConfig,
    timestamp_tokens: Callable[[float], int],
    clock: Clock,
) -> CodecStream:
    """Score, select and pack one group as if it were a whole video, then count its frames from the stream's start."""
    count = len(frames)
    seconds = np.array([frame.seconds for frame in frames])
    rate = reader.source.average_rate
    table = PacketTable(
        pts=np.arange(count),
        seconds=seconds,
        size=np.array([frame.size for frame in frames], dtype=np.int64),
        is_key=np.array([frame.is_key for frame in frames]),
        is_reference=np.array([frame.decoded.pict_type != "B" for frame in frames]),
        decode_index=np.array([frame.decode_index for frame in frames], dtype=np.int64),
        fps=float(rate),
    )
    decoded = [replace(frame.decoded, index=index) for index, frame in enumerate(frames)]
    size, num_canvases = decoded[0].picture.size, min(config.images_per_group, count)
    with clock("score"):
        source_hw = (reader.source.height, reader.source.width)
        evidence, cells = score_frames(decoded, table, size, source_hw, config)
    group = ScoredGroup(
        bounds=(0, count),
        frame_ids=np.arange(count),
        pictures=[frame.picture for frame in decoded],
        evidence=evidence,
        cells=cells,
        num_canvases=num_canvases,
        max_timestamps=min(count, config.source_frames_per_canvas * num_canvases),
    )
    with clock("select"):
        blocks = select(group, table, config, timestamp_tokens)
    with clock("pack"):
        stream = pack(group, table, blocks, config)
    stream.timings = clock.take()
    stream.patch_positions[..., 0] += first
    stream.groups += first
    stream.frame_ids += first
    return stream
