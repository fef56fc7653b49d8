# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Means over cells and blocks of pictures and maps."""

import functools
import math

import numpy as np


def pool(array: np.ndarray, rows: int, cols: int, scale: float = 1.0) -> np.ndarray:
    """Means of `rows × cols` cells over the last two axes, times `scale`, float32; `array` is float32 or uint8."""
    *batch, height, width = array.shape
    high, wide = height // rows, width // cols
    # Adding slices beats a reduction along a short axis, in the narrowest type that holds the sum.
    strips = array.reshape(*batch, rows, high, width)
    sums = strips[..., 0, :]
    if array.dtype == np.uint8:
        sums = sums.astype(np.uint16 if high * wide <= 257 else np.uint32)
    elif high > 1 or wide > 1:
        sums = sums.copy()
    for row in range(1, high):
        sums += strips[..., row, :]
    strips = sums.reshape(*batch, rows, cols, wide)
    sums = strips[..., 0].copy()
    for col in range(1, wide):
        sums += strips[..., col]
    return sums * np.float32(scale / (high * wide))


def halves_and_quarters(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    A plane of bytes reduced to half and to a quarter of its size, by sums of 4 and of 16 pixels.

    Args:
        plane (`np.ndarray` of shape `(height, width)`, uint8): both sides are multiples of 4.

    Returns:
        uint16 of shape `(height / 2, width / 2)`, int32 of shape `(height / 4, width / 4)`.
    """
    # Two sums of 16 bits in each word of 32: four times as fast as adding pixels.
    words = np.ascontiguousarray(plane).view("<u4")
    pairs = words >> np.uint32(8)
    pairs &= np.uint32(0x00FF00FF)
    pairs += words & np.uint32(0x00FF00FF)
    halves = pairs[::2] + pairs[1::2]
    quarters = halves[::2] + halves[1::2]
    right = quarters >> np.uint32(16)
    quarters &= np.uint32(0xFFFF)
    quarters += right
    return halves.view("<u2"), quarters.view("<i4")


def block_sums(values: np.ndarray, blocks_hw: tuple[int, int]) -> np.ndarray:
    """Sums over blocks of the last two axes, also where these cut through cells."""
    rows, cols = (_overlap(cells, blocks) for cells, blocks in zip(values.shape[-2:], blocks_hw))
    return rows @ values @ cols.T


def block_means(values: np.ndarray, blocks_hw: tuple[int, int]) -> np.ndarray:
    """Means over blocks, likewise."""
    return block_sums(values, blocks_hw) * np.float32(math.prod(blocks_hw) / math.prod(values.shape[-2:]))


@functools.lru_cache(maxsize=64)
def _overlap(cells: int, blocks: int) -> np.ndarray:
    """Share of each of `cells` equal intervals that falls into each of `blocks`, float32 `[blocks, cells]`."""
    edges = np.arange(cells + 1) * (blocks / cells)
    low, high = edges[:-1], edges[1:]
    block = np.arange(blocks)[:, None]
    shared = np.minimum(high, block + 1) - np.maximum(low, block)
    return (np.maximum(shared, 0) * (cells / blocks)).astype(np.float32)


def medians(values: np.ndarray) -> np.ndarray:
    """The upper median of each item of the first axis: `np.median` spends most of its time on other things for arrays
    this small."""
    values = values.reshape(len(values), -1)
    return np.partition(values, values.shape[1] // 2, axis=1)[:, values.shape[1] // 2]


def mean_colour(colours: np.ndarray) -> np.ndarray:
    """Mean of the three channels, axis 0."""
    total = colours[0] + colours[1]
    total += colours[2]
    total *= np.float32(1 / 3)
    return total


def colour_distance(colours: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean difference of the three channels, axis 0 of two pictures."""
    difference = colours - others
    np.abs(difference, out=difference)
    total = difference[0]
    total += difference[1]
    total += difference[2]
    total *= np.float32(1 / 3)
    return total
