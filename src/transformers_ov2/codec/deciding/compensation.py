# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Camera motion and brightness: what an earlier frame would look like now if nothing else had changed."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from .features import FrameFeatures
from .pooling import mean_colour, pool


# Frames that differ by less than this on average, in grey levels, are not compensated.
STILL = 0.5
# What counts as an explanation: it leaves less than this share of the difference.
EXPLAINED = 0.9
# Steps of the search for the camera's motion, and the distance in pixels of the points that it looks at.
SEARCH_STEPS = 3
POINT_DISTANCE = 4
# Displacements in pixels below which frames are not resampled, and below which their zoom, rotation and shear at the
# edges are left out.
LEAST_SHIFT, LEAST_WARP = 0.05, 0.2
# Share of the difference that is common to rows of pixels, below which their brightness is not compared.
LEAST_BANDS = 0.25


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
    changed = np.array([np.abs(now.grey - before.grey).mean() for now, before in pairs]) >= STILL
    if not changed.any():
        return colours, predicted
    now, before = (np.stack([pair[at].grey for pair, use in zip(pairs, changed) if use]) for at in (0, 1))
    motion, gain, offset = _camera(now, before)
    for at, pair in enumerate(np.flatnonzero(changed).tolist()):
        predicted[pair] = warped(predicted[pair], motion[at])
    predicted[changed] = predicted[changed] * gain[:, None, None, None] + offset[:, None, None, None]
    predicted[changed] *= _rows_gain(now, mean_colour(predicted[changed]))[:, None, :, None]
    return colours, predicted


