# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Step 2, scoring: signals of frames as they arrive, a batch at a time, then the fused score of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from ..config import CodecStreamConfig
from ..reading.decoding import DecodedFrame
from ..reading.packets import PacketTable
from ..reading.pictures import PlanarPicture
from ..workers import Workers
from .compensation import compensate
from .features import FrameFeatures
from .fusion import CONSTANTS, Evidence, fuse, surprise
from .pooling import colour_distance, pool
from .signals.bitrate import fill_key_frames, spread_bits, vector_bits
from .signals.exact_bits import BitMaps, score_bits
from .signals.motion import MAX_REFERENCE_DISTANCE, MotionFields, find_references, motion_energy
from .signals.residual import residual_energy
from .signals.surprise import Habit, blocks_of, deviations, explain_by_motion, passing


# Values of `FrameFeatures.colours` that are worked on at once: several small frames, or one large one.
BATCH_VALUES = 2**19


@dataclass
class Signals:
    """
    Signals of a batch of frames, float32 maps of shape `(num_frames, block_rows, block_columns)` in the units of
    [`Evidence`], before anything is known of the other batches.

    Attributes:
        motion, residual, bitrate, change: the maps.
        deviation: how far a block stands out of its frame, robust deviations, before habits count.
        signal_source (`list[str]`): what was known of each frame.
    """

    motion: np.ndarray
    residual: np.ndarray
    bitrate: np.ndarray
    change: np.ndarray
    deviation: np.ndarray
    signal_source: list[str]


