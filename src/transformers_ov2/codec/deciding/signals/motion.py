# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Motion energy: how fast the blocks of a frame move against the camera, by the codec's own vectors."""

from __future__ import annotations

import copy

import numpy as np

from ...reading.decoding import DecodedFrame
from ...reading.packets import PacketTable
from ..pooling import block_means, medians


# Least side in pixels of the cells of a motion field (of H.264's partitions only those of 4 pixels are smaller), and
# how many there are along a block at least: large pictures have larger ones.
FIELD_CELL = 8
CELLS_PER_BLOCK = 4
# Frames between a picture and its references at most, H.264's limit.
MAX_REFERENCE_DISTANCE = 16


def motion_energy(fields: MotionFields, blocks_hw: tuple[int, int]) -> np.ndarray:
    """
    Mean length of the vectors of each block, after removing the camera's motion, their median.

    Returns:
        float32 `np.ndarray` of shape `(num_frames, block_rows, block_columns)`: pixels of the video per frame.
    """
    sample = np.ascontiguousarray(fields.velocity[:, ::2, ::2])
    camera = medians(sample.real) + np.complex64(1j) * medians(sample.imag)
    return block_means(np.abs(fields.velocity - camera[:, None, None]), blocks_hw)


class MotionFields:
    """Motion vectors of some frames on a grid.

    Attributes:
        velocity (`np.ndarray` of shape `(num_frames, rows, cols)`, complex64): x + i·y in pixels per frame, from a
            cell towards what it showed one frame earlier.
        past_span (`np.ndarray` of shape `(num_frames, 1, 1)`, float32): frames between a picture and the one that its
            backward vectors point to.
        cell (`int`): side of a cell in pixels of the video.
    """

    def __init__(
        self,
        frames: list[DecodedFrame],
        references: list[tuple[list[int], list[int]]],
        source_hw: tuple[int, int],
        blocks_hw: tuple[int, int],
    ):
        cell = FIELD_CELL
        while 2 * cell * CELLS_PER_BLOCK <= min(source_hw[0] / blocks_hw[0], source_hw[1] / blocks_hw[1]):
            cell *= 2
        rows, cols = -(-source_hw[0] // cell), -(-source_hw[1] // cell)
        past = [frame.index - past[0] if past else 1 for frame, (past, _) in zip(frames, references)]
        future = [frame.index - future[0] if future else -1 for frame, (_, future) in zip(frames, references)]
        past, future = np.array(past, dtype=np.float32), np.array(future, dtype=np.float32)
        counts = [len(frame.motion_vectors) for frame in frames]
        number = np.repeat(np.arange(len(frames), dtype=np.int32), counts)
        # Joined as bytes: numpy copies structured arrays field by field.
        tables = [frame.motion_vectors for frame in frames]
        vectors = np.concatenate([table.view(np.uint8) for table in tables]).view(tables[0].dtype)
        backward = vectors["source"] < 0
        # Future sources lie the other way.
        span = np.where(backward, np.repeat(past, counts), np.repeat(future, counts))
        span *= np.maximum(vectors["motion_scale"], 1)
        velocity = np.empty(len(vectors), dtype=np.complex64)
        velocity.real = vectors["motion_x"].astype(np.float32) / span
        velocity.imag = vectors["motion_y"].astype(np.float32) / span
        wide, high = vectors["w"].astype(np.int32), vectors["h"].astype(np.int32)
        left = np.maximum(vectors["dst_x"] - (wide >> 1), 0) // cell
        top = np.maximum(vectors["dst_y"] - (high >> 1), 0) // cell
        inside = (top < rows) & (left < cols)
        at = (number * rows + top) * cols + left
        field = np.zeros(len(frames) * rows * cols, dtype=np.complex64)
        # Where a cell has both directions, the past one is written last and stays.
        for direction in (~backward & inside, backward & inside):
            # One write for each cell of the largest partition, 2x2 for H.264's 16x16.
            for dy, dx in np.ndindex(*(-(-int(side.max()) // cell) for side in (high, wide))):
                covers = direction
                if dy:
                    covers = covers & (high > dy * cell) & (top < rows - dy)
                if dx:
                    covers = covers & (wide > dx * cell) & (left < cols - dx)
                covers = np.flatnonzero(covers)
                field[at[covers] + (dy * cols + dx)] = velocity[covers]
        self.velocity = field.reshape(len(frames), rows, cols)
        self.past_span = past[:, None, None]
        self.cell = cell

    def take(self, frames: np.ndarray) -> MotionFields:
        """The fields of some of the frames."""
        taken = copy.copy(self)
        taken.velocity, taken.past_span = self.velocity[frames], self.past_span[frames]
        return taken


def find_references(table: PacketTable, index: int) -> tuple[list[int], list[int]]:
    """Presentation indices of the last two reference pictures shown before a frame and of the next one shown after it,
    among those decoded before it."""
    reach = MAX_REFERENCE_DISTANCE
    low, high = max(0, index - reach), min(table.num_frames, index + reach + 1)
    known = np.arange(low, high)[
        table.is_reference[low:high] & (table.decode_index[low:high] < table.decode_index[index])
    ]
    return known[known < index][:-3:-1].tolist(), known[known > index][:1].tolist()
