# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""What motion vectors tell about the blocks of a frame."""

import numpy as np

from ..reading.decoding import DecodedFrame
from ..reading.packets import PacketTable
from .pooling import block_means, block_sums, medians


# Least side in pixels of the cells of a motion field (of H.264's partitions only those of 4 pixels are smaller), and
# how many there are along a block at least: large pictures have larger ones.
FIELD_CELL = 8
CELLS_PER_BLOCK = 4
RESIDUAL_STEP = 3


def read_vectors(
    frames: list[DecodedFrame],
    luma: np.ndarray,
    current: np.ndarray,
    table: PacketTable,
    blocks_hw: tuple[int, int],
    source_hw: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What the motion vectors of some frames of a group tell.

    Args:
        frames (`list[DecodedFrame]`): the group as far as it is there, ascending.
        luma (`np.ndarray` of shape `(num_frames or more, height, width)`, float32): theirs, at any size.
        current (`np.ndarray` of shape `(num_current,)`, int64): the frames to look at, which have vectors.
        table (`PacketTable`): the packets of the video.
        blocks_hw (`tuple[int, int]`): blocks per column and row.
        source_hw (`tuple[int, int]`): height and width of the video, which vectors are given in.

    Returns:
        Motion energy (pixels per frame), bits of the vectors and luma residual after motion compensation (grey
        levels, up to a constant), float32 of shape `(num_current, block_rows, block_cols)`; and whether the last two
        are known, bool of shape `(num_current,)`: they are for P-frames with a reference in the group.
    """
    chosen = [frames[index] for index in current.tolist()]
    references = [_references(table, frame.index) for frame in chosen]
    fields = _MotionFields(chosen, references, source_hw, blocks_hw)
    motion = block_means(fields.energy(), blocks_hw)
    position = {frame.index: at for at, frame in enumerate(frames)}
    sources = [[position[index] for index in past if index in position] for past, _ in references]
    known = np.array([frame.pict_type == "P" and bool(past) for frame, past in zip(chosen, sources)])
    vector_bits, residual = np.zeros((2, *motion.shape), dtype=np.float32)
    if known.any():
        sources = np.array([(past[0], past[-1]) for past, use in zip(sources, known) if use]).T
        flow = fields.velocity[known] * fields.past_span[known]
        error = _compensated_residual(luma, current[known], sources, flow, fields.cell, source_hw)
        residual[known] = block_sums(error, blocks_hw)
        vector_bits[known] = block_sums(fields.vector_bits(known), blocks_hw)
    return motion, vector_bits, residual, known


class _MotionFields:
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

    def energy(self) -> np.ndarray:
        """Length of the vectors after removing the camera's motion, their median; pixels per frame."""
        sample = np.ascontiguousarray(self.velocity[:, ::2, ::2])
        camera = medians(sample.real) + np.complex64(1j) * medians(sample.imag)
        return np.abs(self.velocity - camera[:, None, None])

    def vector_bits(self, frames: np.ndarray) -> np.ndarray:
        """Rough cost of the vectors of some frames: a bit for each edge between different ones, and the length of the
        difference."""
        quarter_pels = self.velocity[frames] * (4 * self.past_span[frames])
        bits = np.zeros(quarter_pels.shape, dtype=np.float32)
        edge = np.float32(self.cell / 4)  # in units of the codec's 4-pixel blocks
        for axis, inner in ((2, np.s_[:, :, 1:]), (1, np.s_[:, 1:])):
            step = np.abs(np.diff(quarter_pels, axis=axis))
            bits[inner] += edge * ((step > 0.5) + np.float32(0.25) * np.log2(1 + step))
        return bits


def _compensated_residual(
    luma: np.ndarray,
    current: np.ndarray,
    sources: np.ndarray,
    flow: np.ndarray,
    cell: int,
    source_hw: tuple[int, int],
) -> np.ndarray:
    """Luma residual after the codec's own motion compensation, against the better of the possible sources.

    FFmpeg does not tell which picture a vector points to, only that it is an earlier one. Of `luma`, one pixel in
    `RESIDUAL_STEP` is looked at in both directions.

    Args:
        luma (`np.ndarray` of shape `(num_frames or more, height, width)`, float32): of the group.
        current (`np.ndarray` of shape `(num_frames,)`, int64): frames of the group.
        sources (`np.ndarray` of shape `(num_sources, num_frames)`, int64): frames they may be predicted from.
        flow (`np.ndarray` of shape `(num_frames, rows, cols)`, complex64): their vectors, in pixels of the video.
        cell (`int`): side of a cell of `flow` in pixels of the video.
        source_hw (`tuple[int, int]`): height and width of the video.

    Returns:
        float32 `np.ndarray` of shape `(num_frames, ceil(height / RESIDUAL_STEP), ceil(width / RESIDUAL_STEP))`.
    """
    height, width = luma.shape[1:]
    y, x = np.arange(0, height, RESIDUAL_STEP), np.arange(0, width, RESIDUAL_STEP)
    rows, cols = flow.shape[1:]
    cell_y = np.minimum(((y + 0.5) * (source_hw[0] / height / cell)).astype(np.int64), rows - 1)
    cell_x = np.minimum(((x + 0.5) * (source_hw[1] / width / cell)).astype(np.int64), cols - 1)
    cells = (cell_y[:, None] * cols + cell_x).ravel()
    # Where the pixels came from: rows and columns of `luma`, split into whole pixels and the rest.
    source_x, source_y = (
        np.take((part * np.float32(scale)).reshape(len(flow), -1), cells, axis=1).reshape(len(flow), len(y), len(x))
        for part, scale in ((flow.real, width / source_hw[1]), (flow.imag, height / source_hw[0]))
    )
    source_x += x.astype(np.float32)
    source_y += y.astype(np.float32)[:, None]
    np.clip(source_x, 0, np.float32(max(width - 1.001, 0)), out=source_x)
    np.clip(source_y, 0, np.float32(max(height - 1.001, 0)), out=source_y)
    left, top = source_x.astype(np.intp), source_y.astype(np.intp)
    source_x -= left
    source_y -= top
    at = top * width + left
    right, below = int(width > 1), width * int(height > 1)
    now, pixels = luma[current, ::RESIDUAL_STEP, ::RESIDUAL_STEP], luma.ravel()
    residual = None
    for source in sources:
        here = at + (source * (height * width))[:, None, None]
        corners = (pixels.take(here + step, mode="clip") for step in (0, right, below, below + right))
        upper, upper_right, lower, lower_right = corners
        upper += source_x * (upper_right - upper)
        lower += source_x * (lower_right - lower)
        upper += source_y * (lower - upper)
        error = np.abs(now - upper)
        residual = error if residual is None else np.minimum(residual, error)
    return residual


def _references(table: PacketTable, index: int) -> tuple[list[int], list[int]]:
    """Presentation indices of the last two reference pictures shown before a frame and of the next one shown after it,
    among those decoded before it."""
    low, high = max(0, index - 16), min(table.num_frames, index + 17)
    known = np.arange(low, high)[
        table.is_reference[low:high] & (table.decode_index[low:high] < table.decode_index[index])
    ]
    return known[known < index][:-3:-1].tolist(), known[known > index][:1].tolist()
