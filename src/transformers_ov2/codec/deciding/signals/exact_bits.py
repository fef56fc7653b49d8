# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Exact bits per macroblock or coding tree unit, from the optional package codec-video-prep."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...config import CodecStreamConfig
from ...reading.orientation import Orientation
from ...reading.source import VideoError, VideoSource


# Its decoder aborts the process on AV1 and has no bits for other codecs.
CODECS = ("h264", "hevc", "vp9")
PERCENTILE = 99.0


@dataclass
class BitMaps:
    """
    Bits that a codec spent per macroblock (H.264: 16x16 pixels) or coding tree unit (HEVC, VP9: 64x64 pixels).

    Attributes:
        frames (`np.ndarray` of shape `(num_frames,)`, int64): source frames, ascending.
        bits (`np.ndarray` of shape `(num_frames, rows, stride)`, int32): bits per unit.
        columns (`int`): units per row of the picture. H.264's maps have one more, an empty one, in memory:
            `stride = columns + 1`.
        window (`tuple[tuple[float, float], tuple[float, float]]`, *optional*): where the picture begins and ends in
            the map, in rows and in columns of units. A picture whose sides are no multiples of a unit covers its last
            units only in part, or the first ones where it is mirrored. All of them when not given.
    """

    frames: np.ndarray
    bits: np.ndarray
    columns: int
    window: tuple[tuple[float, float], tuple[float, float]] | None = None

    def take(self, frames: Sequence[int]) -> BitMaps:
        """The maps of some of the frames."""
        return replace(self, frames=np.asarray(frames), bits=self.bits[np.searchsorted(self.frames, frames)])

    def block_sums(self, values: np.ndarray, blocks_hw: tuple[int, int]) -> np.ndarray:
        """
        Sums over blocks of what each unit has, spread over the part of it that is in the picture.

        Args:
            values (`np.ndarray` of shape `(num_frames, rows, columns)`): of the units.
            blocks_hw (`tuple[int, int]`): blocks per column and row.

        Returns:
            float32 `np.ndarray` of shape `(num_frames, block_rows, block_columns)`.
        """
        rows, columns = (
            overlap / np.maximum(overlap.sum(axis=0), 1e-6) for overlap in self._overlaps(values.shape[1:], blocks_hw)
        )
        return (rows @ values @ columns.T).astype(np.float32)

    def block_means(self, values: np.ndarray, blocks_hw: tuple[int, int]) -> np.ndarray:
        """Means over blocks, likewise."""
        rows, columns = (
            overlap / overlap.sum(axis=1, keepdims=True) for overlap in self._overlaps(values.shape[1:], blocks_hw)
        )
        return (rows @ values @ columns.T).astype(np.float32)

    def _overlaps(self, units_hw: tuple[int, int], blocks_hw: tuple[int, int]) -> Iterator[np.ndarray]:
        """How much of each unit is in each block, `(blocks, units)`: of rows, and of columns."""
        window = self.window or tuple((0, units) for units in units_hw)
        for units, blocks, (start, end) in zip(units_hw, blocks_hw, window):
            edges = np.linspace(start, end, blocks + 1)[:, None]
            unit = np.arange(units)
            yield np.maximum(np.minimum(unit + 1, edges[1:]) - np.maximum(unit, edges[:-1]), 0)


