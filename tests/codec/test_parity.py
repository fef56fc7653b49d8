# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Equality with the released codec tool after the signal: given its bits, its sampling, groups, positions and runs."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from synth import MATRICES, clip_bytes, moving_frames, real_clip

from transformers_ov2.codec import CodecStream, CodecStreamConfig, tokenize_video, tokenizer
from transformers_ov2.codec.deciding.pooling import block_sums
from transformers_ov2.codec.deciding.readiness import partition_readiness, sample_frames
from transformers_ov2.codec.deciding.scoring import score_frames
from transformers_ov2.codec.deciding.signals.exact_bits import BitMaps, picture_window, read_bits, score_bits
from transformers_ov2.codec.packing.canvas import canvas_size
from transformers_ov2.codec.reading.decoding import decode_frames
from transformers_ov2.codec.reading.orientation import Orientation
from transformers_ov2.codec.reading.source import VideoError, VideoSource, open_source


FIXTURES = Path(__file__).parents[1] / "fixtures" / "codec"
CLIPS = ("bikes", "bigbuckbunny", "carphone_pristine")
CASES = json.loads((FIXTURES / "cases.json").read_text())
# How the released tool works: its groups, its bits, plain top-K.
RELEASED = {"grouping": "readiness", "bit_source": "codec-video-prep", "crowding_penalty": 0.0}


def stored_bits(name: str, frames: np.ndarray) -> BitMaps:
    stored = np.load(FIXTURES / f"bits_{name}.npz")
    return BitMaps(frames, stored["bits"][frames].astype(np.int32), int(stored["columns"]))


def expected(name: str) -> dict:
    arrays = np.load(FIXTURES / f"{name}.npz")
    # Two-dimensional arrays are stored transposed: a seventh of the size.
    values = {key: arrays[key].T if arrays[key].ndim == 2 else arrays[key] for key in arrays.files}
    return {**json.loads((FIXTURES / f"{name}.json").read_text()), **values}


@pytest.fixture(scope="module")
def tokenize():
    """Tokenizes a clip as the released tool does; streams are made once."""
    made = {}

    def run(name: str, **settings) -> CodecStream:
        key = (name, *sorted(settings.items()))
        if key not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(tokenizer, "read_bits", lambda source, frames: stored_bits(name, frames))
                made[key] = tokenize_video(real_clip(name), **RELEASED, **settings)
        return made[key]

    return run


def count_ties(stream: CodecStream, reference: np.ndarray, name: str) -> int:
    """
    Blocks on which two selections differ, all of which must have the score of the last block taken: then it is open
    which of them are taken.
    """
    config = CodecStreamConfig(**RELEASED)
    maps = stored_bits(name, stream.frame_ids)
    scores = score_bits(maps, stream.canvases.shape[1:3], config)
    per_group = stream.num_tokens // len(stream.groups)
    ours = stream.block_positions()[::4] // (1, 2, 2)
    theirs = reference[::4].astype(np.int64) // (1, 2, 2)
    ties = 0
    for start in range(0, stream.num_tokens, per_group):
        group = slice(start, start + per_group)
        mine, other = ({tuple(block) for block in blocks[group].tolist()} for blocks in (ours, theirs))
        score = {(f, y, x): scores[np.searchsorted(stream.frame_ids, f), y, x] for f, y, x in mine | other}
        cut = min(score[block] for block in mine if block[0] != ours[start, 0])
        assert all(score[block] == cut for block in mine ^ other)
        ties += len(mine - other)
    return ties


@pytest.mark.parametrize("name", CLIPS)
def test_sampled_frames(name):
    is_key = tokenizer.read_packets(open_source(real_clip(name))).is_key
    reference = expected(name)
    frames = sample_frames(len(is_key), reference["settings"]["num_sampled_frames"], is_key)
    np.testing.assert_array_equal(frames, reference["frame_ids"])


