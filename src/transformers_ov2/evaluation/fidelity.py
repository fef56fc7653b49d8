# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""How much of a video its tokens alone tell: every frame rebuilt from the patches that were kept."""

from collections.abc import Iterable, Iterator

import numpy as np


# Grey levels of a patch before anything was shown there.
UNSEEN = 0


def rebuild(
    frames: Iterable[np.ndarray], positions: np.ndarray, patch: int = 14
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """
    Rebuild a video from its patches: each is pasted at its source time and place and held until the next one there.

    Args:
        frames (iterable of uint8 `np.ndarray` of shape `(height, width, 3)`): every frame of the video, in
            presentation order, at canvas size. Consumed one at a time, so memory does not grow with the video.
        positions (`np.ndarray` of shape `(num_patches, 3)`, int64): (source frame, patch row, patch column) of the
            patches that were kept, in any order; −1 where a canvas is padded.
        patch (`int`): side of a patch in pixels.

    Yields:
        `(frame, state, shown)`: the frame; what is known of it, uint8 of the same shape, black where nothing was shown
        yet, overwritten by the next step; and which patches come from this frame, bool `(rows, columns)`.

    Raises:
        ValueError: a position lies outside the video.
    """
    positions = np.asarray(positions).reshape(-1, 3)
    positions = positions[positions[:, 0] >= 0]
    positions = positions[np.argsort(positions[:, 0], kind="stable")]
    state, at = None, 0
    for index, frame in enumerate(frames):
        if state is None:
            rows, cols = frame.shape[0] // patch, frame.shape[1] // patch
            if len(positions) and (positions[:, 1].max() >= rows or positions[:, 2].max() >= cols):
                raise ValueError(f"a patch lies outside the {rows} x {cols} patches of a frame")
            state = np.full_like(frame, UNSEEN)
        shown = np.zeros((rows, cols), dtype=bool)
        end = np.searchsorted(positions[:, 0], index, side="right")
        shown[positions[at:end, 1], positions[at:end, 2]] = True
        at = end
        np.copyto(state, frame, where=np.kron(shown, np.ones((patch, patch), dtype=bool))[:, :, None])
        yield frame, state, shown
    if at < len(positions):
        raise ValueError(f"a patch comes from frame {positions[-1, 0]}, but the video ends before it")


def rebuild_psnr(frames: Iterable[np.ndarray], positions: np.ndarray, patch: int = 14) -> float:
    """
    PSNR of [`rebuild`] in dB, whose arguments and errors it shares.

    Compare selections at equal numbers of language model tokens, timestamps included.

    Returns:
        `float`: 10 · log10(255² / mean squared error over all frames, pixels and channels); `inf` for a perfect
        rebuild.
    """
    squares, values = 0.0, 0
    for frame, state, _ in rebuild(frames, positions, patch):
        error = frame.astype(np.int32) - state
        squares += float((error * error).sum())
        values += error.size
    return float(10 * np.log10(255.0**2 * values / squares)) if squares else float("inf")
