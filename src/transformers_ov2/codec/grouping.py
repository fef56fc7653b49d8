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
"""Step 1, GOP partition: the packet table of a video, split into groups of source frames before anything is decoded.

The byte size of P- and B-packets is an energy signal over time (LLaVA-OneVision-2, arXiv 2605.25979): dense regions
get short groups, stable regions long ones. `choose_frames` then picks the frames of a group that are worth decoding.
"""

import numpy as np


# Seconds. The bin of the energy signal, and the shortest and longest span of a group, as the released code has them.
BIN_SECONDS = 0.5
MIN_GROUP_SECONDS = 1.5
MAX_GROUP_SECONDS = 6.0


def _frame_spans(table) -> np.ndarray:
    """Display duration of each frame in seconds, float64 `[n]`; the last frame gets the average one."""
    average = 1.0 / table.fps if table.fps > 0 else 1.0
    spans = np.diff(table.seconds, append=table.seconds[-1] + average)
    return np.where(spans > 0, spans, average)


def count_groups(num_frames: int, num_groups: int, config) -> int:
    """The number of groups a clip can fill: one whole I-canvas and full P-canvases need `images_per_group` frames."""
    return max(1, min(num_groups, num_frames // max(1, config.images_per_group)))


def partition_fixed(table, num_groups: int, config) -> np.ndarray:
    """Groups of equal length in frames.

    Args:
        table (`PacketTable`): one entry per shown frame, presentation order.
        num_groups (`int`): how many groups are wanted; a clip too short to fill them gets fewer.
        config (`CodecStreamConfig`): `images_per_group` is used.

    Returns:
        `np.ndarray` of shape `(num_groups, 2)`, int64: half-open frame bounds in presentation order, without gaps.
    """
    groups = count_groups(table.num_frames, num_groups, config)
    edges = np.arange(groups + 1) * table.num_frames // groups
    return np.stack([edges[:-1], edges[1:]], axis=1).astype(np.int64)


def partition_packet_energy(table, num_groups: int, config) -> np.ndarray:
    """Groups that hold equal shares of the clip's P/B-packet bytes, cut in valleys of that energy.

    Bytes are summed in bins of half a second of presentation time (shorter where the groups are short) and smoothed
    over ±1 bin. A group ends once its share of what is left is reached and it spans at least the minimum, or at the
    maximum; the cut then moves to the bin of least energy in its neighbourhood. Minimum and maximum leave room for
    the groups that follow, so the count is exact and no tail is left over. Key frames carry no energy: they cost
    their bytes wherever the encoder put them. A clip without P- or B-bytes (all-intra, decoded frames) is cut by time.

    Args:
        table (`PacketTable`): one entry per shown frame, presentation order.
        num_groups (`int`): how many groups are wanted; a clip too short to fill them gets fewer.
        config (`CodecStreamConfig`): `images_per_group` is used.

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
    duration = ends[-1]
    mean_span = duration / groups
    min_span = min(MIN_GROUP_SECONDS, mean_span / 2)
    max_span = max(MAX_GROUP_SECONDS, 2 * mean_span)
    bins = max(groups, int(np.ceil(duration / min(BIN_SECONDS, mean_span / 8))))
    width = duration / bins
    # The middle of a frame decides its bin, so a long frame of a variable-rate clip does not slip into the next one.
    frame_bin = np.clip(((ends - spans / 2) / width).astype(np.int64), 0, bins - 1)
    energy = np.bincount(frame_bin, weights=np.where(table.is_key, 0, table.size).astype(np.float64), minlength=bins)
    if energy.sum() <= 0:
        energy = np.ones(bins)
    padded = np.concatenate([energy[:1], energy, energy[-1:]])
    energy = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    total = np.concatenate([[0.0], np.cumsum(energy)])

    # Frames each side of a cut must keep: enough to fill the canvases of the groups on that side.
    fill = max(1, config.images_per_group)
    min_bins, max_bins = min_span / width, max_span / width
    reach = max(1, min(3, int(max_bins) // 3))
    edges = [0]
    start = 0.0  # bin position of the current group's start
    for left in range(groups, 1, -1):
        low = max(start + min_bins, bins - (left - 1) * max_bins)
        high = min(start + max_bins, bins - (left - 1) * min_bins)
        low, high = int(np.ceil(low - 1e-9)), int(np.floor(high + 1e-9))
        low = min(max(low, int(start) + 1), bins - left + 1)
        high = min(max(high, low), bins - left + 1)
        begin = int(np.ceil(start))
        share = (total[-1] - total[begin]) / left
        cut = int(np.clip(np.searchsorted(total, total[begin] + share), low, high))
        window = np.arange(max(low, cut - reach), min(high, cut + reach) + 1)
        # A cut at position c lies between bins c - 1 and c: the quieter of two equal valleys is the one nearer to the
        # cut.
        depth = energy[window - 1] + energy[np.minimum(window, bins - 1)]
        cut = int(window[np.lexsort((window, np.abs(window - cut), depth))[0]])
        frame = int(np.searchsorted(frame_bin, cut))
        frame = min(max(frame, edges[-1] + fill), n - (left - 1) * fill)
        edges.append(frame)
        start = max(cut, start + 1)
    edges.append(n)
    edges = np.array(edges, dtype=np.int64)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def choose_frames(table, bounds, limit: int, config) -> np.ndarray:
    """The frames of one group that are worth decoding, known from the packet table alone.

    The first frame of the group is always among them. Reference pictures come first: they decode without their
    neighbours, and a residual says more about them. Each of `limit` equal shares of the group's time gives its frame
    of largest packet, sizes compared among frames of one kind (reference or not).

    Args:
        table (`PacketTable`): one entry per shown frame, presentation order.
        bounds (`tuple[int, int]`): half-open frame bounds of the group.
        limit (`int`): the most frames to return.
        config (`CodecStreamConfig`): unused by this rule.

    Returns:
        `np.ndarray` of shape `(min(limit, end - start),)`, int64, ascending presentation indices.
    """
    start, end = int(bounds[0]), int(bounds[1])
    count = end - start
    if count <= limit:
        return np.arange(start, end, dtype=np.int64)
    size = table.size[start:end].astype(np.float64)
    reference = table.is_reference[start:end]
    size = np.where(table.is_key[start:end], 0.0, size)  # a key frame's bytes are no event
    score = np.zeros(count)
    for kind in (False, True):
        members = reference == kind
        if members.any():
            score[members] = size[members] / max(np.median(size[members]), 1.0)
    score = score + 1e3 * reference
    # The anchor is bin 0 alone, the other frames share the remaining bins evenly.
    bin_of = np.concatenate([[0], 1 + np.arange(count - 1) * (limit - 1) // (count - 1)])
    order = np.lexsort((np.arange(count), -score, bin_of))
    first = np.unique(bin_of[order], return_index=True)[1]
    return np.sort(order[first]).astype(np.int64) + start
