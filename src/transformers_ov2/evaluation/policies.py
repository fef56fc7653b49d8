# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Ways to choose what a video shows within a number of tokens: those of the tokenizer, and simpler ones to beat.

The simple rankings take part in everything but the score: they choose among the same frames in the same groups, with
one whole frame for each group, as the tokenizer's policies do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..codec import CodecStreamConfig, tokenize_video
from ..codec.deciding.budget import plan_groups, timestamp_text_tokens
from ..codec.deciding.features import block_features
from ..codec.deciding.fusion import Evidence
from ..codec.deciding.pooling import pool
from ..codec.deciding.selection import select_evidence
from ..codec.packing.canvas import canvas_size, order_blocks
from ..codec.reading.decoding import DecodedFrame, decode_frames
from ..codec.reading.packets import PacketTable, read_packets
from ..codec.reading.source import VideoSource, open_source
from ..codec.tokenizer import ScoredGroup


# What each policy prefers.
POLICIES = {
    "uniform": "whole frames at equal distances",
    "random": "random blocks",
    "difference": "blocks that differ most from the frame before (as Efficient Video Sampling does)",
    "vectors": "blocks of the longest motion vectors (a threshold on them, as CodecSight does)",
    "gradient": "blocks of the strongest Sobel gradient",
    "evidence": 'the tokenizer\'s `selection="evidence"`',
    "state": 'the tokenizer\'s `selection="state"`',
}


@dataclass
class Kept:
    """What a policy keeps of a clip.

    Attributes:
        positions (`np.ndarray` of shape `(num_patches, 3)`, int64): (source frame, patch row, patch column).
        num_canvases (`int`): canvases, or whole frames, that hold them.
        runs (`np.ndarray` of shape `(num_timestamps,)`, int64): the source frame of every timestamp.
    """

    positions: np.ndarray
    num_canvases: int
    runs: np.ndarray


