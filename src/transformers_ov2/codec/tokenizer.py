# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Codec-stream tokenization, the four steps of LLaVA-OneVision-2 (arXiv 2605.25979) in one place.

1. GOP partition: packet headers alone cut the video into groups of source frames.
2. Scoring: motion, residual and bits of the decoded frames give one score per block of patches.
3. Selection: the blocks of a group that are worth their tokens.
4. Packing: one I-canvas and several P-canvases per group.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .config import CodecStreamConfig
from .deciding.blank import bad_frames
from .deciding.budget import GroupPlan, held_frames, plan_groups, timestamp_text_tokens
from .deciding.features import block_features
from .deciding.fusion import Evidence
from .deciding.readiness import partition_readiness, sample_frames
from .deciding.scoring import Scorer
from .deciding.selection import error_weights, select_evidence, select_state
from .deciding.signals.exact_bits import BitMaps, read_bits
from .isolation import isolated_groups
from .packing.canvas import CodecStream, canvas_size, order_blocks, pack_blocks
from .reading.conversion import DecodedFrame
from .reading.decoding import decode_frames
from .reading.packets import PacketTable, read_packets
from .reading.pictures import PlanarPicture
from .reading.source import Isolation, VideoError, VideoSource, open_source
from .workers import Clock, Workers, default_threads, give_back_memory


# Bytes of a picture from which what scoring left behind goes back to the system before canvases are made.
LARGE_BYTES = 2**22


def tokenize_video(
    source: Any,
    config: CodecStreamConfig | None = None,
    *,
    timestamp_tokens: Callable[[float], int] | None = None,
    return_evidence: bool = False,
    isolate: bool | Isolation = False,
    **overrides: Any,
) -> CodecStream:
    """
    Turn a video into the canvas tokens of LLaVA-OneVision-2.

    Args:
        source: a path, bytes, a binary file object, decoded frames, or what
            [`~transformers_ov2.codec.reading.source.open_source`] made of them: it takes the frame rate of decoded
            frames, limits on size, and leave to use the network.
        config (`CodecStreamConfig`, *optional*): the options; defaults when not given.
        timestamp_tokens (`Callable[[float], int]`, *optional*):
            Number of language model tokens of the timestamp for a time in seconds, everything around its placeholders
            included. By default an upper bound, [`~transformers_ov2.codec.deciding.budget.timestamp_text_tokens`].
        return_evidence (`bool`, *optional*, defaults to `False`):
            Whether the stream keeps its `evidence`: the signals and scores of the blocks of all frames looked at, 24
            bytes for each block.
        isolate (`bool` or [`~transformers_ov2.codec.Isolation`], *optional*, defaults to `False`):
            Read the video in a child process with a limit on time and memory, so that a file that crashes, hangs or
            floods its decoder raises a `VideoError` here. The result is the same. Linux only.
        overrides: fields of the config that differ.

    Returns:
        [`CodecStream`]: it has `target_canvas` canvases when the video has frames for them and `max_tokens` allows
        them, and no canvas has an empty place.

    Raises:
        VideoError: the source cannot be read as a video.
        ValueError: an option is wrong, or `max_tokens` does not hold one canvas.
        ImportError: `bit_source="codec-video-prep"` without that package.
    """
    groups = iter_groups(
        source,
        config,
        timestamp_tokens=timestamp_tokens,
        return_evidence=return_evidence,
        isolate=isolate,
        **overrides,
    )
    return CodecStream.concatenate(groups)


def iter_groups(
    source: Any,
    config: CodecStreamConfig | None = None,
    *,
    timestamp_tokens: Callable[[float], int] | None = None,
    return_evidence: bool = False,
    isolate: bool | Isolation = False,
    **overrides: Any,
) -> Iterator[CodecStream]:
    """
    [`tokenize_video`] as a generator: yields each group as soon as it is packed, as a stream of its own. Arguments and
    errors are those of `tokenize_video`; options and source are checked by the call, before the first group is asked
    for. `CodecStream.concatenate` joins the groups to what `tokenize_video` returns.
    """
    config = (config or CodecStreamConfig()).replace(**overrides)
    timestamp_tokens = timestamp_tokens or timestamp_text_tokens
    if not isinstance(source, VideoSource):
        source = open_source(source, isolate=isolate)
    elif isolate:
        raise ValueError("This source is open already: pass `isolate` to `open_source`.")
    read = isolated_groups if source.isolation is not None else _iter_groups
    return read(source, config, timestamp_tokens, return_evidence)