def read_bits(source: VideoSource, frames: np.ndarray) -> BitMaps:
    """
    Bits of some frames of a video, read in process by `codec_video_prep.cv_reader_fast`.

    Args:
        source (`VideoSource`): an H.264, HEVC or VP9 file.
        frames (`np.ndarray` of shape `(num_frames,)`, int64): ascending presentation indices.

    Raises:
        ImportError: codec-video-prep is not installed.
        VideoError: the codec has no exact bits, or the package cannot read the file.
    """
    try:
        from codec_video_prep import cv_reader_fast
    except ImportError as error:
        raise ImportError(
            '`bit_source="codec-video-prep"` needs that package (Linux, numpy < 2): '
            'pip install "transformers-ov2[bits]".'
        ) from error
    if source.codec not in CODECS:
        raise VideoError(
            f"{source.name}: there are no exact bits for {source.codec} video, only for {', '.join(CODECS)}; "
            'use `bit_source="stock"`.'
        )
    with _as_file(source) as path:
        try:
            read = cv_reader_fast.read_video_fast_selected(
                path, frames.tolist(), thread_count=1, export_bitcost=1, thread_type="slice"
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise VideoError(f"{source.name}: codec-video-prep cannot read it ({error}).") from error
    costs = {entry["frame_idx"]: entry["bitcost"] for entry in read}
    unit, width = ("mb_bit_cost", "mb_width") if source.codec == "h264" else ("ctu_bit_cost", "ctb_width")
    if missing := [frame for frame in frames.tolist() if unit not in costs.get(frame, {})]:
        raise VideoError(f"{source.name}: codec-video-prep gives no bits for frame {missing[0]}.")
    bits, columns = np.stack([costs[frame][unit] for frame in frames.tolist()]), costs[frames[0]][width]
    window = picture_window(source, bits.shape[1], columns)
    # As displayed, like everything else.
    if source.orientation != Orientation():
        bits = source.orientation.turn(bits[..., :columns])
        columns = bits.shape[-1]
    return BitMaps(frames, bits, columns, window)


def picture_window(source: VideoSource, rows: int, columns: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """The `window` of `BitMaps` with so many rows and columns of units of a decoded picture."""
    window = []
    for side, units in zip(source.coded_size, (rows, columns)):
        # A coding tree unit has 16, 32 or 64 pixels.
        unit = next((size for size in (16, 32, 64) if -(-side // size) == units), side / units)
        window.append((0, side / unit, units))
    if source.orientation.transposed:
        window.reverse()
    flipped = source.orientation.flipped_y, source.orientation.flipped_x
    rows, columns = (
        (units - end, units) if mirrored else (start, end) for (start, end, units), mirrored in zip(window, flipped)
    )
    return rows, columns


@contextlib.contextmanager
def _as_file(source: VideoSource) -> Iterator[str]:
    """The path of a file that holds the video: its own, or a temporary one for bytes."""
    if source.path is not None:
        yield source.path
        return
    with tempfile.TemporaryDirectory(prefix="transformers-ov2-") as folder:
        path = os.path.join(folder, "video")
        with open(path, "wb") as file:
            file.write(source.data)
        yield path


def score_bits(maps: BitMaps, size: tuple[int, int], config: CodecStreamConfig) -> np.ndarray:
    """
    One score per block: logarithmic bits over their 99th percentile, at most 1, summed over the pixels of the block.

    With `grouping="readiness"` this is the released tool's score: the percentile is that of each frame, and the empty
    column in memory counts as part of the picture, which moves scores sideways by up to a macroblock. Otherwise the
    percentile is that of all `maps` together, so that frames compare, and only the picture counts.

    Args:
        maps (`BitMaps`): bits of the frames.
        size (`tuple[int, int]`): height and width of a canvas in pixels.
        config (`CodecStreamConfig`): its `grouping`, `patch` and `merge`.

    Returns:
        float32 `np.ndarray` of shape `(num_frames, block_rows, block_columns)`.
    """
    as_released = config.grouping == "readiness"
    bits = maps.bits if as_released else maps.bits[:, :, : maps.columns]
    # HEVC units of skipped blocks can come out at −16 bits.
    cost = np.log1p(np.maximum(bits, 0, dtype=np.float32))
    scale = np.percentile(cost, PERCENTILE, axis=(1, 2) if as_released else None, keepdims=True)
    cost = np.minimum(cost / np.where(scale > 0, scale, 1), 1)
    if not as_released:
        return config.factor**2 * maps.block_means(cost, (size[0] // config.factor, size[1] // config.factor))
    rows = _pixels_per_unit(bits.shape[1], size[0], config.factor)
    columns = _pixels_per_unit(bits.shape[2], size[1], config.factor)
    return (rows @ cost @ columns.T).astype(np.float32)


def _pixels_per_unit(units: int, pixels: int, block: int) -> np.ndarray:
    """
    `(pixels / block, units)` matrix: how many pixels of each block take their value from each unit when a row of units
    is resized to a row of pixels by nearest neighbour.
    """
    # Rounded as OpenCV's INTER_NEAREST does, by way of the reciprocal: exact ratios can fall on the unit before.
    nearest = np.minimum(np.floor(np.arange(pixels) * (1.0 / (pixels / units))).astype(np.int64), units - 1)
    counts = np.zeros((pixels // block, units), dtype=np.float64)
    np.add.at(counts, (np.arange(pixels) // block, nearest), 1.0)
    return counts
