# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Step 2, scoring: signals of frames as they arrive, a batch at a time, then the fused score of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from ..config import CodecStreamConfig
from ..reading.decoding import DecodedFrame
from ..reading.packets import PacketTable
from ..reading.pictures import PlanarPicture
from ..workers import Workers
from .compensation import unexplained
from .features import FrameFeatures
from .fusion import CONSTANTS, Evidence, fuse
from .pooling import block_sums, mean_colour, pool
from .signals.bitrate import fill_key_frames, spread_bits, vector_bits
from .signals.exact_bits import BitMaps, score_bits
from .signals.motion import MAX_REFERENCE_DISTANCE, MotionFields, find_references, motion_energy
from .signals.residual import residual_energy
from .signals.surprise import MEMORY_SECONDS, standing_out


# Pixels of luma that are worked on at once: several small frames, or one large one.
BATCH_PIXELS = 2**18


@dataclass
class Signals:
    """
    Signals of a batch of frames, float32 maps of shape `(num_frames, block_rows, block_columns)` in the units of
    [`Evidence`], before anything is known of the other batches.

    Attributes:
        motion, residual, bitrate, change, surprise: the maps.
        signal_source (`list[str]`): what was known of each frame.
    """

    motion: np.ndarray
    residual: np.ndarray
    bitrate: np.ndarray
    change: np.ndarray
    surprise: np.ndarray
    signal_source: list[str]


class Scorer:
    """
    Scores the frames of one group while they arrive.

    Args:
        table (`PacketTable`): the packet table they come from.
        size (`tuple[int, int]`): height and width of a canvas in pixels.
        source_hw (`tuple[int, int]`): height and width of the video in pixels, which vectors are given in.
        config (`CodecStreamConfig`): the options.
        bits (`BitMaps`, *optional*): exact bits of these frames and others, to score by them alone.
        submit (`Callable[..., Future]`, *optional*): has a function and its arguments worked on, perhaps in another
            thread; without it, all is done in the caller's.
    """

    def __init__(
        self,
        table: PacketTable,
        size: tuple[int, int],
        source_hw: tuple[int, int],
        config: CodecStreamConfig,
        bits: BitMaps | None = None,
        submit: Callable[..., Future] | None = None,
    ):
        self.table = table
        self.size = size
        self.source_hw = source_hw
        self.config = config
        self.bits = bits
        self._submit = submit or Workers(1).submit
        self.frame_ids: list[int] = []
        self.pictures: list[PlanarPicture] = []
        self._cells: list[np.ndarray] = []
        self._parts: list[Future] = []
        # Frames that are not measured yet, and those before them that they are compared with.
        self._batch: list[FrameFeatures] = []
        self._context: list[FrameFeatures] = []

    @property
    def blocks_hw(self) -> tuple[int, int]:
        """Blocks per column and row of a canvas."""
        return self.size[0] // self.config.factor, self.size[1] // self.config.factor

    @property
    def cells(self) -> np.ndarray:
        """`pool_colours` of the frames, float32 of shape `(num_frames, 3, cell_rows, cell_columns)`."""
        return np.stack(self._cells)

    def push(self, features: FrameFeatures) -> None:
        """Takes the next frame, with its `picture` at canvas size and, where the codec has them, `motion_vectors` and
        `quantiser_steps`."""
        self.frame_ids.append(features.frame.index)
        self.pictures.append(features.frame.picture)
        self._cells.append(features.cells)
        if self.bits is None:
            self._batch.append(features)
            if len(self._batch) * features.luma.size >= BATCH_PIXELS:
                self._measure()

    def finish(self) -> Evidence:
        """The evidence of all frames. The first one has nothing before it: its score is 0, except by exact bits."""
        if self._batch:
            self._measure()
        frame_ids = np.array(self.frame_ids, dtype=np.int64)
        place = {"frame_ids": frame_ids, "seconds": self.table.seconds[frame_ids]}
        if self.bits is not None:
            maps = self.bits.take(self.frame_ids)
            score = score_bits(maps, self.size, self.config)
            bits = block_sums(maps.bits[:, :, : maps.columns].astype(np.float32), self.blocks_hw)
            others = dict.fromkeys(("motion", "residual", "change", "surprise"), np.zeros_like(score))
            return Evidence(bitrate=bits, score=score, signal_source=np.full(len(score), "bits"), **others, **place)
        parts: list[Signals] = [part.result() for part in self._parts]
        maps = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("motion", "residual", "bitrate", "change", "surprise")
        }
        fill_key_frames(maps["bitrate"], maps["change"], self.table.is_key[frame_ids])
        surprise = maps["surprise"] - np.float32(CONSTANTS.surprise_start)
        maps["surprise"] = np.clip(surprise, 0, np.float32(CONSTANTS.surprise_range))
        source = np.concatenate([part.signal_source for part in parts])
        return Evidence(score=fuse(**maps, config=self.config), signal_source=source, **maps, **place)

    def _measure(self) -> None:
        known = self._context + self._batch
        self._parts.append(
            self._submit(measure, known, len(self._context), self.table, self.blocks_hw, self.source_hw)
        )
        # What frames to come may be compared with: their references, and what was shown half a second before.
        last = known[-1].frame.index
        seconds = self.table.seconds[[each.frame.index for each in known]]
        old = int(np.searchsorted(seconds, self.table.seconds[last] - MEMORY_SECONDS, side="right")) - 1
        near = next(at for at, each in enumerate(known) if each.frame.index > last - MAX_REFERENCE_DISTANCE)
        self._context, self._batch = known[max(0, min(old, near)) :], []


