# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks to canvases: sizes, packing, positions and timestamp runs of the codec stream."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from ..config import CodecStreamConfig
from ..deciding.fusion import Evidence
from ..reading.pictures import PlanarPicture, planes_to_rgb


# Pixels of blocks that are converted at once.
PACKED_PIXELS = 2**18


@dataclass
class CodecStream:
    """
    A video as canvases, the unit in which LLaVA-OneVision-2 reads compressed video.

    A group of source frames yields one I-canvas, its anchor frame whole, followed by P-canvases which are filled with
    the selected blocks (`merge x merge` patches) of its other frames in order of (frame, row, column). Each patch
    keeps its place in the video.

    Attributes:
        canvases (`np.ndarray` of shape `(num_canvases, height, width, 3)`, uint8):
            RGB pixels.
        patch_positions (`np.ndarray` of shape `(num_canvases, grid_height * grid_width, 3)`, int64):
            Source (frame, patch row, patch column) of every patch, the patches of a canvas in row-major order. Frames
            count in presentation order from 0. −1 in all three where a canvas is padded, which only streams read from
            asset folders are.
        groups (`np.ndarray` of shape `(num_groups, 2)`, int64):
            First source frame of each group and the one after its last.
        canvases_per_group (`np.ndarray` of shape `(num_groups,)`, int64):
            Number of canvases of each group.
        frame_ids (`np.ndarray` of shape `(num_frames,)`, int64):
            Source frames that were decoded and looked at, ascending.
        timestamps (`np.ndarray` of shape `(num_frames,)`, float64):
            Presentation times in seconds of `frame_ids`, true times for a variable frame rate.
        fps (`float`):
            Average frame rate of the video in frames per second.
        signal_source (`list[str]`):
            What was known of each of `frame_ids`, one of [`~transformers_ov2.codec.deciding.fusion.SIGNAL_SOURCES`];
            `signal_shares` sums up.
        timings (`dict[str, float]`):
            Seconds spent per step: `"demux"`, `"decode"`, `"score"`, `"select"`, `"pack"`.
        patch (`int`), merge (`int`):
            Side of a patch in pixels, and of a block in patches.
        evidence (`Evidence`, *optional*):
            Signals and scores of the blocks of `frame_ids`, when they were asked for.
    """

    canvases: np.ndarray
    patch_positions: np.ndarray
    groups: np.ndarray
    canvases_per_group: np.ndarray
    frame_ids: np.ndarray
    timestamps: np.ndarray
    fps: float
    signal_source: list[str]
    timings: dict[str, float] = field(default_factory=dict)
    patch: int = 14
    merge: int = 2
    evidence: Evidence | None = None

    @property
    def signal_shares(self) -> dict[str, float]:
        """Share of the frames for each signal source that occurs, the most frequent one first."""
        counts = Counter(self.signal_source).most_common()
        return {source: count / len(self.signal_source) for source, count in counts}

    @property
    def grid_thw(self) -> tuple[int, int, int]:
        """(canvases, patch rows, patch columns): the row of `video_grid_thw` of this video."""
        num_canvases, height, width, _ = self.canvases.shape
        return num_canvases, height // self.patch, width // self.patch

    @property
    def num_tokens(self) -> int:
        """Visual tokens of the language model, one per block."""
        return math.prod(self.grid_thw) // self.merge**2

    def to_block_order(self, patches: np.ndarray) -> np.ndarray:
        """
        Reorder patches from row-major per canvas to merge-block order: blocks row-major, inside a block its patches
        row-major.

        Args:
            patches (`np.ndarray` of shape `(num_canvases, grid_height * grid_width, ...)`): one entry per patch.

        Returns:
            `np.ndarray` of shape `(num_patches, ...)`, where `num_patches = num_canvases * grid_height * grid_width`.
        """
        num_canvases, height, width = self.grid_thw
        m, rest = self.merge, patches.shape[2:]
        patches = patches.reshape(num_canvases, height // m, m, width // m, m, *rest)
        return patches.swapaxes(2, 3).reshape(num_canvases * height * width, *rest)

    def block_positions(self) -> np.ndarray:
        """`patch_positions` in merge-block order, the model's `video_patch_positions`: int64 `(num_patches, 3)`."""
        return self.to_block_order(self.patch_positions)

    def patch_rows(self) -> np.ndarray:
        """
        The pixels as the rows of `pixel_values_videos` before rescaling and normalisation.

        Returns:
            uint8 `np.ndarray` of shape `(num_patches, 3 * patch * patch)`: one row per patch in merge-block order,
            pixels in (channel, y, x) order.
        """
        num_canvases, height, width = self.grid_thw
        m, p = self.merge, self.patch
        pixels = self.canvases.reshape(num_canvases, height // m, m, p, width // m, m, p, 3)
        # (canvas, block row, y in block, y, block column, x in block, x, channel)
        pixels = pixels.transpose(0, 1, 4, 2, 5, 7, 3, 6)
        return pixels.reshape(num_canvases * height * width, 3 * p * p)

    def runs(self) -> np.ndarray:
        """
        Runs of consecutive tokens from one source frame, each of which gets one timestamp in the prompt.

        Returns:
            int64 `np.ndarray` of shape `(num_runs, 2)`: (source frame, number of tokens), in token order.
        """
        frames = self.block_positions()[:: self.merge**2, 0]
        starts = np.flatnonzero(np.concatenate([[True], frames[1:] != frames[:-1]]))
        return np.stack([frames[starts], np.diff(starts, append=len(frames))], axis=1)

    def seconds(self, frames: np.ndarray) -> np.ndarray:
        """
        Presentation times of source frames.

        Args:
            frames (`np.ndarray` of int64): members of `frame_ids`; −1 (padding) gives the time of the last frame
            before it in `frames` that is none, or 0.

        Returns:
            float64 `np.ndarray` of the shape of `frames`.
        """
        frames = np.asarray(frames, dtype=np.int64)
        index = np.searchsorted(self.frame_ids, frames).clip(max=len(self.frame_ids) - 1)
        if (unknown := frames[(self.frame_ids[index] != frames) & (frames != -1)]).size:
            raise ValueError(f"Frame {unknown.flat[0]} is not among the frames of this stream.")
        times = self.timestamps[index].ravel()
        last = np.maximum.accumulate(np.where(frames.ravel() == -1, -1, np.arange(frames.size)))
        return np.where(last < 0, 0.0, times[last]).reshape(frames.shape)

    @staticmethod
    def concatenate(streams: Iterable[CodecStream]) -> CodecStream:
        """
        Join the streams of consecutive groups of one video. Timings add up; evidence is kept when all of them have it.
        Of an iterator that makes the groups one by one, no more than one is in memory besides the result. The canvases
        of a single stream are not copied.

        Raises:
            ValueError: there are no streams.
        """
        parts, canvases, filled = [], None, 0
        for stream in streams:
            end = filled + len(stream.canvases)
            if canvases is None:
                canvases = stream.canvases
            else:
                if end > len(canvases):
                    larger = np.empty((max(end, 2 * len(canvases)), *canvases.shape[1:]), np.uint8)
                    larger[:filled] = canvases[:filled]
                    canvases = larger
                canvases[filled:end] = stream.canvases
            parts.append(replace(stream, canvases=None))
            filled = end
        if canvases is None:
            raise ValueError("There is no stream to concatenate.")
        first, evidence = parts[0], [part.evidence for part in parts]
        timings: dict[str, float] = {}
        for part in parts:
            for step, seconds in part.timings.items():
                timings[step] = timings.get(step, 0.0) + seconds
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("patch_positions", "groups", "canvases_per_group", "frame_ids", "timestamps")
        }
        return CodecStream(
            canvases=canvases[:filled],
            **arrays,
            fps=first.fps,
            signal_source=[source for part in parts for source in part.signal_source],
            timings=timings,
            patch=first.patch,
            merge=first.merge,
            evidence=Evidence.concatenate(evidence) if all(evidence) else None,
        )


def canvas_size(height: int, width: int, config: CodecStreamConfig) -> tuple[int, int]:
    """
    Size of the canvases of a video, the rule of the reference tool (codec-video-prep 0.2.5): frames over `max_pixels`
    are reduced and rounded down to multiples of `patch * merge`, frames under `min_pixels` are enlarged and rounded
    up, others rounded. Unlike there, a side never becomes 0, and frames too long for both limits lose length.

    Args:
        height (`int`), width (`int`): displayed size of the video in pixels.
        config (`CodecStreamConfig`): its `patch`, `merge`, `min_pixels` and `max_pixels`.

    Returns:
        `tuple[int, int]`: height and width in pixels.
    """
    factor, area = config.factor, height * width
    if area > config.max_pixels:
        shrink = math.sqrt(area / config.max_pixels)
        size = [math.floor(side / shrink / factor) for side in (height, width)]
    elif area < config.min_pixels:
        enlarge = math.sqrt(config.min_pixels / area)
        size = [math.ceil(side * enlarge / factor) for side in (height, width)]
    else:
        size = [round(side / factor) for side in (height, width)]
    rows, columns = (max(1, side) for side in size)
    # A side that was raised to one block can push the area of an extreme aspect ratio over the limit.
    limit = max(config.max_pixels, config.min_pixels) // factor**2
    if rows == 1:
        columns = min(columns, limit)
    elif columns == 1:
        rows = min(rows, limit)
    return rows * factor, columns * factor


def order_blocks(anchor: int, selected: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """
    The blocks of a group in the order in which canvases hold them: the anchor frame row-major, then the selected
    blocks by (frame, row, column).

    Args:
        anchor (`int`): the frame that the I-canvas shows.
        selected (`np.ndarray` of shape `(num_selected, 3)`, int64): (frame, block row, block column), in any order.
        grid (`tuple[int, int]`): block rows and columns of a canvas.

    Returns:
        int64 `np.ndarray` of shape `(rows * columns + num_selected, 3)`.
    """
    rows, columns = np.indices(grid)
    anchor_blocks = np.stack([np.full(rows.size, anchor), rows.ravel(), columns.ravel()], axis=1)
    order = np.lexsort((selected[:, 2], selected[:, 1], selected[:, 0]))
    return np.concatenate([anchor_blocks, selected[order]]).astype(np.int64)


def pack_blocks(
    pictures: list[PlanarPicture | None], frame_ids: np.ndarray, blocks: np.ndarray, config: CodecStreamConfig
) -> tuple[np.ndarray, np.ndarray]:
    """
    Lay blocks out on canvases, row by row of blocks.

    Args:
        pictures (`list[PlanarPicture]`): the group's frames at canvas size. Each is replaced by None once its blocks
            are laid out: canvases may take as much memory as the pictures do.
        frame_ids (`np.ndarray` of shape `(num_frames,)`, int64): their source frame numbers.
        blocks (`np.ndarray` of shape `(num_blocks, 3)`, int64): (index into `pictures`, block row, block column);
            `num_blocks` is a multiple of the blocks of a canvas.
        config (`CodecStreamConfig`): its `patch` and `merge`.

    Returns:
        The canvases, uint8 `(num_canvases, height, width, 3)`, and the patch positions, int64 `(num_canvases, patches,
        3)`, row-major per canvas.
    """
    height, width = pictures[blocks[0, 0]].size
    f, m = config.factor, config.merge
    rows, columns = height // f, width // f
    frame, row, column = blocks.T

    canvases = np.empty((len(blocks) // (rows * columns), rows, f, columns, f, 3), np.uint8)
    canvas, at = np.divmod(np.arange(len(blocks)), rows * columns)
    # Blocks of one frame in a row are converted together, some at a time.
    start = np.flatnonzero(np.diff(frame, prepend=-1))
    start = np.union1d(start, np.arange(0, len(blocks), max(1, PACKED_PIXELS // f**2)))
    last = np.full(len(pictures), -1)
    np.maximum.at(last, frame, np.arange(len(blocks)))
    for unused in np.flatnonzero(last < 0).tolist():
        pictures[unused] = None
    for here in np.split(np.arange(len(blocks)), start[1:]):
        picture = pictures[frame[here[0]]]
        tiles = picture.planes.reshape(3, rows, f, columns, f)[:, row[here], :, column[here]]
        tiles = planes_to_rgb(tiles.swapaxes(0, 1), picture.color)  # (blocks of this frame, f, f, 3)
        canvases[canvas[here], at[here] // columns, :, at[here] % columns] = tiles
        if here[-1] == last[frame[here[0]]]:
            pictures[frame[here[0]]] = None
    canvases = canvases.reshape(-1, height, width, 3)

    positions = np.empty((len(blocks), m, m, 3), dtype=np.int64)
    positions[..., 0] = frame_ids[frame][:, None, None]
    positions[..., 1] = (row * m)[:, None, None] + np.arange(m)[:, None]
    positions[..., 2] = (column * m)[:, None, None] + np.arange(m)
    positions = positions.reshape(-1, rows, columns, m, m, 3).swapaxes(2, 3)
    return canvases, positions.reshape(len(canvases), rows * m * columns * m, 3)
