# Copyright 2026 The transformers_ov2 authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Step 2, scoring: what each 2×2 block of patches of a frame adds to what was shown before.

Four signals are fused into one score, each in units that compare across the frames of a group:

- change: colour difference to the frame before, pooled to small cells, so that sensor noise averages out;
- motion energy: length of the codec's quarter-pel vectors after removing the camera's, their median;
- bitrate prior: the bits of the packet spread over its blocks, by vector differences and by the luma residual that is
  left after motion compensation;
- surprise: how far a block stands out of its own frame once camera motion and brightness are compensated, both against
  the frame before and against one half a second earlier. The second makes it blind to what is only uncovered again.

Codecs that export no vectors (HEVC, VP9, AV1) and decoded frames have the residual after global motion, from the
pictures.
"""

from dataclasses import dataclass

import numpy as np


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
# Side in pixels of the cells of the motion field; of H.264's partitions only those of 4 pixels are smaller.
FIELD_CELL = 8
# The least share of a packet that is taken for residual rather than vectors.
MIN_RESIDUAL_SHARE = 0.1

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_THIRD = np.full(3, 1 / 3, dtype=np.float32)


@dataclass
class BlockScores:
    """Evidence of the frames of one group.

    Attributes:
        scores (`np.ndarray` of shape `(num_frames, block_rows, block_cols)`, float32): evidence per block, comparable
            across the frames of the group.
        surprise (`np.ndarray` of shape `(num_frames, block_rows, block_cols)`, float32): the part of it that stands
            out
            of its own frame, 0 for most blocks.
        bits (`np.ndarray` of shape `(num_frames, block_rows, block_cols)`, float32): estimated bits per block; for key
            frames what the others spend on such a change, 0 for sources without packets.
        signal_source (`str`): `"motion+residual"`, `"residual"` where the decoder gave no vectors, or `"pixels"` for
            decoded frames, which have no packets either.
    """

    scores: np.ndarray
    surprise: np.ndarray
    bits: np.ndarray
    signal_source: str


def is_bad_frame(image: np.ndarray) -> bool:
    """Whether a frame is near black, solid or the green of a lost picture: neither an anchor nor a source of blocks.

    The thresholds are those of `cv-preinfer`: luma mean ≤ 8 with deviation ≤ 6; luma and channel deviations ≤ 4 with
    channel ranges ≤ 12; ≥ 35 % of pixels with G ≥ 180 and R, B ≤ 90, or a mean G over 120 that exceeds the others by
    more than 80 with a deviation under 50.

    Args:
        image (`np.ndarray` of shape `(height, width, 3)`, uint8): RGB.
    """
    # All but a few frames are ruled out by a sixteenth of their pixels: none of the rules fits a varied, not green
    # frame.
    sample = image[::4, ::4].reshape(-1, 3)
    green_over = sample[:, 1].astype(np.int16) - np.maximum(sample[:, 0], sample[:, 2])
    if sample[:, 1].std() > 12 and (green_over > 40).mean() < 0.1:
        return False
    pixels = image.reshape(-1, 3).astype(np.float32)
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


def _pool(image: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Means of `rows × cols` cells of `[height, width]` float32 or `[height, width, channels]` uint8, as float32."""
    height, width = image.shape[0] // rows, image.shape[1] // cols
    if image.ndim == 2:
        sums = image.reshape(rows, height, -1).sum(axis=1).reshape(rows, cols, width).sum(axis=2)
    else:
        # Adding slices beats a reduction along a short axis, in the narrowest type that holds the sum.
        strips = image.reshape(rows, height, -1)
        sums = strips[:, 0].astype(np.uint16 if height * width <= 257 else np.uint32)
        for row in range(1, height):
            sums += strips[:, row]
        strips = sums.reshape(rows, cols, width, -1)
        sums = strips[:, :, 0].copy()
        for col in range(1, width):
            sums += strips[:, :, col]
    return sums * np.float32(1 / (height * width))


def _cells_per_side(block: int, merge: int) -> int:
    """Cells along a block of `block` pixels: two per patch, or one where patches have an odd side."""
    return 2 * merge if block % (2 * merge) == 0 else merge


