# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Step 2, scoring: what each 2×2 block of patches of a frame adds to what was shown before.

Four signals are fused into one score, each in units that compare across the frames of a group:

- change: colour difference to the frame before, pooled to small cells, so that sensor noise averages out;
- motion energy: length of the codec's quarter-pel vectors after removing the camera's, their median;
- bitrate prior: the bits of the packet spread over its blocks, by differences of vectors, by the luma residual after
  motion compensation, and by steps of the quantiser, which only macroblocks with a coded residual can make;
- surprise: how far a block stands out of its own frame once camera motion and brightness are compensated, both against
  the frame before and against one half a second earlier. The second makes it blind to what is only uncovered again.

Codecs that export no vectors (HEVC, VP9, AV1) and decoded frames have the residual after global motion, from the
pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..config import CodecStreamConfig
from ..reading.decoding import DecodedFrame
from ..reading.packets import PacketTable
from ..reading.pictures import PlanarPicture
from .pooling import block_means, medians, pool
from .vectors import read_vectors


# A signal counts in multiples of its average over the group (plus a floor, so that the noise of a still scene is not
# blown up), up to SIGNAL_LIMIT of them, times its weight.
SIGNAL_LIMIT = 10.0
CHANGE_WEIGHT, CHANGE_FLOOR = 1.0, 1.0  # grey levels
MOTION_WEIGHT, MOTION_FLOOR = 0.1, 0.25  # pixels per frame
PRIOR_WEIGHT, PRIOR_FLOOR = 0.5, 1.0  # bits
# Surprise counts from this many robust deviations on, up to as many more.
SURPRISE_START = 10.0
SURPRISE_RANGE = 10.0
# Seconds between a frame and the earlier one that surprise compares it with.
MEMORY_SECONDS = 0.5
# Frames that differ by less than this on average, in grey levels, are not searched for camera motion.
STILL = 0.5
# The least share of a packet that is taken for residual rather than vectors.
MIN_RESIDUAL_SHARE = 0.1
# What a macroblock without a step of the quantiser counts, next to 1 for one with it: it may be coded as well.
UNCHANGED_QUANTISER = 0.05
# Pixels of luma that are worked on at once: several small frames, or one large one.
BATCH_PIXELS = 2**18

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass
class BlockScores:
    """Evidence of the frames of one group.

    Attributes:
        scores (`np.ndarray` of shape `(num_frames, block_rows, block_cols)`, float32): evidence per block, comparable
            across the frames of the group.
        surprise (`np.ndarray` of shape `(num_frames, block_rows, block_cols)`, float32): the part of it that stands
            out of its own frame, 0 for most blocks.
        bits (`np.ndarray` of shape `(num_frames, block_rows, block_cols)`, float32): estimated bits per block; for key
            frames what the others spend on such a change, 0 for sources without packets.
        cells (`np.ndarray` of shape `(num_frames, 3, cell_rows, cell_cols)`, float32): `pool_colours` of the frames.
        signal_source (`str`): `"motion+residual"`, `"residual"` where the decoder gave no vectors, or `"pixels"` for
            decoded frames, which have no packets either.
    """

    scores: np.ndarray
    surprise: np.ndarray
    bits: np.ndarray
    cells: np.ndarray
    signal_source: str