@pytest.mark.parametrize("name", CLIPS)
def test_groups(tokenize, name):
    reference = expected(name)
    ids = reference["frame_ids"]
    bounds = [[ids[start], ids[end - 1] + 1] for start, end, _ in reference["groups"]]
    stream = tokenize(name)
    np.testing.assert_array_equal(stream.groups, bounds)
    assert len(stream.canvases) == reference["canvases"]
    assert stream.fps == reference["fps"]
    assert stream.signal_shares == {"bits": 1.0}


@pytest.mark.parametrize("name", CLIPS)
def test_positions(tokenize, name, record_property):
    reference, stream = expected(name), tokenize(name)
    ties = count_ties(stream, reference["patch_positions_block_order"], name)
    record_property("ties", ties)
    if ties == 0:
        np.testing.assert_array_equal(stream.patch_positions.reshape(-1, 3), reference["source_positions"])
        np.testing.assert_array_equal(stream.block_positions(), reference["patch_positions_block_order"])
    # On these clips no two blocks at a cut have the same score.
    assert ties == 0


@pytest.mark.parametrize("name", CLIPS)
def test_timestamp_runs(tokenize, name):
    np.testing.assert_array_equal(tokenize(name).runs(), expected(name)["timestamp_runs"])


@pytest.mark.parametrize("name", CLIPS)
def test_pixels_are_those_of_a_conforming_decode(tokenize, name):
    stream = tokenize(name)
    height, width = stream.canvases.shape[1:3]
    source = open_source(real_clip(name))
    frames = tokenizer.decode_frames(source, tokenizer.read_packets(source), stream.frame_ids, size=(height, width))
    images = {frame.index: frame.image for frame in frames}
    p = stream.patch
    rows = stream.patch_rows()
    for index in range(0, len(rows), 97):
        frame, row, column = stream.block_positions()[index]
        patch = images[frame][row * p : (row + 1) * p, column * p : (column + 1) * p]
        np.testing.assert_array_equal(rows[index].reshape(3, p, p), patch.transpose(2, 0, 1))


@pytest.mark.parametrize("name", CLIPS)
def test_colours_are_near_the_reference(tokenize, name):
    """Not nearer: the reference decodes without the loop filter, and its error adds up from frame to frame."""
    reference, stream = expected(name), tokenize(name)
    _, rows, columns = stream.grid_thw
    p = stream.patch
    colours = stream.canvases.reshape(-1, rows, p, columns, p, 3).mean(axis=(2, 4))
    assert np.abs(colours - reference["canvas_mean_rgb"]).mean() < 1.5


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['video']}-{case['settings']['target_canvas']}")
def test_other_settings(tokenize, case):
    stream = tokenize(case["video"], **case["settings"])
    ids = case["frame_ids"]
    np.testing.assert_array_equal(stream.groups, [[ids[start], ids[end - 1] + 1] for start, end in case["groups"]])
    assert len(stream.canvases) == case["canvases"]
    digest = hashlib.sha256(stream.patch_positions.tobytes()).hexdigest()
    assert digest == case["positions_sha256"]


def test_sampling_leaves_key_frames_out_while_others_are_left():
    is_key = np.arange(240) % 3 == 0
    # What the tool samples from a clip with a key frame in every third place.
    expected_ids = {
        200: [*range(120), *(i for i in range(120, 240) if i % 3)],
    }
    for count, ids in expected_ids.items():
        np.testing.assert_array_equal(sample_frames(240, count, is_key), ids)


def test_sampling_of_key_frames_only():
    np.testing.assert_array_equal(sample_frames(9, 4, np.ones(9, bool)), [0, 2, 5, 8])


def test_a_group_ends_at_its_largest_size_without_enough_evidence():
    scores = np.zeros((40, 2, 2), np.float32)
    scores[0:8] = 100.0
    config = CodecStreamConfig(grouping="readiness", group_size=8, min_group_frames=4, max_group_frames=10)
    bounds = partition_readiness(scores, config)
    assert (np.diff(bounds, axis=1) <= 10).all()
    np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])


