# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""How many canvases and timestamps each group gets, from the packet table alone, so that a token limit holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..config import CodecStreamConfig
from ..reading.packets import PacketTable
from .grouping import choose_frames, count_groups, partition_fixed, partition_packet_energy


# `frame_budget` where none is given, for a minute and less. In longer videos it grows with the root of their duration,
# since at two minutes 512 frames step over one in eight events, up to twice as many, since they are held in memory.
FRAME_BUDGET, FRAME_BUDGET_SECONDS = 512, 60.0
# Frames that long videos have scored for each frame that may give blocks, at least.
FRAMES_TO_CHOOSE_FROM = 2
# Memory for the frames of a group, in bytes.
HELD_BYTES = 150 * 2**20


@dataclass
class GroupPlan:
    """
    What becomes of one group.

    Attributes:
        start (`int`), end (`int`): half-open bounds in source frames.
        frames (`np.ndarray` of shape `(num_frames,)`, int64): the source frames to decode and score, ascending.
        num_canvases (`int`): canvases to fill.
        max_timestamps (`int`): at most this many distinct frames may give blocks, the anchor included.
    """

    start: int
    end: int
    frames: np.ndarray
    num_canvases: int
    max_timestamps: int


def timestamp_text_tokens(seconds: float) -> int:
    """
    Upper bound on the tokens of one timestamp block, `<12.34 seconds><|vision_start|>…<|vision_end|>` and a newline
    without its placeholders, for the Qwen tokenizers, which split numbers into digits, and up to two decimals.
    """
    # "<", ".", " seconds", ">", vision start and end, newline, two decimals, and the digits before the point.
    return 9 + len(str(int(seconds)))


def plan_groups(
    table: PacketTable,
    tokens_per_canvas: int,
    config: CodecStreamConfig,
    timestamp_tokens: Callable[[float], int] = timestamp_text_tokens,
) -> list[GroupPlan]:
    """
    Cut a video into groups and share out canvases, source frames and timestamps.

    Under `max_tokens` there are as many canvases as fit while at least half of their `source_frames_per_canvas` can
    still have a timestamp. All groups have `images_per_group` canvases but the last, which may have fewer.

    Args:
        table (`PacketTable`): the packets of the video.
        tokens_per_canvas (`int`): visual tokens of a canvas.
        config (`CodecStreamConfig`): `grouping` is `"packet_energy"` or `"fixed"`.
        timestamp_tokens (`Callable[[float], int]`): language model tokens of the timestamp for a time in seconds.

    Raises:
        ValueError: `max_tokens` does not hold one canvas and its timestamp.
    """
    num_canvases = min(config.num_canvases(table.duration), table.num_frames)
    if config.max_tokens is None:
        return _plan(table, num_canvases, tokens_per_canvas, config)
    timestamps_per_canvas = math.ceil(config.source_frames_per_canvas / 2)
    sure = min(timestamps_per_canvas, table.num_frames // num_canvases)
    most = config.max_tokens // (tokens_per_canvas + sure * timestamp_tokens(0.0))
    for count in range(min(num_canvases, max(most, 1)), 0, -1):
        plans = _plan(table, count, tokens_per_canvas, config)
        text_per_canvas = (config.max_tokens - count * tokens_per_canvas) / count
        for plan in plans:
            cost = max(timestamp_tokens(seconds) for seconds in table.seconds[plan.frames].tolist())
            plan.max_timestamps = min(plan.max_timestamps, int(text_per_canvas * plan.num_canvases / cost))
        if all(plan.max_timestamps >= _timestamps_wanted(plan, timestamps_per_canvas) for plan in plans):
            return plans
    least = tokens_per_canvas + timestamp_tokens(float(table.seconds[-1]))
    raise ValueError(
        f"`max_tokens` ({config.max_tokens}) does not hold one canvas of this video, which takes {least} tokens with "
        "its timestamp. Lower `max_pixels` or raise `max_tokens`."
    )


def _timestamps_wanted(plan: GroupPlan, per_canvas: int) -> int:
    if plan.num_canvases == 1:  # an I-canvas alone
        return 1
    return min(len(plan.frames), per_canvas * plan.num_canvases)


def _plan(table: PacketTable, num_canvases: int, tokens_per_canvas: int, config: CodecStreamConfig) -> list[GroupPlan]:
    partition = {"packet_energy": partition_packet_energy, "fixed": partition_fixed}[config.grouping]
    per_group = config.images_per_group
    num_groups = count_groups(table.num_frames, math.ceil(num_canvases / per_group), config)
    last = min(per_group, num_canvases - per_group * (num_groups - 1))
    bounds = partition(table, num_groups, config, last_share=last / per_group)
    references = np.concatenate([[0], np.cumsum(table.is_reference)])
    held = held_frames(tokens_per_canvas, config)
    growth = min(max(1.0, table.duration / FRAME_BUDGET_SECONDS) ** 0.5, 2.0)
    budget = config.frame_budget or round(FRAME_BUDGET * growth)
    plans = []
    for (start, end), canvases in zip(bounds.tolist(), [per_group] * (num_groups - 1) + [last]):
        limit = config.source_frames_per_canvas * canvases
        # An equal density all over the video, and in short groups as many as it takes to choose from.
        share = budget * (references[end] - references[start]) // max(1, references[-1])
        frames = choose_frames(
            table, (start, end), limit, min(max(int(share), FRAMES_TO_CHOOSE_FROM * limit), held), config
        )
        plans.append(GroupPlan(start, end, frames, canvases, min(limit, len(frames))))
    return plans


def held_frames(tokens_per_canvas: int, config: CodecStreamConfig) -> int:
    """How many frames of a group fit in memory: three bytes a pixel for the picture, and what it is compared by."""
    pixels = tokens_per_canvas * config.factor**2
    return max(config.images_per_group, HELD_BYTES // (4 * pixels))