def block_features(images: np.ndarray, grid_hw: tuple[int, int], merge: int = 2) -> np.ndarray:
    """Pooled colours of every block: the state that `select_state` compares.

    Args:
        images (`np.ndarray` of shape `(num_frames, height, width, 3)`, uint8, or a list of frames): RGB at canvas
            size.
        grid_hw (`tuple[int, int]`): patches per column and row of the canvas.
        merge (`int`): patches per side of a block.

    Returns:
        `np.ndarray` of shape `(num_frames, block_rows, block_cols, feature_dim)`, float32: mean colour of cells of
        half a patch, scaled so that a squared difference is the pooled block's sum of squared pixel differences.
    """
    rows, cols = grid_hw[0] // merge, grid_hw[1] // merge
    height, width = images[0].shape[:2]
    side = _cells_per_side(height // rows, merge)
    pooled = np.stack([_pool(image, rows * side, cols * side) for image in images])
    pooled *= np.sqrt(height * width / (rows * cols * side * side))
    pooled = pooled.reshape(len(images), rows, side, cols, side, 3).transpose(0, 1, 3, 2, 4, 5)
    return pooled.reshape(len(images), rows, cols, side * side * 3)


class _Picture:
    """What is kept of a frame to compare it with others."""

    def __init__(self, image: np.ndarray, blocks_hw: tuple[int, int], merge: int):
        height, width = image.shape[:2]
        block = height // blocks_hw[0]
        cells = _cells_per_side(block, merge)
        self.cells = _pool(image, cells * blocks_hw[0], cells * blocks_hw[1])  # [cell_rows, cell_cols, 3]
        # Half size loses nothing that a score of whole blocks needs.
        self.step = 2 if block % 2 == 0 else 1
        if self.step == 2:
            rows = image[0::2].astype(np.uint16) + image[1::2]
            luma = (rows.reshape(-1, 3).astype(np.float32) @ _LUMA).reshape(height // 2, width)
            self.luma = (luma[:, 0::2] + luma[:, 1::2]) * np.float32(0.25)  # [height / 2, width / 2]
        else:
            self.luma = image.astype(np.float32) @ _LUMA
        # Two luma cells along a block: noise averages out of them.
        factor = 2 if block // self.step % 2 == 0 else 1
        self.pooled = _pool(self.luma, factor * blocks_hw[0], factor * blocks_hw[1])
        small = self.luma[: self.luma.shape[0] // 2 * 2, : self.luma.shape[1] // 2 * 2]
        small = small[0::2] + small[1::2]
        self.small = (small[:, 0::2] + small[:, 1::2]) * np.float32(0.25)
        self._spectrum = None

    def spectrum(self, window: np.ndarray) -> np.ndarray:
        if self._spectrum is None:
            self._spectrum = np.fft.rfft2((self.small - self.small.mean()) * window)
        return self._spectrum


def _shifted(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """`image` sampled at (x + dx, y + dy), bilinear, edges repeated."""
    height, width = image.shape[:2]
    left, top = int(np.floor(dx)), int(np.floor(dy))
    fx, fy = np.float32(dx - left), np.float32(dy - top)
    out = image[np.clip(np.arange(height + 1) + top, 0, height - 1)]
    out = out[:-1] + fy * (out[1:] - out[:-1])
    out = out[:, np.clip(np.arange(width + 1) + left, 0, width - 1)]
    return out[:, :-1] + fx * (out[:, 1:] - out[:, :-1])


def _camera_shift(current: _Picture, earlier: _Picture, window: np.ndarray) -> tuple[float, float]:
    """Global translation in pixels of `luma`, by phase correlation; (0, 0) when it does not explain the difference.

    `current` at (x, y) shows what `earlier` showed at (x + dx, y + dy).
    """
    still = np.abs(current.small - earlier.small).mean()
    if still < STILL:
        return 0.0, 0.0
    cross = earlier.spectrum(window) * np.conj(current.spectrum(window))
    cross /= np.abs(cross) + 1e-9
    peak = np.fft.irfft2(cross, window.shape)
    height, width = window.shape
    y, x = divmod(int(peak.argmax()), width)

    def vertex(before, at, after):
        curvature = before - 2 * at + after
        return 0.0 if curvature >= 0 else float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5))

    dy = y + vertex(peak[y - 1, x], peak[y, x], peak[(y + 1) % height, x])
    dx = x + vertex(peak[y, x - 1], peak[y, x], peak[y, (x + 1) % width])
    dy, dx = (dy - height if y > height // 2 else dy), (dx - width if x > width // 2 else dx)
    if max(abs(dx), abs(dy)) < 0.05:
        return 0.0, 0.0
    moved = np.abs(current.small - _shifted(earlier.small, dx, dy)).mean()
    return (2 * dx, 2 * dy) if moved < 0.9 * still else (0.0, 0.0)


def _brightness(current: np.ndarray, earlier: np.ndarray) -> tuple[np.float32, np.float32]:
    """`current ≈ gain · earlier + offset` by least squares without outliers; (1, 0) when that explains nothing."""
    x, y = earlier.ravel(), current.ravel()
    keep = np.ones_like(x)
    for _ in range(2):
        total = keep.sum()
        kept = keep * x
        mean_x, mean_y = kept.sum() / total, keep @ y / total
        gain = (kept @ y / total - mean_x * mean_y) / (kept @ x / total - mean_x * mean_x + 1)
        offset = mean_y - gain * mean_x
        error = np.abs(y - gain * x - offset)
        keep = (error <= 3 * _median(error) + 0.5).astype(np.float32)
    if error.sum() < 0.9 * np.abs(y - x).sum():
        return np.float32(gain), np.float32(offset)
    return np.float32(1), np.float32(0)


def _unexplained(
    current: _Picture, earlier: _Picture, window: np.ndarray, blocks_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What neither camera motion nor a change of brightness explains of the difference between two frames.

    Returns:
        `(difference, luma)`: the difference of pooled cells per block, colour included, float32 grey levels of shape
        `(block_rows, block_cols)`; and `earlier.luma` with motion and brightness compensated.
    """
    dx, dy = _camera_shift(current, earlier, window)
    luma, cells, before = earlier.luma, earlier.cells, earlier.pooled
    if dx or dy:
        luma = _shifted(luma, dx, dy)
        cells = _shifted(cells, dx * cells.shape[1] / luma.shape[1], dy * cells.shape[0] / luma.shape[0])
        before = _pool(luma, *before.shape)
    gain, offset = _brightness(current.pooled, before)
    difference = _pool(np.abs(current.pooled - gain * before - offset), *blocks_hw)
    colour = current.cells - gain * cells
    colour -= (colour @ _THIRD)[:, :, None]
    difference += _pool(np.abs(colour) @ _THIRD, *blocks_hw)
    return difference, (luma if (gain, offset) == (1, 0) else gain * luma + offset)


def _median(values: np.ndarray) -> np.float32:
    """The upper median: `np.median` spends most of its time on other things for arrays this small."""
    return np.partition(values, values.size // 2, axis=None)[values.size // 2]


def _standing_out(difference: np.ndarray) -> np.ndarray:
    """Robust deviation of every block from its frame: distance to the median over the median absolute deviation."""
    centred = difference - _median(difference)
    return centred / (_median(np.abs(centred)) + np.float32(0.3))


class _MotionField:
    """A frame's motion vectors on a grid of `FIELD_CELL` pixels.

    Attributes:
        velocity (`np.ndarray` of shape `(rows, cols)`, complex64): x + i·y in pixels per frame, from a cell towards
            what
            it showed one frame earlier.
        past_span (`int`): frames between this picture and the one its backward vectors point to.
    """

    def __init__(self, frame, table, source_hw: tuple[int, int], past: list[int], future: list[int]):
        vectors = frame.motion_vectors
        rows, cols = -(-source_hw[0] // FIELD_CELL), -(-source_hw[1] // FIELD_CELL)
        self.past_span = frame.index - past[0] if past else 1
        backward = vectors["source"] < 0
        # Future sources lie the other way. Where a cell has both, the past one is written last and stays.
        span = np.where(backward, self.past_span, frame.index - future[0] if future else -1)
        span = span * np.maximum(vectors["motion_scale"], 1).astype(np.int64)
        velocity = np.empty(len(vectors), dtype=np.complex64)
        velocity.real = vectors["motion_x"] / span
        velocity.imag = vectors["motion_y"] / span
        wide, high = vectors["w"].astype(np.int64), vectors["h"].astype(np.int64)
        left = np.maximum((vectors["dst_x"] - wide // 2) // FIELD_CELL, 0)
        top = np.maximum((vectors["dst_y"] - high // 2) // FIELD_CELL, 0)
        at = top * cols + left
        inside = (top < rows) & (left < cols)
        field = np.zeros(rows * cols, dtype=np.complex64)
        for direction in (~backward & inside, backward & inside):
            # One write for each cell of the largest partition, 2x2 for H.264's 16x16.
            for dy in range(0, int(high.max()), FIELD_CELL):
                for dx in range(0, int(wide.max()), FIELD_CELL):
                    covers = direction & ((high > dy) | (dy == 0)) & ((wide > dx) | (dx == 0))
                    if dx:
                        covers &= left + dx // FIELD_CELL < cols
                    if dy:
                        covers &= top + dy // FIELD_CELL < rows
                    field[at[covers] + dy // FIELD_CELL * cols + dx // FIELD_CELL] = velocity[covers]
        self.velocity = field.reshape(rows, cols)

    def energy(self) -> np.ndarray:
        """Length of the vectors after removing the camera's motion, their median; pixels per frame."""
        sample = self.velocity[::2, ::2]
        return np.abs(self.velocity - np.complex64(complex(_median(sample.real), _median(sample.imag))))

    def vector_bits(self) -> np.ndarray:
        """Rough cost of the vectors: a bit for each edge between different ones, and the length of the difference."""
        bits = np.zeros(self.velocity.shape, dtype=np.float32)
        quarter_pels = self.velocity * np.float32(4 * self.past_span)
        edge = np.float32(FIELD_CELL / 4)  # in units of the codec's 4-pixel blocks
        for axis, inner in ((1, np.s_[:, 1:]), (0, np.s_[1:])):
            step = np.abs(np.diff(quarter_pels, axis=axis))
            bits[inner] += edge * ((step > 0.5) + np.float32(0.25) * np.log2(1 + step))
        return bits


def _overlap(cells: int, blocks: int) -> np.ndarray:
    """Share of each of `cells` equal intervals that falls into each of `blocks`, float32 `[blocks, cells]`."""
    edges = np.arange(cells + 1) * (blocks / cells)
    low, high = edges[:-1], edges[1:]
    block = np.arange(blocks)[:, None]
    shared = np.minimum(high, block + 1) - np.maximum(low, block)
    return (np.maximum(shared, 0) * (cells / blocks)).astype(np.float32)


def _compensated_residual(
    current: _Picture, sources: list[_Picture], field: _MotionField, source_hw: tuple[int, int], blocks_hw
) -> np.ndarray:
    """Luma residual per block after the codec's own motion compensation, against the better of the possible sources.

    FFmpeg does not tell which picture a vector points to, only that it is an earlier one. Every second pixel of `luma`
    in both directions is looked at.
    """
    height, width = current.luma.shape
    y, x = np.arange(0, height, 2), np.arange(0, width, 2)
    rows, cols = field.velocity.shape
    cell_y = np.minimum(((y + 0.5) * (source_hw[0] / height / FIELD_CELL)).astype(np.int64), rows - 1)
    cell_x = np.minimum(((x + 0.5) * (source_hw[1] / width / FIELD_CELL)).astype(np.int64), cols - 1)
    flow = field.velocity[cell_y[:, None], cell_x] * np.float32(field.past_span)
    source_x = x.astype(np.float32) + flow.real * np.float32(width / source_hw[1])
    source_y = y[:, None].astype(np.float32) + flow.imag * np.float32(height / source_hw[0])
    source_x = source_x.clip(0, np.float32(max(width - 1.001, 0)))
    source_y = source_y.clip(0, np.float32(max(height - 1.001, 0)))
    left, top = source_x.astype(np.int64), source_y.astype(np.int64)
    fx, fy = source_x - left, source_y - top
    at = top * width + left
    right, below = int(width > 1), width * int(height > 1)
    residual = None
    for source in sources:
        pixels = source.luma.ravel()
        upper = pixels[at] + fx * (pixels[at + right] - pixels[at])
        lower = pixels[at + below] + fx * (pixels[at + below + right] - pixels[at + below])
        error = np.abs(current.luma[::2, ::2] - upper - fy * (lower - upper))
        residual = error if residual is None else np.minimum(residual, error)
    rows, cols = residual.shape
    if rows % blocks_hw[0] == 0 and cols % blocks_hw[1] == 0:
        return _pool(residual, *blocks_hw)
    return _overlap(rows, blocks_hw[0]) @ residual @ _overlap(cols, blocks_hw[1]).T


def _relative(signal: np.ndarray, floor: float) -> np.ndarray:
    """A signal in multiples of its average over the group, limited."""
    return np.minimum(signal / (signal.mean() + np.float32(floor)), np.float32(SIGNAL_LIMIT))


def score_blocks(frames: list, table, grid_hw: tuple[int, int], config, source_hw: tuple[int, int]) -> BlockScores:
    """One score per 2×2 block of every frame of a group.

    Args:
        frames (`list[DecodedFrame]`): frames of one group, ascending, each with `image` at canvas size and, where the
            codec has them, `motion_vectors`.
        table (`PacketTable`): the packet table they come from.
        grid_hw (`tuple[int, int]`): patches per column and row of a canvas.
        config (`CodecStreamConfig`): `merge` is used.
        source_hw (`tuple[int, int]`): height and width of the video in pixels, which vectors are given in.

    Returns:
        `BlockScores`. The first frame has nothing before it and scores 0.
    """
    blocks_hw = (grid_hw[0] // config.merge, grid_hw[1] // config.merge)
    shape = (len(frames), *blocks_hw)
    change, motion, bits, surprise = (np.zeros(shape, dtype=np.float32) for _ in range(4))
    seconds = table.seconds[[frame.index for frame in frames]]
    memory = np.searchsorted(seconds, seconds - MEMORY_SECONDS, side="right") - 1
    pictures: dict[int, _Picture] = {}  # by presentation index
    rows = cols = None  # which share of the motion field's cells falls into each block
    for position, frame in enumerate(frames):
        current = pictures[frame.index] = _Picture(frame.image, blocks_hw, config.merge)
        if position == 0:
            height, width = current.small.shape
            window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]).astype(np.float32)
            continue
        previous = pictures[frames[position - 1].index]
        change[position] = _pool(np.abs(current.cells - previous.cells) @ _THIRD, *blocks_hw)
        unexplained, compensated = _unexplained(current, previous, window, blocks_hw)
        surprise[position] = _standing_out(unexplained)
        # What a frame half a second ago explains was there before and is only uncovered again.
        if 0 <= memory[position] < position - 1 and surprise[position].max() > SURPRISE_START:
            old = pictures[frames[memory[position]].index]
            unexplained = np.minimum(unexplained, _unexplained(current, old, window, blocks_hw)[0])
            surprise[position] = _standing_out(unexplained)

        vector_bits, residual = np.float32(0), None
        vectors = frame.motion_vectors
        if vectors is not None and len(vectors):
            past, future = _references(table, frame.index)
            field = _MotionField(frame, table, source_hw, past, future)
            if rows is None:
                rows = _overlap(field.velocity.shape[0], blocks_hw[0])
                cols = _overlap(field.velocity.shape[1], blocks_hw[1])
            motion[position] = rows @ field.energy() @ cols.T * (blocks_hw[0] * blocks_hw[1] / field.velocity.size)
            sources = [pictures[index] for index in past if index in pictures]
            if frame.pict_type == "P" and sources:
                vector_bits = rows @ field.vector_bits() @ cols.T
                residual = _compensated_residual(current, sources, field, source_hw, blocks_hw)
        if not table.is_key[frame.index] and table.size[frame.index]:
            if residual is None:
                residual = _pool(np.abs(current.luma - compensated), *blocks_hw)
            size = 8.0 * table.size[frame.index]
            rest = max(size - vector_bits.sum(), MIN_RESIDUAL_SHARE * size)
            bits[position] = vector_bits + residual * np.float32(rest / max(residual.sum(), 1e-6))
        for stale in frames[max(memory[position - 1], 0) : max(memory[position], 0)]:
            del pictures[stale.index]

    # The bytes of a key frame say where the encoder put it. It counts as if it were predicted.
    key = table.is_key[[frame.index for frame in frames]]
    bits[key] = change[key] * (bits.sum() / max(change[~key].sum(), np.float32(1e-6)))

    scores = CHANGE_WEIGHT * _relative(change, CHANGE_FLOOR)
    scores += MOTION_WEIGHT * _relative(motion, MOTION_FLOOR)
    scores += PRIOR_WEIGHT * _relative(bits, PRIOR_FLOOR)
    surprise = np.clip(surprise - np.float32(SURPRISE_START), 0, np.float32(SURPRISE_RANGE))
    source = "motion+residual" if rows is not None else "residual" if table.size.any() else "pixels"
    return BlockScores(scores + surprise, surprise, bits, source)


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


def _references(table, index: int) -> tuple[list[int], list[int]]:
    """Presentation indices of the last two reference pictures shown before a frame and of the next one shown after it,
    among those decoded before it."""
    low, high = max(0, index - 16), min(table.num_frames, index + 17)
    known = np.arange(low, high)[
        table.is_reference[low:high] & (table.decode_index[low:high] < table.decode_index[index])
    ]
    return known[known < index][:-3:-1].tolist(), known[known > index][:1].tolist()