def test_scores_outside_readiness_leave_the_empty_column_out():
    maps = BitMaps(np.arange(2), np.array([[[0, 100, 0]], [[0, 10, 0]]], np.int32), columns=2)
    config = CodecStreamConfig(min_pixels=1)
    scores = score_bits(maps, (28, 56), config)
    # Every pixel of a block counts, and frames compare: both are scaled by the same percentile.
    scale = np.percentile(np.log1p([0, 100, 0, 10]), 99)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[:, 0, 0], 0)
    np.testing.assert_allclose(scores[:, 0, 1], 784 * np.minimum(np.log1p([100, 10]) / scale, 1), rtol=1e-6)


def test_units_that_are_cut_off_keep_their_place_when_mirrored():
    """A picture of two and a half rows of macroblocks: mirrored, the half one comes first."""
    bits = np.array([[[0, 0], [50, 0], [0, 90]]], np.int32)
    shape = {"coded_size": (40, 32)}
    upright = VideoSource("upright", **shape)
    mirrored = VideoSource("mirrored", **shape, orientation=Orientation(flipped_y=True))
    turned = VideoSource("turned", **shape, orientation=Orientation(transposed=True, flipped_x=True))
    maps = [
        BitMaps(np.arange(1), here, here.shape[2], picture_window(source, 3, 2))
        for source in (upright, mirrored, turned)
        for here in [source.orientation.turn(bits)]
    ]
    assert [each.window for each in maps] == [((0, 2.5), (0, 2)), ((0.5, 3), (0, 2)), ((0, 2), (0.5, 3))]
    sums = maps[0].block_sums(bits, (5, 2))
    np.testing.assert_allclose(sums[0].T, [[0, 0, 25, 25, 0], [0, 0, 0, 0, 90]], atol=1e-4)
    np.testing.assert_allclose(maps[1].block_sums(maps[1].bits, (5, 2)), sums[:, ::-1], atol=1e-4)
    np.testing.assert_allclose(maps[2].block_sums(maps[2].bits, (2, 5))[0], sums[0].T[:, ::-1], atol=1e-4)
    means = maps[1].block_means(maps[1].bits, (5, 2))
    np.testing.assert_allclose(means[0, :, 1], [90, 0, 0, 0, 0], atol=1e-4)


def test_no_bits_at_all_score_nothing():
    maps = BitMaps(np.arange(1), np.zeros((1, 2, 3), np.int32), columns=2)
    for grouping in ("readiness", "packet_energy"):
        np.testing.assert_array_equal(
            score_bits(maps, (28, 56), CodecStreamConfig(grouping=grouping)), np.zeros((1, 1, 2))
        )


def test_exact_bits_name_the_missing_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "codec_video_prep", None)
    with pytest.raises(ImportError, match=r"transformers-ov2\[bits\]"):
        tokenize_video(real_clip("carphone_pristine"), bit_source="codec-video-prep")


