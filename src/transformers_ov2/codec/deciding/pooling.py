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


def mean_colour(cells: np.ndarray) -> np.ndarray:
    """Mean of the three channels on axis 1."""
    return (cells[:, 0] + cells[:, 1] + cells[:, 2]) * np.float32(1 / 3)
