# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from synth import real_clip

from transformers_ov2.codec.config import CodecStreamConfig
from transformers_ov2.codec.deciding.budget import plan_groups
from transformers_ov2.codec.deciding.grouping import (
    choose_frames,
    count_groups,
    partition_fixed,
    partition_packet_energy,
)
from transformers_ov2.codec.reading.packets import PacketTable, read_packets
from transformers_ov2.codec.reading.source import open_source


CONFIG = CodecStreamConfig()
GIVEN = CodecStreamConfig(frame_budget=100)


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


@pytest.mark.parametrize("partition", [partition_packet_energy, partition_fixed])
@pytest.mark.parametrize("last_share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("n", [40, 133, 1000])
def test_a_last_group_of_fewer_canvases_is_shorter(partition, last_share, n):
    bounds = partition(make_table(np.full(n, 1000)), 8, CONFIG, last_share=last_share)
    usual = n / (7 + last_share)
    assert len(bounds) == 8 and bounds[0, 0] == 0 and bounds[-1, 1] == n and spans(bounds).min() >= 4 * last_share
    np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])
    assert abs(spans(bounds)[-1] - last_share * usual) <= max(4, usual / 8)
    np.testing.assert_allclose(spans(bounds)[:-1], usual, atol=max(2, usual / 5))


def test_plans_share_the_video_by_canvases():
    table = make_table(np.full(1000, 1000))
    for grouping in ("packet_energy", "fixed"):
        plans = plan_groups(table, 180, CodecStreamConfig(target_canvas=33, grouping=grouping))
        assert [plan.num_canvases for plan in plans] == [4] * 8 + [1]
        assert 20 <= plans[-1].end - plans[-1].start <= 45  # 1000 / 33 frames a canvas


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


def test_all_reference_pictures_are_candidates():
    references = np.arange(300) % 2 == 0
    chosen = choose_frames(make_table(np.ones(300), references=references), (1, 201), 32, 128, CONFIG)
    np.testing.assert_array_equal(chosen, [1, *range(2, 201, 2)])


@pytest.mark.parametrize(
    "fps, distance, between",
    [(25.0, 2, []), (10.0, 2, [1]), (8.0, 3, [1, 2]), (25.0, 4, [2]), (30.0, 6, [3]), (60.0, 8, [4])],
)
def test_candidates_are_no_further_apart_than_a_tenth_of_a_second(fps, distance, between):
    references = np.arange(25 * distance) % distance == 0
    table = make_table(np.ones(25 * distance), fps=fps, references=references)
    chosen = choose_frames(table, (0, 24 * distance + 1), 8, 128, CONFIG)
    np.testing.assert_array_equal(
        chosen, np.append((np.arange(0, 24 * distance, distance)[:, None] + [0, *between]).ravel(), 24 * distance)
    )


@pytest.mark.parametrize("fps, step", [(12.0, 1), (20.0, 2), (25.0, 2), (30.0, 3), (60.0, 6)])
def test_no_more_candidates_than_it_takes(fps, step):
    """A tenth of a second apart where all pictures are references, or as many as may give blocks; all when asked."""
    n = 40 * step + 1
    table = make_table(np.random.default_rng(0).integers(10, 1000, n), fps=fps)
    np.testing.assert_array_equal(choose_frames(table, (step, n), 8, n, CONFIG), range(step, n, step))
    many = choose_frames(table, (0, n), 60, n, CONFIG)
    assert len(many) == min(60, n) and np.diff(many, append=n).max() <= 2 * step
    np.testing.assert_array_equal(choose_frames(table, (0, n), 8, n, GIVEN), np.arange(n))


@pytest.mark.parametrize("limit", [1, 4, 32])
def test_there_are_frames_to_fill_the_canvases(limit):
    table = make_table(np.ones(50), fps=1000.0, references=np.arange(50) == 0)
    assert len(choose_frames(table, (3, 40), limit, 64, CONFIG)) == max(4, limit // 2)
    np.testing.assert_array_equal(choose_frames(table, (3, 6), limit, 64, CONFIG), [3, 4, 5])


def test_largest_other_pictures_fill_up_to_half_the_limit():
    references = np.arange(60) % 4 == 0
    sizes = np.arange(60)
    chosen = choose_frames(make_table(sizes, fps=50.0, references=references), (0, 60), 40, 80, CONFIG)
    np.testing.assert_array_equal(np.setdiff1d(chosen, np.arange(0, 60, 4)), [54, 55, 57, 58, 59])


@pytest.mark.parametrize("n", [100, 101, 150, 250, 1000, 1599])
@pytest.mark.parametrize("gop", [40, 10**6])
def test_candidates_get_sparser_with_length_and_reach_the_end(n, gop):
    table = make_table(np.random.default_rng(0).integers(10, 1000, n), keys=range(0, n, gop))
    chosen = choose_frames(table, (0, n), 32, 100, GIVEN)
    assert len(chosen) == 100 and chosen[0] == 0
    assert np.diff(chosen, append=n).min() >= 1 and np.diff(chosen, append=n).max() <= 2 * np.ceil((n - 1) / 99)


def test_of_a_run_the_largest_packet_is_the_candidate():
    sizes = np.full(1000, 100)
    sizes[5::20] = 5000
    sizes[250::250] = 10**6  # key frames, whose bytes say nothing
    chosen = choose_frames(make_table(sizes, keys=range(0, 1000, 250)), (0, 1000), 32, 100, GIVEN)
    assert np.isin(np.arange(5, 1000, 20), chosen).all()


@pytest.mark.parametrize("gop", [50, 250, 10**6])
def test_a_very_long_video_is_decoded_in_part_and_looked_at_to_its_end(gop):
    n, most = 50_000, 100
    table = make_table(np.random.default_rng(0).integers(10, 1000, n), keys=range(0, n, gop))
    chosen = choose_frames(table, (0, n), 32, most, GIVEN)
    assert len(chosen) == most
    assert np.diff(chosen, append=n).max() <= 2 * np.ceil((n - 1) / (most - 1))
    _, last = np.unique((chosen // gop)[::-1], return_index=True)
    decoded = (chosen[::-1][last] % gop + 1).sum()  # a GOP is decoded up to its last candidate
    # A single GOP must be decoded to be looked at.
    assert decoded <= 16 * most or gop > n


@pytest.mark.parametrize("n", range(1, 60, 7))
def test_choices_of_any_size(n):
    rng = np.random.default_rng(n)
    table = make_table(rng.integers(1, 9, n), keys=rng.integers(0, n, 3), references=rng.random(n) < 0.7)
    for most in range(4, n + 2):
        chosen = choose_frames(table, (n // 5, n), 8, most, GIVEN)
        assert chosen[0] == n // 5 and (np.diff(chosen) > 0).all() and len(chosen) <= most
        assert len(chosen) >= min(4, n - n // 5)


def test_long_videos_have_more_frames_scored():
    """One each tenth of a second, 512 where that is not enough; from one minute to four by the root of the time."""
    numbers = []
    for seconds in (30, 50, 55, 60, 65, 120, 240, 900):
        table = make_table([100] * (25 * seconds))
        plans = plan_groups(table, 64, CodecStreamConfig(target_canvas=8))
        assert sum(plan.end - plan.start for plan in plans) == len(table.size)
        numbers.append(sum(len(plan.frames) for plan in plans))
        given = plan_groups(table, 64, CodecStreamConfig(target_canvas=8, frame_budget=200))
        assert abs(sum(len(plan.frames) for plan in given) - 200) <= 2
    np.testing.assert_allclose(numbers, [376, 512, 512, 512, 532, 724, 1024, 1024], atol=2)
