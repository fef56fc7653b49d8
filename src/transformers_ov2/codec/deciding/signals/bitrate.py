# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Bitrate prior: the bits that a codec spent on each block of a frame, estimated.

No decoder of PyAV tells them. The bits of a packet are known; they are spread over the blocks by the differences of
vectors, which are coded as such, by the residual energy, and by steps of the quantiser, which only macroblocks with a
coded residual can make. `exact_bits` has the true ones, from an optional package.
"""

from __future__ import annotations

import numpy as np

from ...reading.decoding import DecodedFrame
from ..pooling import block_means, block_sums
from .motion import MotionFields


# The least share of a packet that is taken for residual rather than vectors.
MIN_RESIDUAL_SHARE = 0.1
# What a macroblock without a step of the quantiser counts, next to 1 for one with it: it may be coded as well.
UNCHANGED_QUANTISER = 0.05


def vector_bits(fields: MotionFields, blocks_hw: tuple[int, int]) -> np.ndarray:
    """
    Rough cost of the vectors of some frames: a bit for each edge between different ones, and the length of the
    difference.

    Returns:
        float32 `np.ndarray` of shape `(num_frames, block_rows, block_columns)`: bits.
    """
    quarter_pels = fields.velocity * (4 * fields.past_span)
    bits = np.zeros(quarter_pels.shape, dtype=np.float32)
    edge = np.float32(fields.cell / 4)  # in units of the codec's 4-pixel blocks
    for axis, inner in ((2, np.s_[:, :, 1:]), (1, np.s_[:, 1:])):
        step = np.abs(np.diff(quarter_pels, axis=axis))
        bits[inner] += edge * ((step > 0.5) + np.float32(0.25) * np.log2(1 + step))
    return block_sums(bits, blocks_hw)


def spread_bits(
    frames: list[DecodedFrame], packet_bits: np.ndarray, vectors: np.ndarray, residual: np.ndarray
) -> np.ndarray:
    """
    The bits of the packets of predicted frames, spread over their blocks.

    Args:
        frames (`list[DecodedFrame]`): the frames.
        packet_bits (`np.ndarray` of shape `(num_frames,)`): sizes of their packets.
        vectors (`np.ndarray` of shape `(num_frames, block_rows, block_columns)`): of `vector_bits`, 0 where unknown.
        residual (`np.ndarray` of the same shape): residual energy.

    Returns:
        float32 `np.ndarray` of the same shape: bits.
    """
    residual = residual.copy()
    stepped = [at for at, frame in enumerate(frames) if frame.quantiser_steps is not None]
    if stepped:
        steps = np.stack([frames[at].quantiser_steps for at in stepped]).astype(np.float32)
        residual[stepped] *= np.sqrt(np.float32(UNCHANGED_QUANTISER) + block_means(steps, residual.shape[1:]))
    rest = np.maximum(packet_bits - vectors.sum(axis=(1, 2)), MIN_RESIDUAL_SHARE * packet_bits)
    rest /= np.maximum(residual.sum(axis=(1, 2)), 1e-6)
    return vectors + residual * rest.astype(np.float32)[:, None, None]


def fill_key_frames(bits: np.ndarray, change: np.ndarray, is_key: np.ndarray) -> None:
    """
    Sets the bits of key frames, in place, to what the other frames spend on such a change: the bytes of a key frame
    say where the encoder put it, not that something happens.

    Args:
        bits (`np.ndarray` of shape `(num_frames, block_rows, block_columns)`, float32): of all frames of a group.
        change (`np.ndarray` of the same shape): their change.
        is_key (`np.ndarray` of shape `(num_frames,)`, bool): which of them are key frames.
    """
    bits[is_key] = change[is_key] * (bits.sum() / max(change[~is_key].sum(), np.float32(1e-6)))