def _iter_groups(
    source: VideoSource,
    config: CodecStreamConfig,
    timestamp_tokens: Callable[[float], int],
    return_evidence: bool,
) -> Iterator[CodecStream]:
    clock = Clock()
    with clock("demux"):
        table = read_packets(source)
        video = _Video(source, table, canvas_size(source.height, source.width, config), config)
        if config.grouping == "readiness":
            count = config.num_canvases(table.duration) * config.group_size // config.images_per_group
            frames = sample_frames(table.num_frames, count, table.is_key)
        else:
            plans = partition(video, timestamp_tokens)  # 1. GOP partition
            frames = np.concatenate([plan.frames for plan in plans])

    # The caller's thread scores while others decode ahead, and has help only where they are many: on two cores, one
    # thread for scoring beside two for decoding made ten files of 1 s to 600 s take up to a third longer, since all
    # wait for the interpreter's lock.
    with Workers(video.num_threads // 2) as workers:
        if config.grouping == "readiness":
            groups = score_then_partition(video, frames, workers, clock)
        else:
            groups = score(video, plans, workers, clock)  # 2. Scoring

        def select_and_pack(group: ScoredGroup) -> CodecStream:
            with clock("select"):
                blocks = select(group, table, config, timestamp_tokens)  # 3. Selection
            if group.pictures[0].planes.nbytes >= LARGE_BYTES:
                give_back_memory()
            with clock("pack"):
                stream = pack(group, table, blocks, config)  # 4. Packing
            stream.timings = clock.take()
            if return_evidence:
                stream.evidence = group.evidence
            return stream

        # One group is worked on while the next one is decoded, unless it takes more than half of the memory for both.
        ahead, num_groups = None, 0
        for group in groups:
            if ahead is not None:
                yield ahead.result()
            ahead, large = workers.submit(select_and_pack, group), 2 * len(group.frame_ids) > video.held_frames
            num_groups += 1
            del group
            if large or ahead.done():
                yield ahead.result()
                ahead = None
        if ahead is not None:
            yield ahead.result()
    if not num_groups:
        raise VideoError(f"{source.name}: none of its frames can be decoded.")


@dataclass
class ScoredGroup:
    """
    A group of source frames, decoded and scored.

    Attributes:
        bounds (`tuple[int, int]`): first source frame and the one after the last.
        frame_ids (`np.ndarray` of shape `(num_frames,)`, int64): the decoded source frames, ascending.
        pictures (`list[PlanarPicture]`): their pixels, at canvas size.
        evidence (`Evidence`): scores of their blocks.
        num_canvases (`int`): canvases to fill.
        max_timestamps (`int`): at most this many distinct frames may give blocks, the anchor included.
    """

    bounds: tuple[int, int]
    frame_ids: np.ndarray
    pictures: list[PlanarPicture]
    evidence: Evidence
    num_canvases: int
    max_timestamps: int


@dataclass
class _Video:
    """A probed video and how to read it."""

    source: VideoSource
    table: PacketTable
    size: tuple[int, int]  # height and width of a canvas in pixels
    config: CodecStreamConfig

    @property
    def blocks_hw(self) -> tuple[int, int]:
        return self.size[0] // self.config.factor, self.size[1] // self.config.factor

    @property
    def num_threads(self) -> int:
        return self.config.num_threads or default_threads()

    @property
    def held_frames(self) -> int:
        return held_frames(self.blocks_hw[0] * self.blocks_hw[1], self.config)

    def decode(self, frames: np.ndarray) -> Iterator[DecodedFrame]:
        return decode_frames(
            self.source,
            self.table,
            frames,
            size=self.size,
            side_data=self.config.bit_source != "codec-video-prep",
            num_threads=self.num_threads,
        )

    def decode_pictures(self, frames: np.ndarray) -> Iterator[PlanarPicture]:
        decoded = decode_frames(self.source, self.table, frames, size=self.size, num_threads=self.num_threads)
        return (frame.picture for frame in decoded)

    def read_bits(self, frames: np.ndarray) -> BitMaps | None:
        return read_bits(self.source, frames) if self.config.bit_source == "codec-video-prep" else None

    def scorer(self, workers: Workers, bits: BitMaps | None, hold: bool = True) -> Scorer:
        source_hw = (self.source.height, self.source.width)
        return Scorer(self.table, self.size, source_hw, self.config, bits, workers.submit, hold)


def partition(video: _Video, timestamp_tokens: Callable[[float], int]) -> list[GroupPlan]:
    """Cut the video into groups by its packet headers, before anything is decoded."""
    tokens_per_canvas = video.size[0] * video.size[1] // video.config.factor**2
    return plan_groups(video.table, tokens_per_canvas, video.config, timestamp_tokens)


def score(video: _Video, plans: list[GroupPlan], workers: Workers, clock: Clock) -> Iterator[ScoredGroup]:
    """
    Decode and score the groups, one at a time. One decoder runs through the frames of all of them, so that nothing is
    decoded twice where a GOP belongs to several groups.
    """
    wanted = np.concatenate([plan.frames for plan in plans])
    with clock("score"):
        bits = video.read_bits(wanted)
    decoded = clock.iterate("decode", video.decode(wanted))
    scorer, start = video.scorer(workers, bits), 0
    frame = next(decoded, None)
    for plan in plans:
        while frame is not None and frame.index < plan.end:
            with clock("score"):
                scorer.push(frame)
            frame = next(decoded, None)
        found = len(scorer.frame_ids)
        # What is left of a group too damaged to fill its canvases joins the next one, so that only the last group can
        # be short.
        if found < plan.num_canvases and not (found and plan is plans[-1]):
            continue
        pictures = scorer.pictures
        with clock("score"):
            evidence = scorer.finish()
        if plan is plans[-1]:
            del scorer  # and with it what further frames would be compared with
        yield ScoredGroup(
            bounds=(start, plan.end),
            frame_ids=evidence.frame_ids,
            pictures=pictures,
            evidence=evidence,
            num_canvases=min(plan.num_canvases, found),
            max_timestamps=plan.max_timestamps,
        )
        start = plan.end
        del pictures, evidence  # whoever has the group may let it go


def score_then_partition(video: _Video, sampled: np.ndarray, workers: Workers, clock: Clock) -> Iterator[ScoredGroup]:
    """
    The released tool's order: groups are cut by the scores of all sampled frames. Where those do not fit in memory,
    they are decoded again, a group at a time.
    """
    config = video.config
    with clock("score"):
        bits = video.read_bits(sampled)

    hold = len(sampled) <= video.held_frames
    scorer = video.scorer(workers, bits, hold)
    for frame in clock.iterate("decode", video.decode(sampled)):
        with clock("score"):
            scorer.push(frame)
    if not scorer.frame_ids:
        return
    held = scorer.pictures
    with clock("score"):
        evidence = scorer.finish()
        bounds = partition_readiness(evidence.score, config).tolist()
    frame_ids = evidence.frame_ids
    again = clock.iterate("decode", iter(held) if hold else video.decode_pictures(frame_ids))
    del held  # of each group, as long as it is worked on
    # The tool gives nothing for clips this short.
    for start, end in bounds or [(0, len(frame_ids))]:
        pictures = list(itertools.islice(again, end - start))
        yield ScoredGroup(
            bounds=(int(frame_ids[start]), int(frame_ids[end - 1]) + 1),
            frame_ids=frame_ids[start:end],
            pictures=pictures,
            evidence=evidence[start:end],
            num_canvases=min(config.images_per_group, end - start),
            max_timestamps=end - start,
        )


def select(
    group: ScoredGroup, table: PacketTable, config: CodecStreamConfig, timestamp_tokens: Callable[[float], int]
) -> np.ndarray:
    """
    The blocks of a group in canvas order: its anchor frame whole, then the selected blocks of the others.

    The anchor is the first frame that is neither near black nor lost to damage. Such frames give blocks only where the
    others do not fill the canvases.

    Args:
        group (`ScoredGroup`): the group.
        table (`PacketTable`): the packets of the video.
        config (`CodecStreamConfig`): its `selection`, `crowding_penalty` and `merge`.
        timestamp_tokens (`Callable[[float], int]`): language model tokens of the timestamp for a time in seconds.

    Returns:
        int64 `np.ndarray` of shape `(num_canvases * block_rows * block_columns, 3)`: (index into the group's frames,
        block row, block column).
    """
    scores = group.evidence.score
    grid = scores.shape[1:]
    budget = (group.num_canvases - 1) * grid[0] * grid[1]
    bad = bad_frames(group.pictures)
    anchor = int(np.argmin(bad))
    limits = {"anchor": anchor, "bad": bad, "max_frames": group.max_timestamps - 1}
    selected = np.zeros((0, 3), dtype=np.int64)
    if budget and config.selection == "evidence":
        selected = select_evidence(scores, budget, crowding_penalty=config.crowding_penalty, **limits)
    elif budget:
        selected = select_state(
            block_features(group.pictures, grid, config.merge),
            budget,
            weights=_error_weights(group, table),
            events=group.evidence.surprise > 0,
            text_tokens=max(map(timestamp_tokens, table.seconds[group.frame_ids].tolist())),
            **limits,
        )
    if missing := budget - len(selected):
        limits |= {"bad": ~bad, "max_frames": group.max_timestamps - 1 - len(np.unique(selected[:, 0]))}
        rest = select_evidence(scores, missing, crowding_penalty=0.0, **limits)
        selected = np.concatenate([selected, rest])
    return order_blocks(anchor, selected, grid)


def _error_weights(group: ScoredGroup, table: PacketTable) -> np.ndarray:
    """How much it matters what a block shows: for as long as its frame stands, and more where something stands out."""
    end = group.bounds[1]
    until = table.seconds[end] if end < table.num_frames else table.seconds[-1] + 1 / table.fps
    frames = np.diff(table.seconds[group.frame_ids], append=until) * table.fps
    return frames[:, None, None] * error_weights(group.evidence.surprise)


def pack(group: ScoredGroup, table: PacketTable, blocks: np.ndarray, config: CodecStreamConfig) -> CodecStream:
    """
    Lay the blocks of a group out on canvases; `blocks` are those of `select`. The group loses its pictures by it, one
    after the other.
    """
    canvases, positions = pack_blocks(group.pictures, group.frame_ids, blocks, config)
    return CodecStream(
        canvases=canvases,
        patch_positions=positions,
        groups=np.array([group.bounds], dtype=np.int64),
        canvases_per_group=np.array([len(canvases)], dtype=np.int64),
        frame_ids=group.frame_ids,
        timestamps=table.seconds[group.frame_ids],
        fps=table.fps,
        signal_source=group.evidence.signal_source.tolist(),
        patch=config.patch,
        merge=config.merge,
    )