def warped(image: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """
    An image as a camera in motion sees it next, bilinear, edges repeated.

    Args:
        image (`np.ndarray` of shape `(channels, rows, columns)`, float32): the image.
        motion (`np.ndarray` of shape `(2, 3)`, float32): what is seen at `point` was at `point + motion @ (1, u, v)`,
            in pixels, where u and v run from the centre of the image to ±1 at the ends of its longer side.
    """
    channels, rows, cols = image.shape
    if np.abs(motion[:, 1:]).sum(axis=1).max() >= LEAST_WARP:
        at, fx, fy = _source(motion[None], *_points(rows, cols, 0, 1), rows, cols)
        return _bilinear(image.reshape(channels, -1), at, fx, fy, cols).reshape(image.shape)
    dx, dy = motion[:, 0].tolist()
    if max(abs(dx), abs(dy)) < LEAST_SHIFT:
        return image
    left, top = int(np.floor(dx)), int(np.floor(dy))
    fx, fy = np.float32(dx - left), np.float32(dy - top)
    out = image[:, np.clip(np.arange(rows + 1) + top, 0, rows - 1)]
    out = out[:, :-1] + fy * (out[:, 1:] - out[:, :-1])
    out = out[..., np.clip(np.arange(cols + 1) + left, 0, cols - 1)]
    return out[..., :-1] + fx * (out[..., 1:] - out[..., :-1])


@functools.lru_cache(maxsize=8)
def _points(rows: int, cols: int, margin: int, distance: int) -> tuple[np.ndarray, ...]:
    """Rows, columns and the u and v of `warped` for every so many pixels, each of shape `(num_points,)`."""
    part = np.s_[margin : rows - margin : distance, margin : cols - margin : distance]
    y, x = np.mgrid[part].reshape(2, -1).astype(np.float32)
    scale = np.float32(2 / max(rows, cols))
    return y, x, (x - np.float32(cols / 2)) * scale, (y - np.float32(rows / 2)) * scale


def _source(
    motion: np.ndarray, y: np.ndarray, x: np.ndarray, u: np.ndarray, v: np.ndarray, rows: int, cols: int
) -> tuple[np.ndarray, ...]:
    """Where points come from: index of the pixel up and left of it and the fractions, `(num_motions, num_points)`."""
    source_x, source_y = (
        at + part[:, :1] + part[:, 1:2] * u + part[:, 2:] * v for at, part in ((x, motion[:, 0]), (y, motion[:, 1]))
    )
    np.clip(source_x, 0, np.float32(max(cols - 1.001, 0)), out=source_x)
    np.clip(source_y, 0, np.float32(max(rows - 1.001, 0)), out=source_y)
    left, top = source_x.astype(np.int32), source_y.astype(np.int32)
    return top * cols + left, source_x - left, source_y - top


def _bilinear(flat: np.ndarray, at: np.ndarray, fx: np.ndarray, fy: np.ndarray, cols: int) -> np.ndarray:
    """Values of images `(num_images, rows * columns)` at points of `_source`, each at its own or all at the same."""
    at = at + (np.arange(len(flat), dtype=np.int32) * flat.shape[1])[:, None]
    upper, lower = flat.take(at, mode="clip"), flat.take(at + cols, mode="clip")
    upper += fx * (flat.take(at + 1, mode="clip") - upper)
    lower += fx * (flat.take(at + (cols + 1), mode="clip") - lower)
    return upper + fy * (lower - upper)


def _camera(now: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Motion of the camera (translation, zoom, rotation, shear) and change of brightness between frames, where they
    explain the difference: `now ≈ gain · warped(before, motion) + offset`.

    Phase correlation at half the size finds the translation to start from. Gauss-Newton steps refine it, with weights
    that leave out what moves on its own.

    Args:
        now (`np.ndarray` of shape `(num_pairs, rows, columns)`, float32), before (likewise): grey values.

    Returns:
        float32 `np.ndarray` of shape `(num_pairs, 2, 3)`, as `warped` takes them, and two of shape `(num_pairs,)`.
    """
    count, rows, cols = now.shape
    y, x, u, v = _points(rows, cols, 1, POINT_DISTANCE)
    at = (y * cols + x).astype(np.int32)
    flat, past = now.reshape(count, -1), before.reshape(count, -1)
    target, one = flat[:, at], np.ones((count, 1), np.float32)
    step_x, step_y = (flat[:, at + 1] - flat[:, at - 1]) / 2, (flat[:, at + cols] - flat[:, at - cols]) / 2
    slopes = np.stack(
        [step_x, step_x * u, step_x * v, step_y, step_y * u, step_y * v, target, np.broadcast_to(one, target.shape)],
        axis=1,
    )
    motion = np.zeros((count, 2, 3), np.float32)
    gain, offset = one.copy(), np.zeros_like(one)
    plain = np.abs(past[:, at] - target).mean(axis=1)
    motion[:, :, 0] = 2 * _shifts(now, before)
    for _ in range(SEARCH_STEPS):
        error = gain * _bilinear(past, *_source(motion, y, x, u, v, rows, cols), cols) + offset - target
        weight = 1 / (1 + (error / (np.abs(error).mean(axis=1, keepdims=True) + np.float32(0.1))) ** 2)
        weighted = slopes * weight[:, None]
        normal = weighted @ slopes.swapaxes(1, 2)
        # A little damping: flat pictures have nothing to hold on to.
        normal[:, range(8), range(8)] *= np.float32(1.01)
        normal[:, range(8), range(8)] += np.float32(1e-3)
        step = np.linalg.solve(normal, weighted @ error[:, :, None])[..., 0]
        motion -= step[:, :6].reshape(count, 2, 3)
        gain -= step[:, 6:7]
        offset -= step[:, 7:]
    error = gain * _bilinear(past, *_source(motion, y, x, u, v, rows, cols), cols) + offset - target
    vain = ~(np.abs(error).mean(axis=1) < EXPLAINED * plain)  # not a number: nothing either
    motion[vain], gain[vain], offset[vain] = 0, 1, 0
    return motion, gain[:, 0], offset[:, 0]


@functools.lru_cache(maxsize=4)
def _window(rows: int, cols: int) -> np.ndarray:
    return np.outer(np.hanning(rows + 2)[1:-1], np.hanning(cols + 2)[1:-1]).astype(np.float32)


def _shifts(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Translations x, y by phase correlation at half the size, in whole pixels of it; int64 `(num_pairs, 2)`."""
    rows, cols = now.shape[1] // 2, now.shape[2] // 2
    if not rows or not cols:
        return np.zeros((len(now), 2), np.int64)
    images = pool(np.stack([before, now])[:, :, : 2 * rows, : 2 * cols], rows, cols)
    images -= images.mean(axis=(2, 3), keepdims=True)
    past, present = np.fft.rfft2(images * _window(rows, cols))
    cross = past * np.conj(present)
    cross /= np.sqrt(cross.real**2 + cross.imag**2) + np.float32(1e-9)  # much faster than `np.abs`
    y, x = np.divmod(np.fft.irfft2(cross, (rows, cols)).reshape(len(now), -1).argmax(axis=1), cols)
    return np.stack([np.where(x > cols // 2, x - cols, x), np.where(y > rows // 2, y - rows, y)], axis=1)


def _rows_gain(now: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """
    How much brighter or darker each row of pixels became, where that explains what is left of the difference: lamps
    flicker while a sensor is read row by row.

    Args:
        now (`np.ndarray` of shape `(num_pairs, rows, columns)`, float32), grey (likewise): grey values of frames, and
            what is predicted of them.

    Returns:
        float32 `np.ndarray` of shape `(num_pairs, rows)`.
    """
    gain = np.ones(now.shape[:2], np.float32)
    difference = now - grey
    error = np.abs(difference).mean(axis=(1, 2))
    # Means tell cheaply where it is no use; medians do not mind what moves.
    banded = np.flatnonzero(np.abs(difference.mean(axis=2)).mean(axis=1) >= LEAST_BANDS * error)
    if len(banded):
        now, grey, middle = now[banded, :, ::2], grey[banded, :, ::2], grey.shape[2] // 4
        change, level = (np.partition(rows, middle, axis=2)[..., middle] for rows in (now - grey, grey))
        found = 1 + change / np.maximum(level, np.float32(8))
        explains = np.abs(now - found[:, :, None] * grey).mean(axis=(1, 2)) < EXPLAINED * error[banded]
        gain[banded[explains]] = found[explains]
    return gain
