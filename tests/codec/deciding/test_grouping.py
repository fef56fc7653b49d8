# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from synth import real_clip

from transformers_ov2.codec.config import CodecStreamConfig
from transformers_ov2.codec.deciding.grouping import (
    choose_frames,
    count_groups,
    partition_fixed,
    partition_packet_energy,
)
from transformers_ov2.codec.reading.packets import PacketTable, read_packets
from transformers_ov2.codec.reading.source import open_source


CONFIG = CodecStreamConfig()


def make_table(sizes, *, fps=25.0, seconds=None, keys=(0,), references=None) -> PacketTable:
    n = len(sizes)
    is_key = np.zeros(n, dtype=bool)
    is_key[list(keys)] = True
    return PacketTable(
        pts=np.arange(n),
        seconds=np.arange(n) / fps if seconds is None else np.asarray(seconds, dtype=np.float64),
        size=np.asarray(sizes, dtype=np.int64),
        is_key=is_key,
        is_reference=np.ones(n, dtype=bool) if references is None else np.asarray(references),
        decode_index=np.arange(n),
        fps=fps,
    )


def spans(bounds):
    return np.diff(bounds, axis=1).ravel()


@pytest.mark.parametrize("partition", [partition_packet_energy, partition_fixed])
@pytest.mark.parametrize("num_groups", [1, 2, 3, 8, 30])
@pytest.mark.parametrize("n", [1, 3, 4, 7, 8, 33, 121, 1000])
def test_groups_are_contiguous_full_and_as_many_as_asked(partition, num_groups, n):
    rng = np.random.default_rng(n)
    bounds = partition(make_table(rng.integers(1, 5000, n)), num_groups, CONFIG)
    assert bounds.dtype == np.int64
    assert len(bounds) == count_groups(n, num_groups, CONFIG) == max(1, min(num_groups, n // 4))
    assert bounds[0, 0] == 0 and bounds[-1, 1] == n
    np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])
    assert spans(bounds).min() >= min(4, n)


def test_dense_regions_get_short_groups():
    sizes = np.full(1000, 100)
    sizes[400:600] = 4000
    bounds = partition_packet_energy(make_table(sizes), 8, CONFIG)
    dense = [end - start for start, end in bounds.tolist() if start >= 390 and end <= 610]
    stable = [end - start for start, end in bounds.tolist() if end <= 400 or start >= 600]
    assert len(dense) >= 4 and max(dense) < min(stable)


def test_equal_energy_gives_equal_groups():
    bounds = partition_packet_energy(make_table(np.full(800, 1000)), 8, CONFIG)
    assert np.abs(spans(bounds) - 100).max() <= 13  # a bin


def test_cut_moves_to_the_valley_nearby():
    sizes = np.full(1500, 1000)
    sizes[762:774] = 10  # half a second after the middle of 60 seconds
    bounds = partition_packet_energy(make_table(sizes), 2, CONFIG)
    assert 755 <= bounds[0, 1] <= 780


def test_key_frames_carry_no_energy():
    sizes = np.full(1000, 100)
    keys = range(0, 500, 5)
    sizes[list(keys)] = 100_000
    bounds = partition_packet_energy(make_table(sizes, keys=keys), 4, CONFIG)
    np.testing.assert_allclose(spans(bounds), 250, atol=26)


def test_all_intra_is_cut_by_time():
    table = make_table(np.random.default_rng(0).integers(100, 9000, 400), keys=range(400))
    np.testing.assert_allclose(spans(partition_packet_energy(table, 4, CONFIG)), 100, atol=13)


def test_minimum_and_maximum_span_bound_the_groups():
    sizes = np.full(2000, 1)  # 80 seconds, all energy in one of them
    sizes[1000:1025] = 100_000
    table = make_table(sizes)
    lengths = spans(partition_packet_energy(table, 8, CONFIG)) / table.fps
    assert lengths.min() >= 1.5 - 0.5 and lengths.max() <= 30 + 0.5


def test_variable_frame_rate_counts_seconds():
    # Ten seconds at 50 frames per second, then ten at 5, at the same bytes per second.
    seconds = np.concatenate([np.arange(500) / 50, 10 + np.arange(50) / 5])
    sizes = np.concatenate([np.full(500, 100), np.full(50, 1000)])
    bounds = partition_packet_energy(make_table(sizes, seconds=seconds, fps=27.5), 4, CONFIG)
    ends = np.append(seconds, 20.0)[bounds[:, 1]]
    np.testing.assert_allclose(ends, [5, 10, 15, 20], atol=1.0)


@pytest.mark.parametrize("clip", ["bikes", "bigbuckbunny", "carphone_pristine"])
def test_real_clips_share_their_energy(clip):
    table = read_packets(open_source(real_clip(clip)))
    bounds = partition_packet_energy(table, 4, CONFIG)
    size = np.where(table.is_key, np.median(table.size[~table.is_key]), table.size)
    shares = np.array([size[start:end].sum() for start, end in bounds]) / size.sum()
    np.testing.assert_allclose(shares, 0.25, atol=0.07)


def test_short_group_of_reference_pictures_is_taken_whole():
    np.testing.assert_array_equal(choose_frames(make_table(np.ones(50)), (10, 42), 32, CONFIG), np.arange(10, 42))


@pytest.mark.parametrize("limit", [1, 4, 32])
def test_there_are_frames_to_fill_the_canvases(limit):
    table = make_table(np.ones(50), references=np.arange(50) == 0)
    assert len(choose_frames(table, (3, 40), limit, CONFIG)) == max(4, limit // 2)
    np.testing.assert_array_equal(choose_frames(table, (3, 6), limit, CONFIG), [3, 4, 5])


def test_all_reference_pictures_are_candidates():
    references = np.arange(300) % 2 == 0
    chosen = choose_frames(make_table(np.ones(300), references=references), (1, 201), 32, CONFIG)
    np.testing.assert_array_equal(chosen, [1, *range(2, 201, 2)])


def test_largest_other_pictures_fill_up_to_half_the_limit():
    references = np.arange(60) % 4 == 0
    sizes = np.arange(60)
    chosen = choose_frames(make_table(sizes, references=references), (0, 60), 40, CONFIG)
    np.testing.assert_array_equal(np.setdiff1d(chosen, np.arange(0, 60, 4)), [54, 55, 57, 58, 59])


def test_long_group_decodes_a_bounded_number_of_pictures():
    n, gop, limit = 5000, 250, 32
    table = make_table(np.random.default_rng(0).integers(10, 1000, n), keys=range(0, n, gop))
    chosen = choose_frames(table, (0, n), limit, CONFIG)
    assert chosen[0] == 0 and limit <= len(chosen) <= 2 * limit
    assert (np.diff(chosen) > 0).all()
    # A GOP is decoded up to its last candidate.
    assert sum(chosen[chosen // gop == g].max() % gop + 1 for g in np.unique(chosen // gop)) <= 512 + 6 * limit
    assert len(np.unique(chosen // gop)) == n // gop  # every GOP is looked into


def test_long_group_prefers_large_packets():
    n = 2000
    sizes = np.full(n, 100)
    sizes[5:300:20] = 5000
    chosen = choose_frames(make_table(sizes), (0, n), 32, CONFIG)
    assert np.isin(np.arange(5, 300, 20), chosen).mean() > 0.9