def measure(
    features: Sequence[FrameFeatures],
    start: int,
    table: PacketTable,
    blocks_hw: tuple[int, int],
    source_hw: tuple[int, int],
) -> Signals:
    """
    Signals of some frames, from them and from those before them alone: batches can be worked on in any order.

    Args:
        features (`Sequence[FrameFeatures]`): of frames of a group, ascending.
        start (`int`): the first of them to measure; those before it are only compared with.
        table (`PacketTable`): the packet table they come from.
        blocks_hw (`tuple[int, int]`): blocks per column and row of a canvas.
        source_hw (`tuple[int, int]`): height and width of the video in pixels.
    """
    maps = np.zeros((5, len(features) - start, *blocks_hw), dtype=np.float32)
    kind = "residual" if table.size.any() else "pixels"
    signals = Signals(*maps, signal_source=[kind] * maps.shape[1])
    # The first frame of a group has nothing before it.
    motion, residual, bitrate, change, surprise = maps if start else maps[:, 1:]
    first = max(start, 1)
    if first == len(features):
        return signals
    current, before = features[first:], features[first - 1 : -1]
    frames = [each.frame for each in current]
    cells = np.stack([each.cells for each in features[first - 1 :]])
    change[:] = pool(mean_colour(np.abs(np.diff(cells, axis=0))), *blocks_hw)

    bits_of_vectors, known = np.zeros_like(motion), np.zeros(len(current), dtype=bool)
    moving = [at for at, frame in enumerate(frames) if frame.motion_vectors is not None and len(frame.motion_vectors)]
    if moving:
        references = [find_references(table, frames[at].index) for at in moving]
        fields = MotionFields([frames[at] for at in moving], references, source_hw, blocks_hw)
        motion[moving] = motion_energy(fields, blocks_hw)
        position = {each.frame.index: at for at, each in enumerate(features)}
        sources = [[position[index] for index in past if index in position] for past, _ in references]
        predicted = np.array([frames[at].pict_type == "P" for at in moving]) & np.array(list(map(bool, sources)))
        if predicted.any():
            known[np.array(moving)[predicted]] = True
            fields = fields.take(predicted)
            sources = np.array([(past[0], past[-1]) for past, use in zip(sources, predicted) if use]).T
            used, sources = np.unique(sources, return_inverse=True)
            residual[known] = residual_energy(
                np.stack([each.luma for each, use in zip(current, known) if use]),
                np.stack([features[at].luma for at in used.tolist()]),
                sources.reshape(2, -1),
                fields,
                blocks_hw,
                source_hw,
            )
            bits_of_vectors[known] = vector_bits(fields, blocks_hw)
    numbers = [frame.index for frame in frames]
    size = 8.0 * table.size[numbers]
    predicted = ~table.is_key[numbers] & (size > 0)
    left, compensated = unexplained(list(zip(current, before)), blocks_hw, predicted & ~known)
    for at, luma in compensated.items():
        residual[at] = pool(np.abs(current[at].luma - luma), *blocks_hw)
    chosen = np.flatnonzero(predicted)
    bitrate[chosen] = spread_bits(
        [frames[at] for at in chosen.tolist()], size[chosen], bits_of_vectors[chosen], residual[chosen]
    )

    surprise[:] = standing_out(left)
    # What a frame half a second ago explains was there before and is only uncovered again.
    seconds = table.seconds[[each.frame.index for each in features]]
    old = np.searchsorted(seconds, seconds[first:] - MEMORY_SECONDS, side="right") - 1
    again = (old >= 0) & (old < np.arange(first, len(features)) - 1)
    again = np.flatnonzero(again & (surprise.max(axis=(1, 2)) > CONSTANTS.surprise_start))
    if len(again):
        earlier, _ = unexplained([(current[at], features[old[at]]) for at in again.tolist()], blocks_hw)
        surprise[again] = standing_out(np.minimum(left[again], earlier))
    for at in moving:
        signals.signal_source[first - start + at] = "motion+residual" if known[at] else "motion"
    return signals


def score_frames(
    frames: Iterable[DecodedFrame],
    table: PacketTable,
    size: tuple[int, int],
    source_hw: tuple[int, int],
    config: CodecStreamConfig,
) -> tuple[Evidence, np.ndarray]:
    """
    Evidence of the frames of one group that are all there, and their cells; see [`Scorer`].

    Args:
        frames (`Iterable[DecodedFrame]`): ascending, each with its `picture` at canvas size.
    """
    scorer = Scorer(table, size, source_hw, config)
    for frame in frames:
        scorer.push(FrameFeatures.of(frame, scorer.blocks_hw, config.merge))
    return scorer.finish(), scorer.cells
