# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Camera motion and brightness: what an earlier frame would look like now if nothing else had changed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

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
# Pixels that are resampled at once: what comes between stays small next to large pictures.
WARPED_PIXELS = 2**15
# Share of the difference that is common to rows of pixels, below which their brightness is not compared.
LEAST_BANDS = 0.25


def compensate(
    pairs: Sequence[tuple[FrameFeatures, FrameFeatures]],
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """
    What earlier frames predict of frames by camera motion and brightness, and by brightness alone.

    Where large things move, the motion that explains most of a picture may be theirs: what stands still behind them is
    explained by the second prediction.

    Args:
        pairs (`Sequence[tuple[FrameFeatures, FrameFeatures]]`): a frame and an earlier one.

    Yields:
        Two float32 `np.ndarray` of shape `(3, rows, columns)` for each pair, made of the `colours` of the earlier
        frame (and these themselves where there is nothing to compensate): as the camera and the light of now show
        them, and as the light alone does, None where the camera stands still.
    """
    changed = [bool(np.abs(now.grey - before.grey).mean() >= STILL) for now, before in pairs]
    cameras = iter(_cameras([pair for pair, change in zip(pairs, changed) if change]))
    # One pair after the other, so that their pictures stay in the cache.
    for (now, before), change in zip(pairs, changed):
        image, still = before.colours, None
        if change:
            motion, gain, offset = next(cameras)
            image = warped(before.colours, motion)
            if image is not before.colours:
                still = _rows_brightened(now, before.colours, before.grey)
            if gain != 1 or offset:
                image = image * gain
                image += offset
            image = _rows_brightened(now, image, mean_colour(image))
        yield image, still


def _rows_brightened(now: FrameFeatures, image: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """An image, whose mean colour is `grey`, in the light of `now`."""
    rows = _rows_gain(now.grey, grey)
    return image if rows is None else image * rows[:, None]


def _cameras(pairs: Sequence[tuple[FrameFeatures, FrameFeatures]]) -> list[tuple[np.ndarray, np.float32, np.float32]]:
    """Of each pair, what `_camera` finds; pictures that are in several pairs are looked at once."""
    if not pairs:
        return []
    number = {}
    now, before = np.array([[number.setdefault(each, len(number)) for each in pair] for pair in pairs]).T
    return list(zip(*_camera(np.stack([each.grey for each in number]), now, before)))


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
        points, values = _points(rows, cols, 0, 1), image.reshape(channels, -1)
        out = np.empty_like(values)
        for start in range(0, rows * cols, WARPED_PIXELS):
            part = np.s_[start : start + WARPED_PIXELS]
            at, fx, fy = (found[0] for found in _source(motion[None], *(each[part] for each in points), rows, cols))
            for plane, channel in zip(out, values):
                plane[part] = _bilinear(channel, at, fx, fy, cols)
        return out.reshape(image.shape)
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


def _bilinear(values: np.ndarray, at: np.ndarray, fx: np.ndarray, fy: np.ndarray, cols: int) -> np.ndarray:
    """Values of images at points of `_source`, whose indices count from the start of `values`."""
    upper, lower = values.take(at, mode="clip"), values.take(at + cols, mode="clip")
    upper += fx * (values.take(at + 1, mode="clip") - upper)
    lower += fx * (values.take(at + (cols + 1), mode="clip") - lower)
    lower -= upper
    lower *= fy
    upper += lower
    return upper


def _camera(pictures: np.ndarray, now: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Motion of the camera (translation, zoom, rotation, shear) and change of brightness between frames, where they
    explain the difference: `now ≈ gain · warped(before, motion) + offset`.

    Phase correlation at half the size finds the translation to start from. Gauss-Newton steps refine it, with weights
    that leave out what moves on its own.

    Args:
        pictures (`np.ndarray` of shape `(num_pictures, rows, columns)`, float32): grey values.
        now, before (`np.ndarray` of shape `(num_pairs,)`, int64): the pictures of each pair.

    Returns:
        float32 `np.ndarray` of shape `(num_pairs, 2, 3)`, as `warped` takes them, and two of shape `(num_pairs,)`.
    """
    count, (rows, cols) = len(now), pictures.shape[1:]
    y, x, u, v = _points(rows, cols, 1, POINT_DISTANCE)
    values = pictures.ravel()
    start = (before * (rows * cols))[:, None]
    at = (y * cols + x).astype(np.int64) + (now * (rows * cols))[:, None]
    target, one = values.take(at), np.ones((count, 1), np.float32)

    def sample() -> np.ndarray:
        index, fx, fy = _source(motion, y, x, u, v, rows, cols)
        found = _bilinear(values, index + start, fx, fy, cols)
        found *= gain
        found += offset
        found -= target
        return found

    slopes = np.empty((count, 8, len(y)), np.float32)
    for first, step in ((0, 1), (3, cols)):
        np.subtract(values.take(at + step), values.take(at - step), out=slopes[:, first])
        slopes[:, first] *= np.float32(0.5)
        np.multiply(slopes[:, first], u, out=slopes[:, first + 1])
        np.multiply(slopes[:, first], v, out=slopes[:, first + 2])
    slopes[:, 6], slopes[:, 7] = target, one
    motion = np.zeros((count, 2, 3), np.float32)
    gain, offset = one.copy(), np.zeros_like(one)
    plain = np.abs(sample()).mean(axis=1)
    motion[:, :, 0] = 2 * _shifts(pictures, now, before)
    for _ in range(SEARCH_STEPS):
        error = sample()
        weight = error / (np.abs(error).mean(axis=1, keepdims=True) + np.float32(0.1))
        weight *= weight
        weight += 1
        weighted = slopes / weight[:, None]
        normal = weighted @ slopes.swapaxes(1, 2)
        # A little damping: flat pictures have nothing to hold on to.
        normal[:, range(8), range(8)] *= np.float32(1.01)
        normal[:, range(8), range(8)] += np.float32(1e-3)
        step = np.linalg.solve(normal, weighted @ error[:, :, None])[..., 0]
        motion -= step[:, :6].reshape(count, 2, 3)
        gain -= step[:, 6:7]
        offset -= step[:, 7:]
    vain = ~(np.abs(sample()).mean(axis=1) < EXPLAINED * plain)  # not a number: nothing either
    motion[vain], gain[vain], offset[vain] = 0, 1, 0
    return motion, gain[:, 0], offset[:, 0]


@functools.lru_cache(maxsize=4)
def _window(rows: int, cols: int) -> np.ndarray:
    return np.outer(np.hanning(rows + 2)[1:-1], np.hanning(cols + 2)[1:-1]).astype(np.float32)


@functools.lru_cache(maxsize=64)
def _fft_size(least: int) -> int:
    """The next size that has no prime factor over 5: others are up to five times as slow."""
    return next(size for size in itertools.count(least) if 60 ** size.bit_length() % size == 0)


def _shifts(pictures: np.ndarray, now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Translations x, y by phase correlation at half the size, in whole pixels of it; int64 `(num_pairs, 2)`."""
    rows, cols = pictures.shape[1] // 2, pictures.shape[2] // 2
    if not rows or not cols:
        return np.zeros((len(now), 2), np.int64)
    images = pool(pictures[:, : 2 * rows, : 2 * cols], rows, cols)
    images -= images.mean(axis=(1, 2), keepdims=True)
    images *= _window(rows, cols)
    rows, cols = _fft_size(rows), _fft_size(cols)
    spectra = np.fft.rfft2(images, (rows, cols))
    cross = np.conj(spectra)[now]
    cross *= spectra[before]
    cross /= np.sqrt(cross.real**2 + cross.imag**2) + np.float32(1e-9)  # much faster than `np.abs`
    y, x = np.divmod(np.fft.irfft2(cross, (rows, cols)).reshape(len(now), -1).argmax(axis=1), cols)
    return np.stack([np.where(x > cols // 2, x - cols, x), np.where(y > rows // 2, y - rows, y)], axis=1)


def _rows_gain(now: np.ndarray, grey: np.ndarray) -> np.ndarray | None:
    """
    How much brighter or darker each row of pixels became, where that explains what is left of the difference: lamps
    flicker while a sensor is read row by row.

    Args:
        now (`np.ndarray` of shape `(rows, columns)`, float32), grey (likewise): grey values of a frame, and what is
            predicted of it.

    Returns:
        float32 `np.ndarray` of shape `(rows,)`, or None where it explains nothing.
    """
    difference = now - grey
    error = np.abs(difference).mean()
    # Means tell cheaply where it is no use; medians do not mind what moves.
    if np.abs(difference.mean(axis=1)).mean() < LEAST_BANDS * error:
        return None
    difference, now, grey, middle = difference[:, ::2], now[:, ::2], grey[:, ::2], grey.shape[1] // 4
    change, level = (np.partition(rows, middle, axis=1)[:, middle] for rows in (difference, grey))
    gain = 1 + change / np.maximum(level, np.float32(8))
    return gain if np.abs(now - gain[:, None] * grey).mean() < EXPLAINED * error else None