def is_bad_frame(picture: PlanarPicture) -> bool:
    """Whether a frame is near black, solid or the green of a lost picture: neither an anchor nor a source of blocks.

    The thresholds are those of `cv-preinfer`: luma mean ≤ 8 with deviation ≤ 6; luma and channel deviations ≤ 4 with
    channel ranges ≤ 12; ≥ 35 % of pixels with G ≥ 180 and R, B ≤ 90, or a mean G over 120 that exceeds the others by
    more than 80 with a deviation under 50.
    """
    # All but a few frames are ruled out by some 2000 of their pixels: none of the rules fits a varied, not green
    # frame.
    step = max(1, math.isqrt(math.prod(picture.size) // 2048))
    color, sample = picture.color, picture.planes[:, ::step, ::step].reshape(3, -1).astype(np.float32)
    luma = color.luma @ sample
    if luma.std() > 12:
        green_over = (color.matrix[1] - color.matrix[::2]) @ sample + (color.offset[1] - color.offset[::2])[:, None]
        if (green_over.min(axis=0) > 40).mean() < 0.1:
            return False
    pixels = picture.to_rgb().reshape(-1, 3).astype(np.float32)
    luma = pixels @ _LUMA
    mean, std = pixels.mean(axis=0), pixels.std(axis=0)
    if luma.mean() <= 8 and luma.std() <= 6:
        return True
    if luma.std() <= 4 and (std <= 4).all() and (np.ptp(pixels, axis=0) <= 12).all():
        return True
    red, green, blue = pixels.T
    if ((green >= 180) & (red <= 90) & (blue <= 90)).mean() >= 0.35:
        return True
    return bool(mean[1] > 120 and mean[1] - max(mean[0], mean[2]) > 80 and std[1] < 50)


def _cells_per_side(block: int, merge: int) -> int:
    """Cells along a block of `block` pixels: two per patch, or one where patches have an odd side."""
    return 2 * merge if block % (2 * merge) == 0 else merge


def pool_colours(picture: PlanarPicture, blocks_hw: tuple[int, int], merge: int = 2) -> np.ndarray:
    """Mean RGB of cells of half a patch (a patch where its side is odd).

    Args:
        picture (`PlanarPicture`): a frame at canvas size.
        blocks_hw (`tuple[int, int]`): blocks per column and row of the canvas.
        merge (`int`): patches per side of a block.

    Returns:
        `np.ndarray` of shape `(3, cell_rows, cell_cols)`, float32.
    """
    side = _cells_per_side(picture.size[0] // blocks_hw[0], merge)
    rows, cols = blocks_hw[0] * side, blocks_hw[1] * side
    cells = pool(picture.planes, rows, cols).reshape(3, -1)
    return (picture.color.matrix @ cells + picture.color.offset[:, None]).reshape(3, rows, cols)


def block_features(cells: np.ndarray, blocks_hw: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The state of every block that `select_state` compares.

    Args:
        cells (`np.ndarray` of shape `(num_frames, 3, cell_rows, cell_cols)`, float32): `pool_colours` of the frames.
        blocks_hw (`tuple[int, int]`): blocks per column and row of the canvas.
        size (`tuple[int, int]`): height and width of the canvas in pixels.

    Returns:
        `np.ndarray` of shape `(num_frames, block_rows, block_cols, feature_dim)`, float32: the colours of its cells,
        scaled so that a squared difference is the pooled block's sum of squared pixel differences.
    """
    (rows, cols), side = blocks_hw, cells.shape[2] // blocks_hw[0]
    features = cells * np.float32(np.sqrt(math.prod(size) / math.prod(cells.shape[2:])))
    features = features.reshape(len(cells), 3, rows, side, cols, side).transpose(0, 2, 4, 3, 5, 1)
    return features.reshape(len(cells), rows, cols, side * side * 3)


@dataclass(eq=False)
class FrameFeatures:
    """What a frame is compared with others by. Made of one frame alone, so that decoding threads can do it.

    Attributes:
        frame (`DecodedFrame`): the frame.
        cells (`np.ndarray` of shape `(3, cell_rows, cell_cols)`, float32): `pool_colours` of it.
        luma (`np.ndarray`, float32): luma at half the size of the canvas, or at full size where blocks have an odd
            side; half loses nothing that a score of whole blocks needs.
        pooled (`np.ndarray`, float32): means of two cells of luma along a block, so that noise averages out of them.
        small (`np.ndarray`, float32): luma at half its size, to find camera motion in.
    """

    frame: DecodedFrame
    cells: np.ndarray
    luma: np.ndarray
    pooled: np.ndarray
    small: np.ndarray

    @classmethod
    def of(cls, frame: DecodedFrame, blocks_hw: tuple[int, int], merge: int = 2) -> FrameFeatures:
        picture = frame.picture
        height, width = picture.size
        block = height // blocks_hw[0]
        step = 2 if block % 2 == 0 else 1
        factor = 2 if block // step % 2 == 0 else 1
        lumas = [
            pool(plane, height // step, width // step, scale=float(weight))
            for weight, plane in zip(picture.color.luma, picture.planes)
            if weight
        ]
        luma = lumas[0] if len(lumas) == 1 else sum(lumas)
        rows, cols = luma.shape[0] // 2, luma.shape[1] // 2
        return cls(
            frame=frame,
            cells=pool_colours(picture, blocks_hw, merge),
            luma=luma,
            pooled=pool(luma, factor * blocks_hw[0], factor * blocks_hw[1]),
            small=pool(luma[: 2 * rows, : 2 * cols], rows, cols),
        )


class _Group:
    """`FrameFeatures` of the frames of a group, stacked; there is room for more on the first axis of every array."""

    def __init__(self, blocks_hw: tuple[int, int]):
        self.blocks_hw = blocks_hw
        self.num_frames = 0
        self._spectra: dict[int, np.ndarray] = {}

    def extend(self, frames: list[FrameFeatures]) -> None:
        start, self.num_frames = self.num_frames, self.num_frames + len(frames)
        if not start:
            rows, cols = frames[0].small.shape
            self.window = np.outer(np.hanning(rows + 2)[1:-1], np.hanning(cols + 2)[1:-1]).astype(np.float32)
        for name in ("cells", "luma", "pooled", "small"):
            values = [getattr(frame, name) for frame in frames]
            array = getattr(self, name) if start else np.empty((0, *values[0].shape), np.float32)
            if len(array) < self.num_frames:
                larger = np.empty((max(self.num_frames, 2 * len(array)), *array.shape[1:]), np.float32)
                larger[:start] = array[:start]
                array = larger
                setattr(self, name, array)
            np.stack(values, out=array[start : self.num_frames])

    def spectra(self, frames: np.ndarray) -> np.ndarray:
        """Spectra of `small` for some frames, each computed once."""
        missing = np.array([frame for frame in frames.tolist() if frame not in self._spectra], dtype=np.int64)
        if len(missing):
            small = self.small[missing]
            spectra = np.fft.rfft2((small - small.mean(axis=(1, 2), keepdims=True)) * self.window)
            self._spectra.update(zip(missing.tolist(), spectra))
        return np.stack([self._spectra[frame] for frame in frames.tolist()])


def _shifted(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """`image`, whose last two axes are y and x, sampled at (x + dx, y + dy), bilinear, edges repeated."""
    height, width = image.shape[-2:]
    left, top = int(np.floor(dx)), int(np.floor(dy))
    fx, fy = np.float32(dx - left), np.float32(dy - top)
    out = image[..., np.clip(np.arange(height + 1) + top, 0, height - 1), :]
    out = out[..., :-1, :] + fy * (out[..., 1:, :] - out[..., :-1, :])
    out = out[..., np.clip(np.arange(width + 1) + left, 0, width - 1)]
    return out[..., :-1] + fx * (out[..., 1:] - out[..., :-1])


def _camera_shifts(group: _Group, current: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """Global translations in pixels of `luma`, by phase correlation; (0, 0) where none explains the difference.

    `current` at (x, y) shows what `earlier` showed at (x + dx, y + dy).

    Args:
        current (`np.ndarray` of shape `(num_pairs,)`, int64), earlier (likewise): frames of the group.

    Returns:
        float64 `np.ndarray` of shape `(num_pairs, 2)`: dx, dy.
    """
    shifts = np.zeros((len(current), 2))
    still = np.abs(group.small[current] - group.small[earlier]).mean(axis=(1, 2))
    pairs = np.flatnonzero(still >= STILL)
    if not len(pairs):
        return shifts
    cross = group.spectra(earlier[pairs]) * np.conj(group.spectra(current[pairs]))
    cross /= np.sqrt(cross.real**2 + cross.imag**2) + np.float32(1e-9)  # much faster than `np.abs`
    peaks = np.fft.irfft2(cross, group.window.shape)
    height, width = group.window.shape
    y, x = np.divmod(peaks.reshape(len(pairs), -1).argmax(axis=1), width)
    index = np.arange(len(pairs))
    at = peaks[index, y, x]

    def vertex(before, after):
        curvature = before - 2 * at + after
        return np.where(curvature < 0, (0.5 * (before - after) / np.minimum(curvature, -1e-12)).clip(-0.5, 0.5), 0.0)

    dy = y + vertex(peaks[index, y - 1, x], peaks[index, (y + 1) % height, x])
    dx = x + vertex(peaks[index, y, x - 1], peaks[index, y, (x + 1) % width])
    dy, dx = np.where(y > height // 2, dy - height, dy), np.where(x > width // 2, dx - width, dx)
    for pair, shift in zip(pairs.tolist(), np.stack([dx, dy], axis=1)):
        if np.abs(shift).max() >= 0.05:
            moved = np.abs(group.small[current[pair]] - _shifted(group.small[earlier[pair]], *shift.tolist())).mean()
            if moved < 0.9 * still[pair]:
                shifts[pair] = 2 * shift
    return shifts


def _brightness(current: np.ndarray, earlier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`current ≈ gain · earlier + offset` by least squares without outliers; (1, 0) where that explains nothing.

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


def _unexplained(
    group: _Group, current: np.ndarray, earlier: np.ndarray, want_luma: np.ndarray | None = None
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """What neither camera motion nor a change of brightness explains of the difference between two frames.

    Args:
        current (`np.ndarray` of shape `(num_pairs,)`, int64), earlier (likewise): frames of the group.
        want_luma (`np.ndarray` of shape `(num_pairs,)`, bool, *optional*): pairs to return the luma for.

    Returns:
        `(difference, luma)`: the difference of pooled cells per block, colour included, float32 grey levels of shape
        `(num_pairs, block_rows, block_cols)`; and, by pair, the earlier `luma` with motion and brightness compensated.
    """
    shifts = _camera_shifts(group, current, earlier)
    before, cells, lumas = group.pooled[earlier], group.cells[earlier], {}
    height, width = group.luma.shape[1:]
    for pair in np.flatnonzero(shifts.any(axis=1)).tolist():
        dx, dy = shifts[pair].tolist()
        lumas[pair] = _shifted(group.luma[earlier[pair]], dx, dy)
        before[pair] = pool(lumas[pair], *before.shape[1:])
        cells[pair] = _shifted(cells[pair], dx * cells.shape[3] / width, dy * cells.shape[2] / height)
    gain, offset = _brightness(group.pooled[current], before)
    difference = pool(np.abs(group.pooled[current] - gain * before - offset), *group.blocks_hw)
    colour = group.cells[current] - gain[:, None] * cells
    colour -= _mean_colour(colour)[:, None]
    difference += pool(_mean_colour(np.abs(colour)), *group.blocks_hw)
    if want_luma is None:
        return difference, {}
    return difference, {
        pair: gain[pair] * lumas.get(pair, group.luma[earlier[pair]]) + offset[pair]
        for pair in np.flatnonzero(want_luma).tolist()
    }


def _mean_colour(cells: np.ndarray) -> np.ndarray:
    """Mean of the three channels on axis 1."""
    return (cells[:, 0] + cells[:, 1] + cells[:, 2]) * np.float32(1 / 3)


def _standing_out(difference: np.ndarray) -> np.ndarray:
    """Robust deviation of every block from its frame: distance to the median over the median absolute deviation."""
    centred = difference - medians(difference)[:, None, None]
    return centred / (medians(np.abs(centred)) + np.float32(0.3))[:, None, None]


def _relative(signal: np.ndarray, floor: float) -> np.ndarray:
    """A signal in multiples of its average over the group, limited."""
    return np.minimum(signal / (signal.mean() + np.float32(floor)), np.float32(SIGNAL_LIMIT))


class BlockScorer:
    """Scores the blocks of the frames of one group while they arrive.

    Args:
        table (`PacketTable`): the packet table they come from.
        blocks_hw (`tuple[int, int]`): blocks per column and row of a canvas.
        source_hw (`tuple[int, int]`): height and width of the video in pixels, which vectors are given in.
    """

    def __init__(self, table: PacketTable, blocks_hw: tuple[int, int], source_hw: tuple[int, int]):
        self.table = table
        self.source_hw = source_hw
        self.blocks_hw = blocks_hw
        self.group = _Group(blocks_hw)
        self.frames: list[DecodedFrame] = []
        self.waiting: list[FrameFeatures] = []
        self.has_vectors = False
        # Change, motion, bits and surprise of the frames of each batch.
        self.parts: list[np.ndarray] = []

    def push(self, features: FrameFeatures) -> None:
        """Takes the next frame, with its `picture` at canvas size and, where the codec has them, `motion_vectors` and
        `quantiser_steps`."""
        self.frames.append(features.frame)
        self.waiting.append(features)
        if len(self.waiting) * features.luma.size >= BATCH_PIXELS:
            self._score()

    def finish(self) -> BlockScores:
        """The scores of all frames. The first one has nothing before it and scores 0."""
        if self.waiting:
            self._score()
        change, motion, bits, surprise = np.concatenate(self.parts, axis=1)
        # The bytes of a key frame say where the encoder put it. It counts as if it were predicted.
        is_key = self.table.is_key[[frame.index for frame in self.frames]]
        bits[is_key] = change[is_key] * (bits.sum() / max(change[~is_key].sum(), np.float32(1e-6)))

        scores = CHANGE_WEIGHT * _relative(change, CHANGE_FLOOR)
        scores += MOTION_WEIGHT * _relative(motion, MOTION_FLOOR)
        scores += PRIOR_WEIGHT * _relative(bits, PRIOR_FLOOR)
        surprise = np.clip(surprise - np.float32(SURPRISE_START), 0, np.float32(SURPRISE_RANGE))
        has_packets = self.table.size.any()
        source = "motion+residual" if self.has_vectors else "residual" if has_packets else "pixels"
        return BlockScores(scores + surprise, surprise, bits, self.group.cells[: len(self.frames)], source)

    def _score(self) -> None:
        group, frames, start = self.group, self.frames, self.group.num_frames
        group.extend(self.waiting)
        self.waiting = []
        part = np.zeros((4, len(frames) - start, *self.blocks_hw), dtype=np.float32)
        self.parts.append(part)
        change, motion, bits, surprise = part if start else part[:, 1:]
        current = np.arange(max(start, 1), len(frames))
        if not len(current):
            return
        change[:] = pool(_mean_colour(np.abs(group.cells[current] - group.cells[current - 1])), *self.blocks_hw)
        motion[:], vector_bits, residual, known = self._read_vectors(current)
        numbers = np.array([frame.index for frame in frames])
        size = 8.0 * self.table.size[numbers[current]]
        predicted = ~self.table.is_key[numbers[current]] & (size > 0)
        unexplained, compensated = _unexplained(group, current, current - 1, predicted & ~known)
        for pair, luma in compensated.items():
            residual[pair] = pool(np.abs(group.luma[current[pair]] - luma), *self.blocks_hw)
        stepped = [pair for pair, index in enumerate(current) if frames[index].quantiser_steps is not None]
        if stepped:
            steps = np.stack([frames[current[pair]].quantiser_steps for pair in stepped]).astype(np.float32)
            residual[stepped] *= np.sqrt(np.float32(UNCHANGED_QUANTISER) + block_means(steps, self.blocks_hw))
        for pair in np.flatnonzero(predicted).tolist():
            rest = max(size[pair] - vector_bits[pair].sum(), MIN_RESIDUAL_SHARE * size[pair])
            bits[pair] = vector_bits[pair] + residual[pair] * np.float32(rest / max(residual[pair].sum(), 1e-6))

        surprise[:] = _standing_out(unexplained)
        # What a frame half a second ago explains was there before and is only uncovered again.
        seconds = self.table.seconds[numbers]
        old = np.searchsorted(seconds, seconds[current] - MEMORY_SECONDS, side="right") - 1
        again = np.flatnonzero((old >= 0) & (old < current - 1) & (surprise.max(axis=(1, 2)) > SURPRISE_START))
        if len(again):
            explained_before, _ = _unexplained(group, current[again], old[again])
            surprise[again] = _standing_out(np.minimum(unexplained[again], explained_before))

    def _read_vectors(self, current: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`read_vectors` of those of the frames that have vectors, zeros for the others."""
        motion, vector_bits, residual = np.zeros((3, len(current), *self.blocks_hw), dtype=np.float32)
        known = np.zeros(len(current), dtype=bool)
        vectors = [self.frames[index].motion_vectors for index in current.tolist()]
        moving = np.flatnonzero([each is not None and len(each) > 0 for each in vectors])
        if len(moving):
            self.has_vectors = True
            motion[moving], vector_bits[moving], residual[moving], known[moving] = read_vectors(
                self.frames, self.group.luma, current[moving], self.table, self.blocks_hw, self.source_hw
            )
        return motion, vector_bits, residual, known


def score_blocks(
    frames: list[DecodedFrame],
    table: PacketTable,
    grid_hw: tuple[int, int],
    config: CodecStreamConfig,
    source_hw: tuple[int, int],
) -> BlockScores:
    """Scores of the frames of one group that are all there.

    Args:
        frames (`list[DecodedFrame]`): ascending, each with its `picture` at canvas size.
        table (`PacketTable`): the packet table they come from.
        grid_hw (`tuple[int, int]`): patches per column and row of a canvas.
        config (`CodecStreamConfig`): `merge` is used.
        source_hw (`tuple[int, int]`): height and width of the video in pixels, which vectors are given in.
    """
    blocks_hw = (grid_hw[0] // config.merge, grid_hw[1] // config.merge)
    scorer = BlockScorer(table, blocks_hw, source_hw)
    for frame in frames:
        scorer.push(FrameFeatures.of(frame, blocks_hw, config.merge))
    return scorer.finish()


def error_weights(surprise: np.ndarray) -> np.ndarray:
    """How much more than elsewhere an error matters to `select_state` where something stands out.

    Squared error alone is blind to small events that camera motion, noise or fades drown. The weight is relative to
    the group's average surprise, so that the few blocks of such an event count hundreds of times, and the many that
    stand out where everything moves only a few times.

    Args:
        surprise (`np.ndarray` of shape `(num_frames, block_rows, block_cols)`): of `BlockScores`.

    Returns:
        float32 `np.ndarray` of the same shape, at least 1.
    """
    return 1 + surprise / (surprise.mean() + np.float32(1e-3))
