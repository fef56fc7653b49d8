# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import io
from dataclasses import replace

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from transformers_ov2.codec import tokenize_video
from transformers_ov2.evaluation.events import event_recall
from transformers_ov2.evaluation.scenes import KINDS, SETS, load_clip, make_clip, scenes


def tiny(look, kind, **changes):
    """The first scene of a kind, small and short."""
    scene = next(scene for scene in scenes(look) if scene.row == kind)
    tiny = {"width": 256, "height": 144, "seconds": 2.0, "num_events": 1 if kind == "blink" else 2}
    return replace(scene, **tiny | changes)


def frames_of(clip):
    with av.open(io.BytesIO(clip.data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24", threads=1) for frame in container.decode(video=0)])


@pytest.mark.parametrize("look", ["development", "evaluation"])
@pytest.mark.parametrize("kind", KINDS)
def test_truth_matches_the_pictures(look, kind):
    scene = tiny(look, kind)
    clip = make_clip(scene)
    frames = frames_of(clip).astype(np.float32)
    assert len(frames) == clip.num_frames == scene.seconds * scene.fps
    assert frames.shape[1:] == (clip.height, clip.width, 3) == (144, 256, 3)
    assert len(clip.events) == scene.num_events

    def centre(t, box):
        x, y = round((box[0] + box[2]) / 2), round((box[1] + box[3]) / 2)
        return frames[t, y - 3 : y + 4, x - 3 : x + 4].mean(axis=(0, 1))

    last = 0
    for event in clip.events:
        assert event.frames[0] > last and event.frames[-1] < clip.num_frames and len(event.frames) >= 4
        last = event.frames[-1]
        shown = np.array([centre(t, box) for t, box in zip(event.frames, event.boxes)])
        contrast = 6 if kind == "lowlight" else 20
        # One colour all the time, where it is said to be, and another one there before.
        if kind not in ("fade", "flicker"):
            assert np.abs(shown - np.median(shown, axis=0)).mean() < contrast
        before = centre(event.frames[0] - 1, event.boxes[0])
        assert np.abs(shown[len(shown) // 2] - before).max() > contrast


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9"])
def test_one_scene_gives_the_same_file(codec):
    scene = tiny("evaluation", "mixed", codec=codec, seconds=1.0, num_events=1)
    first, *again, other = (make_clip(replace(scene, seed=seed)) for seed in (3, 3, 3, 4))
    assert all(clip == first for clip in again)
    assert other.data != first.data and other.events != first.events


def test_the_sets_share_kinds_and_rows_only():
    for full in (False, True):
        sets = {which: scenes(which, full) for which in SETS}
        seeds = [{scene.seed for scene in of_set} for of_set in sets.values()]
        assert sum(map(len, seeds)) == len(set.union(*seeds))
        for which, of_set in sets.items():
            assert {scene.row for scene in of_set} == {scene.row for scene in sets["development"]} >= set(KINDS)
            assert len({scene.name for scene in of_set}) == len(of_set)
            assert {scene.look for scene in of_set} == {"development" if which == "development" else "evaluation"}
        # Of one look, they are kept in one folder.
        assert not {scene.name for scene in sets["evaluation"]} & {scene.name for scene in sets["holdout"]}
    for which in SETS:
        assert {scene.row for scene in scenes(which)} <= {scene.row for scene in scenes(which, full=True)}
    with pytest.raises(ValueError, match="development, evaluation"):
        scenes("test")


def test_encoding_is_the_one_that_was_asked_for():
    for row, codec, keys in (("gop 12", "h264", 5), ("hevc", "hevc", 1), ("vp9", "vp9", 1)):
        scene = tiny("development", row)
        with av.open(io.BytesIO(make_clip(scene).data)) as container:
            assert container.streams.video[0].codec_context.name == codec
            frames = list(container.decode(video=0))
            assert sum(frame.key_frame for frame in frames) == keys
    for row, has_b in (("no b-frames", False), ("pan", True)):
        with av.open(io.BytesIO(make_clip(tiny("development", row)).data)) as container:
            types = {frame.pict_type for frame in container.decode(video=0)}
        assert (PictureType.B in types) == has_b


def test_clips_are_kept_in_a_folder(tmp_path):
    scene = tiny("development", "static", seconds=1.0, num_events=1)
    path, made = load_clip(scene, tmp_path)
    written = path.stat().st_mtime_ns
    again, read = load_clip(scene, tmp_path)
    assert again == path and read == made and path.stat().st_mtime_ns == written
    assert path.read_bytes() == made.data
    _, other = load_clip(replace(scene, crf=40), tmp_path)  # of the same name, made anew
    assert other.data != made.data and path.read_bytes() == other.data


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="static, blink, pan"):
        make_clip(replace(tiny("development", "static"), kind="storm"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["static", "noise"])
def test_evidence_finds_the_events(kind):
    scene = next(scene for scene in scenes("development") if scene.row == kind)
    clip = make_clip(replace(scene, seconds=8.0, num_events=8))
    stream = tokenize_video(clip.data, target_canvas=4)
    assert event_recall(clip, stream.block_positions(), stream.grid_thw[1:]) >= 0.85
    # The recall is not bought with frames: eight for each canvas.
    assert len(stream.runs()) <= 8 * 4
