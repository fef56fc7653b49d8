# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Camera motion and brightness: what they explain of the difference between two frames, and what is left."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from .features import FrameFeatures
from .pooling import mean_colour, medians, pool


# Frames that differ by less than this on average, in grey levels, are not searched for camera motion.
STILL = 0.5


def unexplained(
    pairs: Sequence[tuple[FrameFeatures, FrameFeatures]],
    blocks_hw: tuple[int, int],
    want_luma: np.ndarray | None = None,
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """
    What neither camera motion nor a change of brightness explains of the difference between two frames.

    Args:
        pairs (`Sequence[tuple[FrameFeatures, FrameFeatures]]`): a frame and an earlier one.
        blocks_hw (`tuple[int, int]`): blocks per column and row.
        want_luma (`np.ndarray` of shape `(num_pairs,)`, bool, *optional*): pairs to return the luma for.

    Returns:
        `(difference, luma)`: the difference of pooled cells per block, colour included, float32 grey levels of shape
        `(num_pairs, block_rows, block_columns)`; and, by pair, the earlier `luma` with motion and brightness
        compensated.
    """
    now_pooled, pooled = (np.stack([pair[at].pooled for pair in pairs]) for at in (0, 1))
    now_cells, cells = (np.stack([pair[at].cells for pair in pairs]) for at in (0, 1))
    shifts, lumas = _camera_shifts(pairs), {}
    height, width = pairs[0][0].luma.shape
    for pair in np.flatnonzero(shifts.any(axis=1)).tolist():
        dx, dy = shifts[pair].tolist()
        lumas[pair] = shifted(pairs[pair][1].luma, dx, dy)
        pooled[pair] = pool(lumas[pair], *pooled.shape[1:])
        cells[pair] = shifted(cells[pair], dx * cells.shape[3] / width, dy * cells.shape[2] / height)
    gain, offset = _brightness(now_pooled, pooled)
    difference = pool(np.abs(now_pooled - gain * pooled - offset), *blocks_hw)
    colour = now_cells - gain[:, None] * cells
    colour -= mean_colour(colour)[:, None]
    difference += pool(mean_colour(np.abs(colour)), *blocks_hw)
    if want_luma is None:
        return difference, {}
    return difference, {
        pair: gain[pair] * lumas.get(pair, pairs[pair][1].luma) + offset[pair]
        for pair in np.flatnonzero(want_luma).tolist()
    }


def shifted(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """`image`, whose last two axes are y and x, sampled at (x + dx, y + dy), bilinear, edges repeated."""
    height, width = image.shape[-2:]
    left, top = int(np.floor(dx)), int(np.floor(dy))
    fx, fy = np.float32(dx - left), np.float32(dy - top)
    out = image[..., np.clip(np.arange(height + 1) + top, 0, height - 1), :]
    out = out[..., :-1, :] + fy * (out[..., 1:, :] - out[..., :-1, :])
    out = out[..., np.clip(np.arange(width + 1) + left, 0, width - 1)]
    return out[..., :-1] + fx * (out[..., 1:] - out[..., :-1])


@functools.lru_cache(maxsize=4)
def _window(rows: int, cols: int) -> np.ndarray:
    return np.outer(np.hanning(rows + 2)[1:-1], np.hanning(cols + 2)[1:-1]).astype(np.float32)


def _spectra(frames: list[FrameFeatures]) -> np.ndarray:
    """Spectra of `small` of some frames, each computed once."""
    missing = list({id(frame): frame for frame in frames if frame.spectrum is None}.values())
    if missing:
        small = np.stack([frame.small for frame in missing])
        small = (small - small.mean(axis=(1, 2), keepdims=True)) * _window(*small.shape[1:])
        for frame, spectrum in zip(missing, np.fft.rfft2(small)):
            frame.spectrum = spectrum
    return np.stack([frame.spectrum for frame in frames])


def _camera_shifts(pairs: Sequence[tuple[FrameFeatures, FrameFeatures]]) -> np.ndarray:
    """
    Global translations in pixels of `luma`, by phase correlation; (0, 0) where none explains the difference.

    The later frame at (x, y) shows what the earlier one showed at (x + dx, y + dy).

    Returns:
        float64 `np.ndarray` of shape `(num_pairs, 2)`: dx, dy.
    """
    shifts = np.zeros((len(pairs), 2))
    still = np.array([np.abs(now.small - before.small).mean() for now, before in pairs])
    moving = np.flatnonzero(still >= STILL)
    if not len(moving):
        return shifts
    now, before = zip(*[pairs[pair] for pair in moving.tolist()])
    cross = _spectra(before) * np.conj(_spectra(now))
    cross /= np.sqrt(cross.real**2 + cross.imag**2) + np.float32(1e-9)  # much faster than `np.abs`
    height, width = now[0].small.shape
    peaks = np.fft.irfft2(cross, (height, width))
    y, x = np.divmod(peaks.reshape(len(moving), -1).argmax(axis=1), width)
    index = np.arange(len(moving))
    at = peaks[index, y, x]

    def vertex(before, after):
        curvature = before - 2 * at + after
        return np.where(curvature < 0, (0.5 * (before - after) / np.minimum(curvature, -1e-12)).clip(-0.5, 0.5), 0.0)

    dy = y + vertex(peaks[index, y - 1, x], peaks[index, (y + 1) % height, x])
    dx = x + vertex(peaks[index, y, x - 1], peaks[index, y, (x + 1) % width])
    dy, dx = np.where(y > height // 2, dy - height, dy), np.where(x > width // 2, dx - width, dx)
    for pair, shift in zip(moving.tolist(), np.stack([dx, dy], axis=1)):
        if np.abs(shift).max() >= 0.05:
            moved = np.abs(pairs[pair][0].small - shifted(pairs[pair][1].small, *shift.tolist())).mean()
            if moved < 0.9 * still[pair]:
                shifts[pair] = 2 * shift
    return shifts


def _brightness(current: np.ndarray, earlier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    `current ≈ gain · earlier + offset` by least squares without outliers; (1, 0) where that explains nothing.

    Args:
        current (`np.ndarray` of shape `(num_pairs, rows, cols)`, float32), earlier (likewise).

    Returns:
        Two float32 `np.ndarray` of shape `(num_pairs, 1, 1)`: gains and offsets.
    """
    x, y = earlier.reshape(len(earlier), -1), current.reshape(len(current), -1)
    keep = np.ones_like(x)
    for _ in range(2):
        total = keep.sum(axis=1)
        kept = keep * x
        mean_x, mean_y = kept.sum(axis=1) / total, (keep * y).sum(axis=1) / total
        covariance = (kept * y).sum(axis=1) / total - mean_x * mean_y
        gain = covariance / ((kept * x).sum(axis=1) / total - mean_x * mean_x + 1)
        offset = mean_y - gain * mean_x
        error = np.abs(y - gain[:, None] * x - offset[:, None])
        keep = (error <= 3 * medians(error)[:, None] + np.float32(0.5)).astype(np.float32)
    explains = error.sum(axis=1) < 0.9 * np.abs(y - x).sum(axis=1)
    gain, offset = np.where(explains, gain, 1), np.where(explains, offset, 0)
    return gain.astype(np.float32)[:, None, None], offset.astype(np.float32)[:, None, None]