class Scorer:
    """
    Scores the frames of a video while they arrive, and fuses the scores of a group when it is complete.

    Args:
        table (`PacketTable`): the packet table they come from.
        size (`tuple[int, int]`): height and width of a canvas in pixels.
        source_hw (`tuple[int, int]`): height and width of the video in pixels, which vectors are given in.
        config (`CodecStreamConfig`): the options.
        bits (`BitMaps`, *optional*): exact bits of these frames and others, to score by them alone.
        submit (`Callable[..., Future]`, *optional*): has a function and its arguments worked on, perhaps in another
            thread; without it, all is done in the caller's.
        hold (`bool`, *optional*, defaults to `True`): whether `pictures` are kept until a group is complete.
    """

    def __init__(
        self,
        table: PacketTable,
        size: tuple[int, int],
        source_hw: tuple[int, int],
        config: CodecStreamConfig,
        bits: BitMaps | None = None,
        submit: Callable[..., Future] | None = None,
        hold: bool = True,
    ):
        self.table = table
        self.size = size
        self.source_hw = source_hw
        self.config = config
        self.bits = bits
        self._submit = submit or Workers(1).submit
        self.hold = hold
        self._habit = Habit(CONSTANTS.habit_seconds)
        # Frames that are not measured yet, and those before them that they are compared with.
        self._batch: list[FrameFeatures] = []
        self._context: list[FrameFeatures] = []
        self._start_group()

    def _start_group(self) -> None:
        self.frame_ids: list[int] = []
        self.pictures: list[PlanarPicture] = []
        self._parts: list[Future] = []

    @property
    def blocks_hw(self) -> tuple[int, int]:
        """Blocks per column and row of a canvas."""
        return self.size[0] // self.config.factor, self.size[1] // self.config.factor

    def push(self, frame: DecodedFrame) -> None:
        """Takes the next frame, with its `picture` at canvas size and, where the codec has them, `motion_vectors` and
        `quantiser_steps`."""
        self.frame_ids.append(frame.index)
        if self.hold:
            self.pictures.append(frame.picture)
        if self.bits is None:
            self._batch.append(FrameFeatures.of(frame, self.blocks_hw))
            if len(self._batch) * self._batch[0].colours.size >= BATCH_VALUES:
                self._measure()

    def finish(self) -> Evidence:
        """
        The evidence of the frames since the last call, a group.

        The first frame of the video has nothing before it: its score is 0, except by exact bits.
        """
        if self._batch:
            self._measure()
        frame_ids = np.array(self.frame_ids, dtype=np.int64)
        parts: list[Signals] = [part.result() for part in self._parts]
        self._start_group()
        place = {"frame_ids": frame_ids, "seconds": self.table.seconds[frame_ids]}
        if self.bits is not None:
            maps = self.bits.take(frame_ids.tolist())
            score = score_bits(maps, self.size, self.config)
            bits = maps.block_sums(maps.bits[:, :, : maps.columns], self.blocks_hw)
            others = dict.fromkeys(("motion", "residual", "change", "surprise"), np.zeros_like(score))
            source = np.full(len(score), "bits")
            return Evidence(bitrate=bits, score=score, signal_source=source, **others, **place)
        maps = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("motion", "residual", "bitrate", "change", "deviation")
        }
        fill_key_frames(maps["bitrate"], maps["change"], self.table.is_key[frame_ids])
        deviation = maps.pop("deviation")
        lasting = self._habit.exceed(deviation, place["seconds"])
        lasting -= np.float32(CONSTANTS.passing_penalty) * passing(deviation)
        maps["surprise"] = surprise(lasting)
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
        old = int(np.searchsorted(seconds, self.table.seconds[last] - CONSTANTS.memory_seconds, side="right")) - 1
        near = next(at for at, each in enumerate(known) if each.frame.index > last - MAX_REFERENCE_DISTANCE)
        first = max(0, min(old, near))
        self._context = [each.remembered(at >= near) for at, each in enumerate(known[first:], first)]
        self._batch = []


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
        features (`Sequence[FrameFeatures]`): of frames of a video, ascending.
        start (`int`): the first of them to measure; those before it are only compared with.
        table (`PacketTable`): the packet table they come from.
        blocks_hw (`tuple[int, int]`): blocks per column and row of a canvas.
        source_hw (`tuple[int, int]`): height and width of the video in pixels.
    """
    maps = np.zeros((5, len(features) - start, *blocks_hw), dtype=np.float32)
    kind = "residual" if table.size.any() else "pixels"
    signals = Signals(*maps, signal_source=[kind] * maps.shape[1])
    # The first frame has nothing before it.
    motion, residual, bitrate, change, deviation = maps if start else maps[:, 1:]
    first = max(start, 1)
    if first == len(features):
        return signals
    current, before = features[first:], features[first - 1 : -1]
    frames = [each.frame for each in current]
    predicted, error = [], np.empty((len(current), *current[0].grey.shape), dtype=np.float32)
    pairs = list(zip(current, before))
    for (now, past), (explained, still), left, plain in zip(pairs, compensate(pairs), error, change):
        left[:] = difference = colour_distance(now.colours, explained)
        if explained is not past.colours:
            difference = colour_distance(now.colours, past.colours)
        if still is not None:
            np.minimum(left, difference if still is past.colours else colour_distance(now.colours, still), out=left)
        plain[:] = pool(difference, *blocks_hw)
        predicted.append(explained)
    residual[:], deviation[:], middle, spread = deviations(error, blocks_hw, CONSTANTS.deviation_floor)
    doubtful = _most_deviating(deviation)
    np.minimum(deviation, np.float32(CONSTANTS.surprise_start), out=deviation)
    if doubtful.any():
        seconds = table.seconds[[each.frame.index for each in features]]
        _explain(deviation, doubtful, error, predicted, features, seconds, middle, spread)

    bits_of_vectors = np.zeros_like(motion)
    moving = [at for at, frame in enumerate(frames) if frame.motion_vectors is not None and len(frame.motion_vectors)]
    if moving:
        references = [find_references(table, frames[at].index) for at in moving]
        fields = MotionFields([frames[at] for at in moving], references, source_hw, blocks_hw)
        motion[moving] = motion_energy(fields, blocks_hw)
        position = {each.frame.index: at for at, each in enumerate(features)}
        sources = [[position[index] for index in past if index in position] for past, _ in references]
        compensated = np.array([frames[at].pict_type == "P" for at in moving]) & np.array(list(map(bool, sources)))
        known = np.array(moving)[compensated]
        if len(known):
            fields = fields.take(compensated)
            pictures = [
                [features[at].luma for at in dict.fromkeys((past[0], past[-1]))]
                for past, use in zip(sources, compensated)
                if use
            ]
            luma = [current[at].luma for at in known.tolist()]
            residual[known] = residual_energy(luma, pictures, fields, blocks_hw, source_hw)
            bits_of_vectors[known] = vector_bits(fields, blocks_hw)
        for at, use in zip(moving, compensated.tolist()):
            signals.signal_source[first - start + at] = "motion+residual" if use else "motion"
    numbers = [frame.index for frame in frames]
    size = 8.0 * table.size[numbers]
    chosen = np.flatnonzero(~table.is_key[numbers] & (size > 0))
    bitrate[chosen] = spread_bits(
        [frames[at] for at in chosen.tolist()], size[chosen], bits_of_vectors[chosen], residual[chosen]
    )
    return signals


def _most_deviating(deviation: np.ndarray) -> np.ndarray:
    """Blocks whose deviation may surprise, at most `surprise_blocks` of a frame; bool, of its shape."""
    doubtful = deviation > CONSTANTS.surprise_start
    flat = deviation.reshape(len(deviation), -1)
    if (most := CONSTANTS.surprise_blocks) < flat.shape[1]:
        doubtful &= deviation >= np.partition(flat, -most, axis=1)[:, -most, None, None]
    return doubtful


def _explain(
    deviation: np.ndarray,
    doubtful: np.ndarray,
    error: np.ndarray,
    predicted: Sequence[np.ndarray],
    features: Sequence[FrameFeatures],
    seconds: np.ndarray,
    middle: np.ndarray,
    spread: np.ndarray,
) -> None:
    """
    Sets the deviations of doubtful blocks to what is left of them, in place, once motion on its own and what was seen
    before have explained what they can.

    Args:
        deviation, doubtful (`np.ndarray` of shape `(num_frames, block_rows, block_columns)`, float32 and bool): all
            deviations, and which to explain.
        error (`np.ndarray` of shape `(num_frames, rows, columns)`, float32): difference of each pixel to the better
            prediction of `compensate`.
        predicted (`Sequence[np.ndarray]`, each of shape `(3, rows, columns)`, float32): the first ones of these.
        features (`Sequence[FrameFeatures]`): frames before them, and the frames.
        seconds (`np.ndarray` of shape `(len(features),)`, float64): the times of all of those.
        middle, spread (`np.ndarray` of shape `(num_frames,)`, float32): of `deviations`.
    """
    first = len(features) - len(predicted)
    block = error.shape[1] // deviation.shape[1]
    radius = round(CONSTANTS.search_radius * block)
    index, row, col = np.nonzero(doubtful)

    def by_frame(blocks: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        frames, starts = np.unique(index[blocks], return_index=True)
        return zip(frames.tolist(), np.split(blocks, starts[1:]))

    without, now, before = [], [], []
    for at, blocks in by_frame(np.arange(len(index))):
        place = row[blocks], col[blocks], block
        without.append(blocks_of(error[None, at], *place))
        now.append(blocks_of(features[first + at].colours, *place))
        before.append(blocks_of(predicted[at], *place, margin=radius))
    without, now, before = (np.concatenate(parts, axis=3) for parts in (without, now, before))
    left = explain_by_motion(without[0], now, before)
    found = (left.mean(axis=(0, 1)) - middle[index]) / spread[index]

    def remember(blocks: np.ndarray, error: np.ndarray) -> None:
        rest = np.minimum(left[..., blocks], error).mean(axis=(0, 1))
        rest = (rest - middle[index[blocks]]) / spread[index[blocks]]
        found[blocks] = np.minimum(found[blocks], rest)

    # What comes back to where it was, as all that moves to and fro does.
    rest = np.flatnonzero(found > CONSTANTS.surprise_start)
    frame = first + index[rest]
    age = seconds[frame] - seconds[:, None]
    for at, recent in enumerate((age > 0) & (age <= CONSTANTS.memory_seconds)):
        blocks = rest[recent & (frame > at + 1)]
        if len(blocks):
            seen = blocks_of(features[at].colours, row[blocks], col[blocks], block)
            remember(blocks, colour_distance(now[..., blocks], seen))
    # What is uncovered again, while the camera moves too.
    old = np.searchsorted(seconds, seconds[first:] - CONSTANTS.memory_seconds, side="right") - 1
    old[old + 1 >= first + np.arange(len(old))] = -1
    rest = np.flatnonzero((found > CONSTANTS.surprise_start) & (old[index] >= 0))
    pairs = [(features[first + at], features[old[at]]) for at, _ in by_frame(rest)]
    for (at, blocks), (remembered, still) in zip(by_frame(rest), compensate(pairs)):
        difference = colour_distance(features[first + at].colours, remembered)
        if still is not None:
            np.minimum(difference, colour_distance(features[first + at].colours, still), out=difference)
        remember(blocks, blocks_of(difference[None], row[blocks], col[blocks], block)[0])
    deviation[doubtful] = found


def score_frames(
    frames: Iterable[DecodedFrame],
    table: PacketTable,
    size: tuple[int, int],
    source_hw: tuple[int, int],
    config: CodecStreamConfig,
) -> Evidence:
    """
    Evidence of the frames of one group that are all there; see [`Scorer`].

    Args:
        frames (`Iterable[DecodedFrame]`): ascending, each with its `picture` at canvas size.
    """
    scorer = Scorer(table, size, source_hw, config)
    for frame in frames:
        scorer.push(frame)
    return scorer.finish()