class Clip:
    """An opened video file and the geometry of its canvases at default options."""

    def __init__(self, path: str | Path):
        self.path, self.name = str(path), Path(path).stem
        self.source = open_source(self.path)
        self.table = read_packets(self.source)
        config = CodecStreamConfig()
        self.size = canvas_size(self.source.height, self.source.width, config)
        self.grid = (self.size[0] // config.patch, self.size[1] // config.patch)
        self.blocks = (self.size[0] // config.factor, self.size[1] // config.factor)
        self.tokens_per_canvas = self.blocks[0] * self.blocks[1]

    def tokens(self, kept: Kept) -> int:
        """Language model tokens of what was kept, those of the timestamps included."""
        seconds = self.table.seconds[kept.runs]
        return kept.num_canvases * self.tokens_per_canvas + sum(map(timestamp_text_tokens, seconds.tolist()))

    def limit(self, num_canvases: int) -> int:
        """Most language model tokens of that many canvases, with eight timestamps for each."""
        text = timestamp_text_tokens(float(self.table.seconds[-1]))
        return num_canvases * (self.tokens_per_canvas + CodecStreamConfig().source_frames_per_canvas * text)

    def frames(self) -> Iterator[np.ndarray]:
        """Every frame at canvas size, uint8 `[height, width, 3]`."""
        for frame in decode_frames(self.source, self.table, np.arange(self.table.num_frames), size=self.size):
            yield frame.image


def keep(policy: str, clip: Clip, num_canvases: int, max_tokens: int, **options: Any) -> Kept | None:
    """What a policy keeps of a clip.

    Args:
        policy (`str`): one of `POLICIES`.
        clip (`Clip`): the video.
        num_canvases (`int`): at most this many canvases (whole frames, which cost fewer timestamps, may be more).
        max_tokens (`int`): limit on the language model tokens, timestamps included.
        options: more options of the tokenizer, for its own policies.

    Returns:
        [`Kept`], or `None` where the policy has nothing to go by: `"vectors"` of a codec that gives none.

    Raises:
        `ValueError`: unknown policy, or options for one that takes none.
    """
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy!r}: use one of {', '.join(POLICIES)}")
    if policy in ("evidence", "state"):
        stream = tokenize_video(
            clip.source, selection=policy, target_canvas=num_canvases, max_tokens=max_tokens, **options
        )
        return Kept(stream.block_positions(), stream.grid_thw[0], stream.runs()[:, 0])
    if options:
        raise ValueError(f"{policy!r} has no options, got {', '.join(options)}")
    if policy == "uniform":
        count = max_tokens // (clip.tokens_per_canvas + timestamp_text_tokens(float(clip.table.seconds[-1])))
        frames = np.unique(np.linspace(0, clip.table.num_frames - 1, count).round().astype(np.int64))
        return Kept(patches(whole(frames, clip.blocks)), len(frames), frames)
    return _keep_ranked(policy, clip, num_canvases, max_tokens)


def patches(blocks: np.ndarray) -> np.ndarray:
    """Positions of the patches of blocks, int64 `[num_blocks, 3]` (source frame, block row, block column)."""
    return np.concatenate([blocks * [1, 2, 2] + [0, dy, dx] for dy in (0, 1) for dx in (0, 1)])


def whole(frames: np.ndarray, blocks_hw: tuple[int, int]) -> np.ndarray:
    """All blocks of some frames, likewise."""
    at = np.indices((len(frames), *blocks_hw)).reshape(3, -1).T
    return np.concatenate([np.asarray(frames)[at[:, :1]], at[:, 1:]], axis=1)


def _keep_ranked(policy: str, clip: Clip, num_canvases: int, max_tokens: int) -> Kept | None:
    config = CodecStreamConfig(target_canvas=num_canvases, max_tokens=max_tokens)
    shown, runs, canvases, known = [], [], 0, policy != "vectors"
    for group, blocks in ranked_groups(policy, clip.source, clip.table, config):
        shown.append(np.column_stack([group.frame_ids[blocks[:, 0]], blocks[:, 1:]]))
        runs.append(np.unique(shown[-1][:, 0]))
        canvases += group.num_canvases
        known |= "motion" in group.evidence.signal_source
    return Kept(patches(np.concatenate(shown)), canvases, np.concatenate(runs)) if known else None


def ranked_groups(
    policy: str,
    source: VideoSource,
    table: PacketTable,
    config: CodecStreamConfig,
    *,
    seed: int = 0,
    timestamp_tokens: Callable[[float], int] = timestamp_text_tokens,
) -> Iterator[tuple[ScoredGroup, np.ndarray]]:
    """
    The groups of a video, scored by a simple ranking instead of the tokenizer's evidence.

    Args:
        policy (`str`): `"random"`, `"difference"`, `"vectors"` or `"gradient"`.
        source (`VideoSource`), table (`PacketTable`): a video and its own packet table.
        config (`CodecStreamConfig`): the options that hold for all policies.
        seed (`int`): of the random blocks.
        timestamp_tokens (`Callable[[float], int]`): language model tokens of the timestamp for a time in seconds.

    Yields:
        `(group, blocks)`, which [`~transformers_ov2.codec.tokenizer.pack`] makes a stream of: its score alone is
        known, and `signal_source` is `"motion"` where a frame has vectors to rank by; the blocks are those of
        [`~transformers_ov2.codec.tokenizer.select`].
    """
    size = canvas_size(source.height, source.width, config)
    grid = size[0] // config.factor, size[1] // config.factor
    plans = plan_groups(table, grid[0] * grid[1], config, timestamp_tokens)
    wanted = np.concatenate([plan.frames for plan in plans])
    decoded = decode_frames(
        source, table, wanted, size=size, side_data=policy == "vectors", num_threads=config.num_threads or 1
    )
    rng = np.random.default_rng(seed)
    for plan in plans:
        frames = list(itertools.islice(decoded, len(plan.frames)))
        pictures, signal_source = [frame.picture for frame in frames], np.full(len(frames), "pixels")
        if policy == "difference":
            states = block_features(pictures, grid, config.merge)
            scores = np.abs(np.diff(states, axis=0, prepend=states[:1])).mean(axis=3)
        elif policy == "vectors":
            scores = np.stack([vector_lengths(frame, grid, (source.height, source.width)) for frame in frames])
            signal_source[[frame.motion_vectors is not None for frame in frames]] = "motion"
        elif policy == "gradient":
            scores = np.stack([gradients(frame.image, grid) for frame in frames])
        else:
            scores = rng.random((len(frames), *grid))
            # Only as many frames as may have a timestamp take part, or every frame would need one.
            scores[rng.permutation(len(scores))[plan.max_timestamps - 1 :]] = -1
        unknown = dict.fromkeys(("motion", "residual", "bitrate", "change", "surprise"), np.zeros_like(scores))
        group = ScoredGroup(
            bounds=(plan.start, plan.end),
            frame_ids=plan.frames,
            pictures=pictures,
            evidence=Evidence(
                **unknown,
                score=scores,
                frame_ids=plan.frames,
                seconds=table.seconds[plan.frames],
                signal_source=signal_source,
            ),
            num_canvases=plan.num_canvases,
            max_timestamps=plan.max_timestamps,
        )
        budget = (plan.num_canvases - 1) * grid[0] * grid[1]
        chosen = select_evidence(scores, budget, crowding_penalty=0.0, max_frames=plan.max_timestamps - 1)
        yield group, order_blocks(0, chosen, grid)


def vector_lengths(frame: DecodedFrame, blocks_hw: tuple[int, int], source_hw: tuple[int, int]) -> np.ndarray:
    """Mean length in pixels of motion vectors of every block (0 where it has none), float64 `[rows, columns]`."""
    total, vectors = np.zeros(blocks_hw), frame.motion_vectors
    if vectors is None or not len(vectors):
        return total
    scale = np.maximum(vectors["motion_scale"], 1)
    length = np.hypot(vectors["motion_x"] / scale, vectors["motion_y"] / scale)
    row, column = (
        (vectors[name].astype(np.int64) * count // side).clip(0, count - 1)
        for name, count, side in zip(("dst_y", "dst_x"), blocks_hw, source_hw)
    )
    area = vectors["w"].astype(np.float64) * vectors["h"]
    np.add.at(total, (row, column), length * area)
    return total / (source_hw[0] * source_hw[1] / (blocks_hw[0] * blocks_hw[1]))


def gradients(image: np.ndarray, blocks_hw: tuple[int, int]) -> np.ndarray:
    """Mean strength of the Sobel gradient of every block of a picture, float32 `[rows, columns]`."""
    luma = np.pad(image.astype(np.float32) @ np.float32([0.299, 0.587, 0.114]), 1, mode="edge")
    smooth_y = luma[:-2] + 2 * luma[1:-1] + luma[2:]
    smooth_x = luma[:, :-2] + 2 * luma[:, 1:-1] + luma[:, 2:]
    return pool(np.hypot(smooth_y[:, 2:] - smooth_y[:, :-2], smooth_x[2:] - smooth_x[:-2]), *blocks_hw)
