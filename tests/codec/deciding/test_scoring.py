# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import io

import numpy as np
import pytest
from synth import make_clip, real_clip

from transformers_ov2.codec.config import CodecStreamConfig
from transformers_ov2.codec.deciding import scoring
from transformers_ov2.codec.deciding.blank import bad_frames
from transformers_ov2.codec.deciding.features import block_features
from transformers_ov2.codec.deciding.fusion import Evidence, fuse
from transformers_ov2.codec.deciding.pooling import halves_and_quarters, pool
from transformers_ov2.codec.deciding.scoring import Scorer, score_frames
from transformers_ov2.codec.reading.decoding import DecodedFrame, decode_frames
from transformers_ov2.codec.reading.packets import read_packets
from transformers_ov2.codec.reading.pictures import PlanarPicture
from transformers_ov2.codec.reading.source import open_source


CONFIG = CodecStreamConfig()
SIZE = (168, 224)
GRID = (12, 16)


def texture(height=SIZE[0], width=SIZE[1], seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = 120.0
    for cell, strength in ((32, 25), (8, 12), (2, 6)):
        noise = rng.normal(scale=strength, size=(-(-height // cell), -(-width // cell), 3))
        image = image + np.kron(noise, np.ones((cell, cell, 1)))[:height, :width]
    return image.clip(20, 235)


def score(frames, fps=25.0):
    """Scores of decoded frames (no packets, no vectors)."""
    frames = [np.asarray(frame).clip(0, 255).round().astype(np.uint8) for frame in frames]
    table = read_packets(open_source(np.stack(frames), fps=fps))
    decoded = [DecodedFrame(index, PlanarPicture.from_rgb(frame), "") for index, frame in enumerate(frames)]
    return score_frames(decoded, table, SIZE, SIZE, CONFIG)


def score_file(data, indices=None):
    source = open_source(data)
    table = read_packets(source)
    indices = np.arange(table.num_frames) if indices is None else indices
    frames = list(decode_frames(source, table, indices, size=SIZE, side_data=True))
    return score_frames(frames, table, SIZE, (source.height, source.width), CONFIG), table, frames


def with_square(frame, row, col, colour=(250, 30, 30)):
    frame = frame.copy()
    frame[28 * row : 28 * row + 28, 28 * col : 28 * col + 28] = colour
    return frame


def strongest(scores):
    return tuple(int(i) for i in np.unravel_index(scores.argmax(), scores.shape))


def test_scores_have_one_value_per_block_and_none_for_the_first_frame():
    found = score([texture(seed=i) for i in range(4)])
    assert found.score.shape == found.surprise.shape == found.bitrate.shape == (4, 6, 8)
    assert found.score.dtype == found.surprise.dtype == np.float32
    assert not found.score[0].any() and found.score[1:].min() > 0
    assert set(found.signal_source) == {"pixels"} and not found.bitrate.any()


def test_a_change_scores_where_it_happens():
    frames = [texture()] * 10
    frames[6] = with_square(frames[6], 2, 5)
    assert strongest(score(frames).score)[1:] == (2, 5)


@pytest.mark.parametrize("disturbance", ["none", "pan", "noise", "fade"])
def test_an_event_surprises_once_whatever_else_moves(disturbance):
    rng = np.random.default_rng(0)
    wide = texture(width=SIZE[1] + 120)
    frames = []
    for t in range(40):
        frame = wide[:, 2 * t :][:, : SIZE[1]] if disturbance == "pan" else wide[:, : SIZE[1]]
        if 20 <= t < 26:
            frame = with_square(frame, 3, 4)
        if disturbance == "noise":
            frame = frame + rng.normal(scale=6, size=frame.shape)
        if disturbance == "fade":
            frame = frame * (1 - 0.01 * t)
        frames.append(frame)
    found = score(frames)
    assert strongest(found.surprise) == strongest(found.score) == (20, 3, 4)
    # The end of the event uncovers what was there half a second before.
    surprised = np.unique(np.argwhere(found.surprise > 0)[:, 0])
    assert 26 not in surprised


def test_what_stands_still_behind_a_large_mover_leaves_nothing_but_the_event():
    """Two thirds of the picture move as a camera might; the rest stands still, and there something appears."""
    mover, frames = texture(width=400, seed=1), []
    for t in range(24):
        frame = with_square(texture(), 3, 7) if 14 <= t < 18 else texture()
        frame[:, :150] = mover[:, 8 * t :][:, :150]
        frames.append(frame)
    found = score(frames)
    assert strongest(found.surprise) == strongest(found.score) == (14, 3, 7)
    behind = found.residual[1:, :, 6:].copy()
    behind[[13, 17], 3, 1] = 0  # the event comes and goes
    assert behind.max() < 0.5 and found.change[1:, :, :5].min() > 5


def test_what_stays_surprises_more_than_what_passes():
    """Something appears in two places; in the first one it goes on, too fast to be followed, in the other it stays."""
    passer, frames = texture(28, 140, seed=2) + 20, []
    for t in range(16):
        frame = texture()
        if 8 <= t < 11:
            frame[28:56, 56:84] = passer[:, 40 * (t - 8) :][:, :28]
            frame[112:140, 140:168] = passer[:, :28]
        frames.append(frame)
    surprise = score(frames).surprise[8]
    assert surprise[4, 5] > 1 and surprise[1, 2] == 0


def test_a_cut_scores_everywhere_but_nothing_stands_out():
    found = score([texture(seed=0)] * 5 + [texture(seed=1)] * 5)
    assert (found.score[5] > found.score[6].max()).all()
    assert (found.surprise[5] > 0).mean() < 0.05


def test_noise_of_a_still_scene_does_not_compete_with_a_change():
    rng = np.random.default_rng(0)
    frames = [texture() + rng.normal(scale=2, size=(*SIZE, 3)) for _ in range(12)]
    frames[8] = with_square(frames[8], 1, 1)
    scores = score(frames).score
    others = scores.copy()
    others[8:10] = 0
    assert scores[8, 1, 1] > 5 * others.max()


def test_colour_alone_counts():
    # Equal luma: 0.299 R + 0.587 G + 0.114 B.
    grey, red = np.full((*SIZE, 3), 100.0), [184.0, 57.2, 100.0]
    frames = [grey + texture(seed=3) * 0.1] * 8
    frames[5] = with_square(frames[5], 4, 2, red)
    assert strongest(score(frames).score)[1:] == (4, 2)


def moving_square(n=24, step=3):
    return np.stack([with_square_at(texture(), 20 + step * t) for t in range(n)]).round().astype(np.uint8)


def with_square_at(frame, x):
    frame = frame.copy()
    frame[60:110, x : x + 50] = texture(seed=9)[60:110, 60:110] + 40
    return frame.clip(0, 255)


@pytest.mark.parametrize(
    "codec, container, source",
    [("libx264", "mp4", "motion+residual"), ("mpeg4", "mp4", "motion+residual"), ("libx265", "mp4", "residual")],
)
def test_signal_source_says_what_was_used(codec, container, source):
    data = make_clip(io.BytesIO(), moving_square(), codec, container).getvalue()
    found, table, frames = score_file(data)
    # Key frames have no vectors, and the residual of B-frames is not the codec's.
    kinds = np.array([frame.pict_type for frame in frames])
    assert set(found.signal_source[kinds == "I"]) == {"residual"}
    assert set(found.signal_source[kinds == "P"]) == {source}
    assert set(found.signal_source[kinds == "B"]) <= {source.split("+")[0]}
    assert found.score[1:].max() > 0
    # Bits are estimated for predicted pictures, and add up to what their packets hold.
    predicted = np.flatnonzero(~table.is_key)
    totals = found.bitrate[predicted].sum(axis=(1, 2))
    assert (totals >= 0.99 * 8 * table.size[predicted]).all()
    # Key frames count as if they were predicted, whatever their bytes.
    keys = np.flatnonzero(table.is_key)[1:]
    change = found.change.sum(axis=(1, 2))
    rate = totals.sum() / change[predicted].sum()
    np.testing.assert_allclose(found.bitrate[keys].sum(axis=(1, 2)), rate * change[keys], rtol=0.05)


def test_motion_energy_ignores_the_camera():
    wide = texture(width=SIZE[1] + 200, seed=4)
    frames = np.stack([wide[:, 4 * t :][:, : SIZE[1]] for t in range(16)])
    for t in range(16):
        frames[t, 60:110, 20 + 5 * t : 70 + 5 * t] = texture(seed=9)[60:110, 60:110]  # against the camera
    data = make_clip(io.BytesIO(), frames.round().astype(np.uint8), "libx264", "mp4", options={"bf": "0"}).getvalue()
    found, *_ = score_file(data)
    for t in range(4, 16):
        rows, cols = slice(2, 4), slice((20 + 5 * t) // 28, (70 + 5 * t) // 28 + 1)
        inside = found.motion[t, rows, cols].mean()
        outside = found.motion[t].copy()
        outside[1:5, max(0, cols.start - 1) : cols.stop + 1] = np.nan
        assert inside > 2 * np.nanmean(outside)


def test_vectors_of_sparse_frames_need_no_reference_in_the_list():
    data = make_clip(io.BytesIO(), moving_square(40), "libx264", "mp4").getvalue()
    found, *_ = score_file(data, np.array([0, 11, 23, 38]))
    assert found.signal_source.tolist() == ["residual", "motion", "motion", "motion"]
    assert np.isfinite(found.score).all()


def test_scores_do_not_depend_on_the_run():
    first = score_file(real_clip("carphone_pristine").read_bytes())[0]
    second = score_file(real_clip("carphone_pristine").read_bytes())[0]
    np.testing.assert_array_equal(first.score, second.score)


@pytest.mark.parametrize("patch, merge", [(14, 2), (16, 2), (14, 3), (15, 2), (15, 3), (7, 1)])
def test_any_patch_and_merge(patch, merge):
    side = patch * merge
    size = (side * 3, side * 4)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for _ in range(3)]
    table = read_packets(open_source(np.stack(frames)))
    decoded = [DecodedFrame(index, PlanarPicture.from_rgb(frame), "") for index, frame in enumerate(frames)]
    found = score_frames(decoded, table, size, size, CodecStreamConfig(patch=patch, merge=merge))
    assert found.score.shape == (3, 3, 4) and np.isfinite(found.score).all()
    assert block_features([frame.picture for frame in decoded], (3, 4), merge).shape[:3] == (3, 3, 4)


def test_frames_that_arrive_one_by_one_score_as_if_they_were_all_there(monkeypatch):
    """With batches of one, a few and all frames; only sums are made in another order."""
    data = real_clip("carphone_pristine").read_bytes()
    whole, *_ = score_file(data, np.arange(0, 60))
    for values in (1, 6 * SIZE[0] * SIZE[1], 2**30):
        monkeypatch.setattr(scoring, "BATCH_VALUES", values)
        found, *_ = score_file(data, np.arange(0, 60))
        np.testing.assert_allclose(found.score, whole.score, rtol=1e-3, atol=1e-3)


def test_quantiser_steps_mark_the_blocks_that_cost_bits():
    """The bits of a packet go to the blocks whose macroblocks step, by residual otherwise."""
    data = make_clip(io.BytesIO(), moving_square(12), "libx264", "mp4", options={"bf": "0"}).getvalue()
    source = open_source(data)
    table = read_packets(source)
    frames = list(decode_frames(source, table, range(12), size=SIZE, side_data=True))
    rows, cols = frames[5].quantiser_steps.shape
    left = np.zeros((rows, cols), dtype=bool)
    left[:, : cols // 2] = True

    def share_of_the_left(steps):
        frames[5].quantiser_steps = steps
        bits = score_frames(frames, table, SIZE, (source.height, source.width), CONFIG).bitrate[5]
        return bits[:, : GRID[1] // 4].sum() / bits.sum()

    plain = share_of_the_left(None)
    assert share_of_the_left(np.zeros_like(left)) == pytest.approx(plain, rel=1e-4)
    assert share_of_the_left(left) > plain > share_of_the_left(~left)


def test_planes_are_halved_and_quartered_as_they_are_pooled():
    plane = np.random.default_rng(0).integers(0, 256, (56, 84), dtype=np.uint8)
    plane[:8] = 255
    halves, quarters = halves_and_quarters(plane)
    np.testing.assert_array_equal(halves / np.float32(4), pool(plane, 28, 42))
    np.testing.assert_array_equal(quarters / np.float32(16), pool(plane, 14, 21))


def test_features_measure_squared_pixel_differences():
    a, b = np.zeros((2, *SIZE, 3), dtype=np.uint8)
    b[28:56, 56:84] = (3, 4, 12)
    blocks = (GRID[0] // 2, GRID[1] // 2)
    features = block_features([PlanarPicture.from_rgb(image) for image in (a, b)], blocks)
    error = ((features[1] - features[0]) ** 2).sum(axis=2)
    assert error[1, 2] == pytest.approx(28 * 28 * 169)
    assert error.sum() == pytest.approx(error[1, 2])


def test_real_frames_are_good():
    source = open_source(real_clip("bikes"))
    table = read_packets(source)
    pictures = [frame.picture for frame in decode_frames(source, table, np.arange(0, 250, 25), size=SIZE)]
    assert not bad_frames([*pictures, PlanarPicture.from_rgb(texture().astype(np.uint8))]).any()


def test_the_shortcut_for_varied_frames_changes_no_verdict():
    rng, pictures, verdicts = np.random.default_rng(0), [], []
    for _ in range(200):
        base = rng.integers(0, 256, 3) if rng.random() < 0.7 else rng.choice([0, 128, 130])
        frame = (base + rng.normal(scale=rng.choice([0, 2, 5, 12, 30]), size=(56, 56, 3))).clip(0, 255)
        if rng.random() < 0.5:
            frame[: rng.integers(0, 56)] = (rng.integers(0, 100), rng.integers(170, 256), rng.integers(0, 100))
        frame = frame.astype(np.uint8)
        pixels = frame.reshape(-1, 3).astype(np.float64)
        luma = pixels @ [0.299, 0.587, 0.114]
        mean, std = pixels.mean(axis=0), pixels.std(axis=0)
        black = luma.mean() <= 8 and luma.std() <= 6
        grey = luma.std() <= 4 and (std <= 4).all() and (np.ptp(pixels, axis=0) <= 12).all()
        grey &= abs(luma.mean() - 129) <= 6 and (abs(mean - 129) <= 6).all()
        green = ((pixels[:, 1] >= 180) & (pixels[:, 0] <= 90) & (pixels[:, 2] <= 90)).mean() >= 0.35
        lost = mean[1] > 120 and mean[1] - max(mean[0], mean[2]) > 80 and std[1] < 50
        pictures.append(PlanarPicture.from_rgb(frame))
        verdicts.append(black or grey or green or lost)
    assert 20 < sum(verdicts) < 180
    assert bad_frames(pictures).tolist() == verdicts


@pytest.mark.parametrize("colour, bad", [((49, 60, 73), False), ((255, 255, 255), False), ((130, 130, 130), True)])
def test_of_solid_frames_only_the_grey_of_lost_pictures_is_bad(colour, bad):
    frame = np.full((*SIZE, 3), colour, dtype=np.uint8)
    assert bad_frames([PlanarPicture.from_rgb(frame)]).tolist() == [bad]


def test_what_comes_back_within_half_a_second_is_no_surprise():
    """A square that jumps to and fro over the same two places, four times a second; the same, with a third place."""
    images = np.repeat(texture()[None].clip(0, 255), 16, axis=0)
    for at, image in enumerate(images):
        left = 28 if at % 4 < 2 else 84
        image[28:56, left : left + 28] = texture(seed=3)[:28, :28]
    familiar = score(images, fps=16).surprise
    assert familiar[2].max() > 1 and not familiar[4:].any()
    images[12:, 84:112, 28:56] = texture(seed=4)[:28, :28]
    assert score(images, fps=16).surprise[12].max() > 1


def test_a_group_is_compared_with_the_one_before():
    """Wherever a group ends, its frames are measured as if the video were one; only the fusion is of the group, and
    that what surprises in its last frame merely passes is not known yet."""
    source = open_source(real_clip("carphone_pristine"))
    table = read_packets(source)
    scorers = [Scorer(table, SIZE, (source.height, source.width), CONFIG) for _ in range(2)]
    parts = []
    for frame in decode_frames(source, table, range(60), size=SIZE, side_data=True):
        for scorer in scorers:
            scorer.push(frame)
        if frame.index in (24, 59):
            parts.append(scorers[0].finish())
    whole, halves = scorers[1].finish(), Evidence.concatenate(parts)
    assert (halves.surprise[24] >= whole.surprise[24]).all()
    halves.surprise[24] = whole.surprise[24]
    for name in ("motion", "residual", "change", "surprise"):
        np.testing.assert_allclose(getattr(halves, name), getattr(whole, name), rtol=1e-2, atol=1e-2, err_msg=name)
    assert (halves.score[25] > 0).any()


def test_a_signal_counts_by_its_weight():
    rng = np.random.default_rng(0)
    maps = {name: rng.random((4, 3, 5), dtype=np.float32) for name in ("motion", "residual", "bitrate", "change")}
    none = CodecStreamConfig(motion_weight=0, residual_weight=0, bitrate_weight=0)
    maps["surprise"] = np.zeros((4, 3, 5), np.float32)
    plain = fuse(**maps, config=none)
    for name in ("motion", "residual", "bitrate"):
        once, twice = (
            fuse(**maps, config=none.replace(**{f"{name}_weight": weight})) - plain for weight in (1.0, 2.0)
        )
        np.testing.assert_allclose(twice, 2 * once, rtol=1e-3, atol=1e-5)
        assert np.corrcoef(once.ravel(), maps[name].ravel())[0, 1] > 0.999
