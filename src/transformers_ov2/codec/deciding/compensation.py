# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Camera motion and brightness: what an earlier frame would look like now if nothing else had changed."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from .features import FrameFeatures
from .pooling import mean_colour, medians


# Frames that differ by less than this on average, in grey levels, are neither searched for camera motion nor for
# changes of brightness by rows.
STILL = 0.5


def compensate(pairs: Sequence[tuple[FrameFeatures, FrameFeatures]]) -> tuple[np.ndarray, np.ndarray]:
    """
    Frames, and what earlier ones predict of them by camera motion and brightness.

    Args:
        pairs (`Sequence[tuple[FrameFeatures, FrameFeatures]]`): a frame and an earlier one.

    Returns:
        `(colours, predicted)`, float32 of shape `(num_pairs, 3, rows, columns)`: those of the frames, and those of the
        earlier frames compensated.
    """
    colours, predicted = (np.stack([pair[at].colours for pair in pairs]) for at in (0, 1))
    for pair, shift in enumerate(_camera_shifts(pairs).tolist()):
        if any(shift):
            predicted[pair] = shifted(predicted[pair], *shift)
    now = np.stack([frame.grey for frame, _ in pairs])
    gain, offset = _brightness(now, mean_colour(predicted))
    predicted *= gain[:, None]
    predicted += offset[:, None]
    _match_rows(now, predicted)
    return colours, predicted


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


def _spectra(frames: Sequence[FrameFeatures]) -> np.ndarray:
    """Spectra of `grey` of some frames, each computed once."""
    missing = list({id(frame): frame for frame in frames if frame.spectrum is None}.values())
    if missing:
        grey = np.stack([frame.grey for frame in missing])
        grey = (grey - grey.mean(axis=(1, 2), keepdims=True)) * _window(*grey.shape[1:])
        for frame, spectrum in zip(missing, np.fft.rfft2(grey)):
            frame.spectrum = spectrum
    return np.stack([frame.spectrum for frame in frames])


def _camera_shifts(pairs: Sequence[tuple[FrameFeatures, FrameFeatures]]) -> np.ndarray:
    """
    Global translations in pixels of `grey`, by phase correlation; (0, 0) where none explains the difference.

    The later frame at (x, y) shows what the earlier one showed at (x + dx, y + dy).

    Returns:
        float64 `np.ndarray` of shape `(num_pairs, 2)`: dx, dy.
    """
    shifts = np.zeros((len(pairs), 2))
    still = np.array([np.abs(now.grey - before.grey).mean() for now, before in pairs])
    moving = np.flatnonzero(still >= STILL)
    if not len(moving):
        return shifts
    now, before = zip(*[pairs[pair] for pair in moving.tolist()])
    cross = _spectra(before) * np.conj(_spectra(now))
    cross /= np.sqrt(cross.real**2 + cross.imag**2) + np.float32(1e-9)  # much faster than `np.abs`
    height, width = now[0].grey.shape
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
            moved = np.abs(pairs[pair][0].grey - shifted(pairs[pair][1].grey, *shift.tolist())).mean()
            if moved < 0.9 * still[pair]:
                shifts[pair] = shift
    return shifts


def _brightness(current: np.ndarray, earlier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    `current ≈ gain · earlier + offset` by least squares without outliers; (1, 0) where that explains nothing.

    Args:
        current (`np.ndarray` of shape `(num_pairs, rows, columns)`, float32), earlier (likewise).

    Returns:
        Two float32 `np.ndarray` of shape `(num_pairs, 1, 1)`: gains and offsets.
    """
    x, y = (image[:, 1::3, 1::3].reshape(len(image), -1) for image in (earlier, current))
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


def _match_rows(now: np.ndarray, predicted: np.ndarray) -> None:
    """
    Brightens or darkens the rows of `predicted`, in place, where that explains what is left of the difference: lamps
    flicker while a sensor is read row by row.

    Args:
        now (`np.ndarray` of shape `(num_pairs, rows, columns)`, float32): grey values.
        predicted (`np.ndarray` of shape `(num_pairs, 3, rows, columns)`, float32): colours.
    """
    now, grey = now[:, :, ::2], mean_colour(predicted[..., ::2])
    difference = now - grey
    error = np.abs(difference).mean(axis=(1, 2))
    unlike = np.flatnonzero(error >= STILL)
    if not len(unlike):
        return
    rows, middle = (np.partition(values[unlike], grey.shape[2] // 2, axis=2) for values in (difference, grey))
    rows, middle = rows[:, :, grey.shape[2] // 2], middle[:, :, grey.shape[2] // 2]
    gain = 1 + rows / np.maximum(middle, np.float32(8))
    left = np.abs(now[unlike] - gain[:, :, None] * grey[unlike]).mean(axis=(1, 2))
    explains = left < 0.9 * error[unlike]
    predicted[unlike[explains]] *= gain[explains][:, None, :, None]
