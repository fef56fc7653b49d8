# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Step 1, GOP partition: the packet table of a video, split into groups of source frames before anything is decoded.

The byte size of P- and B-packets is an energy signal over time (LLaVA-OneVision-2, arXiv 2605.25979): dense regions
get short groups, stable regions long ones. `choose_frames` then picks the frames of a group that are worth decoding.
"""

import bisect
import math

import numpy as np


# Seconds. The bin of the energy signal, and the shortest and longest span of a group, as the released code has them.
BIN_SECONDS = 0.5
MIN_GROUP_SECONDS = 1.5
MAX_GROUP_SECONDS = 6.0

# Pictures that may be decoded for each frame that is scored.
DECODE_FACTOR = 16
# Seconds between candidates at most, where there are frames for it: the strictest tolerance of JumpScore, so that the
# frame in which something begins is looked at in videos of low frame rate as well. Closer ones show little new.
MAX_FRAME_DISTANCE = 0.1


def _frame_spans(table) -> np.ndarray:
    """Display duration of each frame in seconds, float64 `[n]`; the last frame gets the average one."""
    average = 1.0 / table.fps if table.fps > 0 else 1.0
    spans = np.diff(table.seconds, append=table.seconds[-1] + average)
    return np.where(spans > 0, spans, average)


def count_groups(num_frames: int, num_groups: int, config) -> int:
    """The number of groups a clip can fill: one whole I-canvas and full P-canvases need `images_per_group` frames."""
    return max(1, min(num_groups, num_frames // config.images_per_group))


def partition_fixed(table, num_groups: int, config, last_share: float = 1.0) -> np.ndarray:
    """Groups of equal length in frames.

    Args:
        table (`PacketTable`): one entry per shown frame, presentation order.
        num_groups (`int`): how many groups are wanted; a clip too short to fill them gets fewer.
        config (`CodecStreamConfig`): `images_per_group` is used.
        last_share (`float`): length of the last group, which may have fewer canvases, in those of the others.

    Returns:
        `np.ndarray` of shape `(num_groups, 2)`, int64: half-open frame bounds in presentation order, without gaps.
    """
    groups = count_groups(table.num_frames, num_groups, config)
    edges = (np.arange(groups + 1) * table.num_frames / (groups - 1 + last_share)).astype(np.int64)
    edges[-1] = table.num_frames
    return np.stack([edges[:-1], edges[1:]], axis=1).astype(np.int64)


def partition_packet_energy(table, num_groups: int, config, last_share: float = 1.0) -> np.ndarray:
    """Groups that hold equal shares of the clip's P/B-packet bytes, cut in valleys of that energy.

    Bytes are summed in bins of half a second of presentation time (a sixteenth of the average group where groups are
    short) and smoothed over ±1 bin. A group ends once it holds its share of the energy that is left and spans at least
    the minimum, or at the maximum; the cut then moves to the bin of least energy nearby. Minimum and maximum leave
    room for the groups that follow, so the count is exact and no tail is left over. The bytes of a key frame say
    where the encoder put it, not that something happens: it counts as the median of the others. A clip without P- or
    B-bytes (all-intra, decoded frames) is cut by time.

    Args:
        table (`PacketTable`): one entry per shown frame, presentation order.
        num_groups (`int`): how many groups are wanted; a clip too short to fill them gets fewer.
        config (`CodecStreamConfig`): `images_per_group` is used.
        last_share (`float`): share of the last group, which may have fewer canvases, in those of the others.

    Returns:
        `np.ndarray` of shape `(num_groups, 2)`, int64: half-open frame bounds in presentation order, without gaps.

    Source: section "GOP partition" of arXiv 2605.25979, and the half-second bins, ±1 smoothing and valley cut of its
    released code.
    """
    n = table.num_frames
    groups = count_groups(n, num_groups, config)
    if groups == 1:
        return np.array([[0, n]], dtype=np.int64)
    spans = _frame_spans(table)
    ends = np.cumsum(spans)
    duration = float(ends[-1])
    mean_span = duration / (groups - 1 + last_share)
    min_span = min(MIN_GROUP_SECONDS, mean_span / 4)
    max_span = max(MAX_GROUP_SECONDS, 3 * mean_span)
    width = max(min(BIN_SECONDS, mean_span / 16), float(np.median(spans)))
    bins = max(groups, round(duration / width))
    width = duration / bins
    # The middle of a frame decides its bin, so a long frame of a variable-rate clip does not slip into the next one.
    frame_bin = np.clip(((ends - spans / 2) / width).astype(np.int64), 0, bins - 1)
    predicted = ~table.is_key
    size = table.size.astype(np.float64)
    if size[predicted].any():
        size[~predicted] = np.median(size[predicted])
        energy = np.bincount(frame_bin, weights=size, minlength=bins)
    else:
        energy = np.ones(bins)
    padded = np.concatenate([energy[:1], energy, energy[-1:]])
    energy = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    total = np.concatenate([[0.0], np.cumsum(energy)])

    fill = min(config.images_per_group, n // groups)  # frames every group needs to fill its canvases
    reach = max(1, min(3, round(mean_span / width) // 8))
    edges, start = [0], 0
    for left in range(groups, 1, -1):
        following = left - 2 + last_share  # groups that are left beside this one
        low = max(start + 1, math.ceil(start + min_span / width), math.ceil(bins - following * max_span / width))
        high = min(bins - left + 1, int(start + max_span / width), int(bins - following * min_span / width))
        low = min(low, bins - left + 1)
        high = max(high, low)
        share = total[start] + (total[-1] - total[start]) / (1 + following)
        cut = int(np.searchsorted((total[:-1] + total[1:]) / 2, share))
        cut = min(max(cut, low), high)
        window = np.arange(max(low, cut - reach), min(high, cut + reach) + 1)
        depth = energy[window - 1] + energy[window]  # a cut at c lies between bins c - 1 and c
        cut = int(window[np.lexsort((window, np.abs(window - cut), depth))[0]])
        frame = int(np.searchsorted(frame_bin, cut))
        edges.append(min(max(frame, edges[-1] + fill), n - (left - 1) * fill))
        start = cut
    edges = np.array([*edges, n], dtype=np.int64)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def choose_frames(table, bounds, limit: int, most: int, config) -> np.ndarray:
    """The frames of one group that are worth decoding and scoring, known from the packet table alone.

    Blocks come from at most `limit` frames in the end, and which ones is best told from the pictures: packets betray
    what happens in a still or panning scene, but drown in noise and fades. So all reference pictures are candidates,
    as long as they are no more than `most`: decoding one takes those before it anyway. Other pictures cost their own
    decoding, and at usual frame rates they show little that the reference pictures beside them do not: they are
    candidates where reference pictures are further apart than `MAX_FRAME_DISTANCE`, as few as it takes. More of them
    are added, largest packet first, only where there are fewer than half the limit.

    Without a `frame_budget`, those of candidates closer than that are chosen which keep the distance, or `limit` of
    them where that is more.

    Of more candidates, one of each of `most` equal runs is chosen, the one of largest packet, so that they get sparser
    bit by bit as a video gets longer, and every GOP is looked at to its end. Only where that would take more than
    `DECODE_FACTOR · most` pictures to decode, the choice moves towards the key frames before them: as little as it
    takes, and never out of the run.

    Args:
        table (`PacketTable`): one entry per shown frame, presentation order.
        bounds (`tuple[int, int]`): half-open frame bounds of the group.
        limit (`int`): how many frames may give blocks in the end.
        most (`int`): how many frames to choose at most.
        config (`CodecStreamConfig`): `images_per_group` is used, since as many frames are needed to fill the canvases,
            and `frame_budget`.

    Returns:
        `np.ndarray` of shape `(num_candidates,)`, int64: ascending presentation indices, the group's first frame among
        them; at least `min(limit // 2, most, end - start)`.
    """
    start, end = int(bounds[0]), int(bounds[1])
    frames = np.arange(start, end, dtype=np.int64)
    candidate = table.is_reference[start:end].copy()
    candidate[0] = True
    candidate[_between(table.seconds[start:end], candidate)] = True
    candidates = frames[candidate]
    least = min(max(limit // 2, config.images_per_group), most)
    if len(candidates) < least:
        others = frames[~candidate]
        largest = np.argsort(-table.size[others], kind="stable")[: least - len(candidates)]
        return np.sort(np.concatenate([candidates, others[largest]]))
    if config.frame_budget is None:
        enough = _spread(table.seconds[candidates])
        most = min(most, max(least, limit, len(enough)))
        if len(enough) == most:
            return candidates[enough]
    if len(candidates) <= most:
        return candidates
    # The first frame may be the anchor: it is a run of its own.
    run = np.concatenate([[0], 1 + np.arange(len(candidates) - 1) * (most - 1) // (len(candidates) - 1)])
    first_of_run = np.flatnonzero(np.diff(run, prepend=-1))
    gop = np.cumsum(table.is_key[candidates])
    first_of_gop = np.flatnonzero(np.diff(gop, prepend=-1))
    # Pictures of its GOP to decode up to each one, those of earlier groups aside.
    depth = np.arange(len(candidates)) - np.repeat(first_of_gop, np.diff(first_of_gop, append=len(candidates))) + 1

    def reachable(reach: int) -> np.ndarray:
        """Frames no deeper than `reach`, and the first of the runs that have none."""
        near = depth <= reach
        near[first_of_run] |= ~np.logical_or.reduceat(near, first_of_run)
        return near

    def decoded(reach: int) -> int:
        return int(np.maximum.reduceat(np.where(reachable(reach), depth, 0), first_of_gop).sum())

    reach = bisect.bisect_right(range(1, int(depth.max()) + 1), DECODE_FACTOR * most, key=decoded)
    near = reachable(max(1, reach))
    # The bytes of a key frame say where the encoder put it: it is as good as any other.
    size = np.where(table.is_key[candidates], np.median(table.size[candidates]), table.size[candidates])
    order = np.lexsort((candidates, -size, ~near, run))
    return candidates[np.sort(order[first_of_run])]


def _between(seconds: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Indices of evenly spread frames between candidates that are further apart than `MAX_FRAME_DISTANCE`."""
    at = np.flatnonzero(candidate)
    last = at[np.cumsum(candidate) - 1]  # the candidate that each frame follows
    following = np.append(at[1:], len(candidate))[np.cumsum(candidate) - 1]
    edges = np.append(seconds, 2 * seconds[-1] - seconds[-2] if len(seconds) > 1 else 0.0)
    parts = np.ceil((edges[following] - edges[last]) / MAX_FRAME_DISTANCE - 1e-6).astype(np.int64)
    place, length = np.arange(len(candidate)) - last, following - last
    return np.flatnonzero((place > 0) & (place * parts // length > (place - 1) * parts // length))


def _spread(seconds: np.ndarray) -> list[int]:
    """Indices of as few frames as it takes for none to be further than `MAX_FRAME_DISTANCE` from the next one, where
    frames are as close as that; the first is among them."""
    after = np.searchsorted(seconds, seconds + (MAX_FRAME_DISTANCE + 1e-6), side="right") - 1
    after = np.maximum(after, np.arange(len(seconds)) + 1).tolist()
    chosen = [0]
    while after[chosen[-1]] < len(seconds):
        chosen.append(after[chosen[-1]])
    return chosen
