# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Live sources: groups as they complete, from a stream that may never end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from .config import CodecStreamConfig
from .deciding.budget import FRAME_BUDGET, held_frames, timestamp_text_tokens
from .deciding.grouping import BIN_SECONDS, MAX_GROUP_SECONDS, MIN_GROUP_SECONDS, choose_frames
from .deciding.scoring import score_frames
from .packing.canvas import CodecStream, canvas_size
from .reading.live import LiveFrame, LivePictures, LiveReader, LiveStream, live_table
from .reading.source import VideoError, VideoSource
from .tokenizer import ScoredGroup, pack, select
from .workers import Clock


# A group holds the energy of this many seconds of what was seen so far.
GROUP_SECONDS = 4.0
# Bins before the end of a group in which a quieter place for the cut is looked for.
CUT_REACH = 3


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
    `target_canvas` does not apply. Memory holds the frames of one group at canvas size, no more of them than
    `frame_budget` and than files may have: of more frames per second, every second one, or every fourth.

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
    source, size = VideoSource(name), lambda height, width: canvas_size(height, width, config)
    reader = LiveStream(source, size, stream) if encoded else LivePictures(source, size, stream, fps)
    return _iter_live_groups(reader, config, timestamp_tokens or timestamp_text_tokens)


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
    reader: LiveReader, config: CodecStreamConfig, timestamp_tokens: Callable[[float], int]
) -> Iterator[CodecStream]:
    clock = Clock()
    partition = _OnlinePartition(config.images_per_group)
    group = _Group(config)
    for frame in clock.iterate("decode", iter(reader)):
        # Key frames cost their bytes wherever the encoder put them, and decoded frames cost nothing: both count as if
        # nothing happened, and time alone cuts.
        usual = partition.total / max(1, group.start + len(group.frames)) or 1.0
        if cut := partition.push(frame.seconds, usual if frame.header.is_key or not frame.size else frame.size):
            complete, group = group.split(cut)
            yield _tokenize(reader, complete, config, timestamp_tokens, clock)
        group.push(frame)
    if group.frames:
        yield _tokenize(reader, group, config, timestamp_tokens, clock)
    elif not group.start:
        raise VideoError(f"{reader.source.name}: none of its frames can be decoded.")


class _Group:
    """
    Frames that are in no group yet. All of them count, but no more are held than files may hold of a group: of many
    frames per second every second one, or every fourth, and the first of each bin, where a group may begin.
    """

    def __init__(self, config: CodecStreamConfig, start: int = 0):
        self.config = config
        self.start = start  # its first frame, counted from the start of the stream
        self.frames: list[LiveFrame] = []
        self.held: list[int] = []
        self.first_of_bins: set[int] = set()
        self.step = 1

    def push(self, frame: LiveFrame) -> None:
        at = len(self.frames)
        self.frames.append(frame)
        bins = [int((each.seconds - self.frames[0].seconds) / BIN_SECONDS) for each in self.frames[-2:]]
        if at == 0 or bins[0] != bins[1]:
            self.first_of_bins.add(at)
        elif at % self.step:
            frame.decoded = None
            return
        self.held.append(at)
        rows, columns = (side // self.config.factor for side in frame.decoded.picture.size)
        most = min(self.config.frame_budget or FRAME_BUDGET, held_frames(rows * columns, self.config))
        if len(self.held) > max(most, self.config.images_per_group) + len(self.first_of_bins):
            self.step *= 2
            for at in self.held:
                if at % self.step and at not in self.first_of_bins:
                    self.frames[at].decoded = None
            self.held = [at for at in self.held if self.frames[at].decoded is not None]

    def split(self, count: int) -> tuple[_Group, _Group]:
        """The first `count` frames, a complete group, and the others, the beginning of the next one."""
        first, rest = _Group(self.config, self.start), _Group(self.config, self.start + count)
        first.frames, rest.frames = self.frames[:count], self.frames[count:]
        first.held = [at for at in self.held if at < count]
        rest.held = [at - count for at in self.held if at >= count]
        return first, rest


def _tokenize(
    reader: LiveReader,
    live: _Group,
    config: CodecStreamConfig,
    timestamp_tokens: Callable[[float], int],
    clock: Clock,
) -> CodecStream:
    """Score, select and pack one group as if it were a whole video, then count its frames from the stream's start."""
    table = live_table(live.frames, float(reader.source.average_rate))
    size = live.frames[live.held[0]].decoded.picture.size
    num_canvases = min(config.images_per_group, len(live.held))
    limit = config.source_frames_per_canvas * num_canvases
    held = live_table([live.frames[at] for at in live.held], table.fps)
    chosen = choose_frames(held, (0, held.num_frames), limit, held.num_frames, config)
    frame_ids = np.array(live.held)[chosen]
    decoded = [replace(live.frames[at].decoded, index=at) for at in frame_ids.tolist()]
    with clock("score"):
        source_hw = (reader.source.height, reader.source.width)
        evidence = score_frames(decoded, table, size, source_hw, config)
    group = ScoredGroup(
        bounds=(0, table.num_frames),
        frame_ids=frame_ids,
        pictures=[frame.picture for frame in decoded],
        evidence=evidence,
        num_canvases=num_canvases,
        max_timestamps=min(len(decoded), limit),
    )
    with clock("select"):
        blocks = select(group, table, config, timestamp_tokens)
    with clock("pack"):
        stream = pack(group, table, blocks, config)
    stream.timings = clock.take()
    stream.patch_positions[..., 0] += live.start
    stream.groups += live.start
    stream.frame_ids += live.start
    return stream
