# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Ways to spend a token budget on a clip, which is the same for all of them.

A budget of N canvases is the tokens of N canvases and of four timestamps for each, the rule by which the codec-stream
tokenizer plans under `max_tokens`. Frames that are sampled evenly get as many whole frames as that holds.
"""

from collections.abc import Callable

import numpy as np

from transformers_ov2.codec import CodecStream, CodecStreamConfig, tokenize_video
from transformers_ov2.codec.reading.decoding import decode_frames
from transformers_ov2.codec.reading.packets import read_packets
from transformers_ov2.codec.reading.source import open_source
from transformers_ov2.codec.tokenizer import pack
from transformers_ov2.evaluation.policies import ranked_groups

from .scenes import HEIGHT, WIDTH


BUDGETS = (2, 4, 8, 16)
CANVAS_TOKENS = (HEIGHT // 28) * (WIDTH // 28)
# `\n<12.34 seconds>` and the two vision markers in the micro checkpoint's tokenizer, which has a token for a digit.
TIMESTAMP_TOKENS = 9
# Selections of the codec-stream tokenizer, and two that it is compared with.
POLICIES = ("evidence", "state", "difference", "random")


def timestamp_tokens(seconds: float) -> int:
    return TIMESTAMP_TOKENS - 1 + len(str(int(round(seconds, 2)))) - 1


def budget_tokens(canvases: int) -> int:
    """Language model tokens of a budget of so many canvases."""
    return canvases * (CANVAS_TOKENS + 4 * TIMESTAMP_TOKENS)


def budget_frames(canvases: int) -> int:
    """Whole frames, each with its timestamp, that a budget holds."""
    return budget_tokens(canvases) // (CANVAS_TOKENS + TIMESTAMP_TOKENS)


def make_stream(
    data: bytes,
    policy: str,
    canvases: int,
    *,
    seed: int = 0,
    tokens: Callable[[float], int] = timestamp_tokens,
    **options,
) -> CodecStream:
    """
    The tokens that a policy chooses: `"evidence"` and `"state"` of the codec-stream tokenizer; `"difference"`, the
    blocks that differ most from the frame before, and `"random"` blocks, both in the tokenizer's groups and frames.

    Args:
        data (`bytes`): the encoded clip.
        policy (`str`): one of `POLICIES`.
        canvases (`int`): the budget.
        seed (`int`): of the random blocks.
        tokens (`Callable[[float], int]`): language model tokens of the timestamp for a time in seconds.
        options: other fields of `CodecStreamConfig`.

    Returns:
        [`CodecStream`] of at most `budget_tokens(canvases)` tokens.
    """
    config = CodecStreamConfig(target_canvas=canvases, max_tokens=budget_tokens(canvases), num_threads=1, **options)
    if policy in ("evidence", "state"):
        return tokenize_video(data, config.replace(selection=policy), timestamp_tokens=tokens)
    source = open_source(data)
    table = read_packets(source)
    groups = ranked_groups(policy, source, table, config, seed=seed, timestamp_tokens=tokens)
    return CodecStream.concatenate([pack(group, table, blocks, config) for group, blocks in groups])


def uniform_frames(data: bytes, canvases: int) -> tuple[np.ndarray, dict]:
    """
    Whole frames at equal distances, and their `video_metadata`: what `video_backend="frames"` with `num_frames` makes
    of the clip.
    """
    source = open_source(data)
    table = read_packets(source)
    indices = np.linspace(0, table.num_frames - 1, budget_frames(canvases)).round().astype(np.int64)
    indices = np.unique(indices)
    frames = np.stack([frame.image for frame in decode_frames(source, table, indices)])
    metadata = {"total_num_frames": table.num_frames, "fps": table.fps, "frames_indices": indices.tolist()}
    return frames, metadata