def test_exact_bits_are_never_used_unasked(monkeypatch):
    def refuse(*_):
        raise AssertionError("exact bits were read")

    monkeypatch.setattr(tokenizer, "read_bits", refuse)
    assert "bits" not in tokenize_video(real_clip("carphone_pristine"), target_canvas=4).signal_source


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, equal values sharing the middle of theirs."""
    _, inverse, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def spearman_with_exact_bits(name: str, *, steps: bool = True) -> float:
    """Mean rank correlation over the blocks of P-frames between the estimated bits and those of the stored maps."""
    source = open_source(real_clip(name))
    table, config = tokenizer.read_packets(source), CodecStreamConfig()
    size = canvas_size(source.height, source.width, config)
    blocks = (size[0] // 28, size[1] // 28)
    frames = list(decode_frames(source, table, range(60), size=size, side_data=True))
    for frame in frames:
        frame.quantiser_steps = frame.quantiser_steps if steps else None
    found = score_frames(frames, table, size, (source.height, source.width), config).bitrate
    maps = stored_bits(name, np.arange(60))
    exact = block_sums(maps.bits[:, :, : maps.columns].astype(np.float32), blocks)
    pairs = [(found[i], exact[i]) for i, frame in enumerate(frames) if i and frame.pict_type == "P"]
    return float(np.mean([np.corrcoef(ranks(ours), ranks(theirs))[0, 1] for ours, theirs in pairs]))


def test_stock_bits_follow_exact_bits():
    correlations = [spearman_with_exact_bits(name) for name in CLIPS]
    assert np.mean(correlations) >= 0.75 and min(correlations) >= 0.7
    # Two of the three encoders varied the quantiser.
    without = [spearman_with_exact_bits(name, steps=False) for name in CLIPS]
    assert np.mean(correlations) > np.mean(without) + 0.01


class TestInstalledPackage:
    """With codec-video-prep itself."""

    @pytest.fixture(autouse=True)
    def package(self):
        pytest.importorskip("codec_video_prep.cv_reader_fast", reason="needs codec-video-prep", exc_type=ImportError)

    @pytest.mark.parametrize("name", CLIPS)
    def test_stored_bits_are_its_bits(self, name):
        source = open_source(real_clip(name))
        frames = np.arange(0, 120, 3)
        maps, stored = read_bits(source, frames), stored_bits(name, frames)
        np.testing.assert_array_equal(maps.bits, stored.bits)
        assert maps.columns == stored.columns

    def test_bytes(self):
        clip = real_clip("carphone_pristine")
        frames = np.array([1, 5])
        maps = read_bits(open_source(clip.read_bytes()), frames)
        np.testing.assert_array_equal(maps.bits, stored_bits("carphone_pristine", frames).bits)

    def test_bits_of_turned_and_mirrored_video(self):
        frames = moving_frames(6, 96, 128)
        upright = read_bits(open_source(clip_bytes(frames)), np.arange(6))
        for matrix in MATRICES[1:]:
            orientation = Orientation.of_matrix(np.array(matrix).reshape(3, 3))
            maps = read_bits(open_source(clip_bytes(frames, matrix=matrix)), np.arange(6))
            np.testing.assert_array_equal(maps.bits, orientation.turn(upright.bits[..., : upright.columns]))
            assert maps.columns == maps.bits.shape[-1] == (6 if orientation.transposed else 8)

    def test_whole_way(self):
        reference = expected("carphone_pristine")
        stream = tokenize_video(real_clip("carphone_pristine"), **RELEASED)
        np.testing.assert_array_equal(stream.patch_positions.reshape(-1, 3), reference["source_positions"])

    def test_packet_groups(self):
        stream = tokenize_video(real_clip("bikes"), bit_source="codec-video-prep", target_canvas=8)
        assert (len(stream.canvases), stream.signal_shares) == (8, {"bits": 1.0})

    def test_decoded_frames_have_no_bits(self):
        frames = np.zeros((4, 32, 32, 3), np.uint8)
        with pytest.raises(VideoError, match="no exact bits for frames"):
            tokenize_video(frames, bit_source="codec-video-prep")


def test_readiness_scores_all_sampled_frames_as_one(monkeypatch):
    """No frame but the first lacks one before it, and scores are relative to the whole video."""
    seen = []
    monkeypatch.setattr(
        tokenizer,
        "partition_readiness",
        lambda scores, config: seen.append(scores) or partition_readiness(scores, config),
    )
    tokenize_video(real_clip("bikes"), grouping="readiness", target_canvas=8)
    (scores,) = seen
    assert len(scores) == 64 and not scores[0].any()
    assert (scores[1:].max(axis=(1, 2)) > 0).all()
