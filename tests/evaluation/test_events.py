# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import io

import av
import numpy as np
import pytest

from transformers_ov2.codec import tokenize_video
from transformers_ov2.evaluation.events import EVENT_KINDS, Event, EventClip, event_recall, make_event_clip


def frames_of(clip):
    with av.open(io.BytesIO(clip.data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24", threads=1) for frame in container.decode(video=0)])


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_truth_matches_the_pictures(kind):
    clip = make_event_clip(kind, seconds=3, width=320, height=180)
    frames = frames_of(clip).astype(np.float32)
    assert frames.shape == (75, 180, 320, 3) == (clip.num_frames, clip.height, clip.width, 3)
    assert len(clip.events) == (1 if kind == "blink" else 3)
    for event in clip.events:
        assert 4 <= event.duration <= 11 and event.start >= 1 and event.start + event.duration <= 75
        for t in range(event.start, event.start + event.duration):
            x, y = round(event.x + event.dx * (t - event.start)), round(event.y)
            inside = frames[t, y - 6 : y + 6, x - 6 : x + 6]
            assert inside.mean(axis=(0, 1)).round(-1).tolist() == pytest.approx(
                frames[event.start, round(event.y) - 6 : round(event.y) + 6, round(event.x) - 6 : round(event.x) + 6]
                .mean(axis=(0, 1))
                .round(-1)
                .tolist(),
                abs=21,
            )
        before = frames[event.start - 1, round(event.y), round(event.x) - 6 : round(event.x) + 6].mean(axis=0)
        during = frames[event.start, round(event.y), round(event.x) - 6 : round(event.x) + 6].mean(axis=0)
        assert np.abs(before - during).max() > 25


def test_events_never_overlap_in_time():
    events = make_event_clip("static", seconds=8, width=160, height=96).events
    assert all(a.start + a.duration <= b.start for a, b in zip(events, events[1:]))


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_one_kind_and_seed_give_the_same_file(kind):
    first, *again, other = (make_event_clip(kind, seed=s, seconds=1, width=160, height=96) for s in (3, 3, 3, 3, 4))
    assert all(clip == first for clip in again)
    assert other.data != first.data and other.events != first.events


def test_pan_carries_its_events_along():
    clip = make_event_clip("pan", seconds=2, width=320, height=180)
    assert all(event.dx == -1 for event in clip.events)


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="static, pan, noise, fade, blink"):
        make_event_clip("zoom")


def clip_with(*events):
    return EventClip(b"", list(events), width=560, height=280, num_frames=100)


def test_recall_counts_events_covered_in_place_and_time():
    # 20 x 10 blocks of 28 pixels.
    events = [Event(10, 5, 100, 50, 28), Event(30, 5, 300, 200, 28), Event(60, 5, 500, 100, 28)]
    grid = (20, 40)
    assert event_recall(clip_with(*events), np.array([[12, 2, 6]]), grid) == pytest.approx(1 / 3)
    assert event_recall(clip_with(*events), np.array([[15, 2, 6]]), grid) == 0  # too late
    assert event_recall(clip_with(*events), np.array([[12, 2, 8]]), grid) == 0  # beside it
    every = np.array([[14, 3, 7], [30, 14, 21], [64, 6, 34], [-1, -1, -1]])
    assert event_recall(clip_with(*events), every, grid) == 1


def test_recall_follows_a_moving_event():
    event = Event(10, 10, 300, 140, 28, dx=-10.0)
    grid = (20, 40)
    assert event_recall(clip_with(event), np.array([[10, 10, 20]]), grid) == 1
    assert event_recall(clip_with(event), np.array([[18, 10, 20]]), grid) == 0
    assert event_recall(clip_with(event), np.array([[18, 10, 14]]), grid) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_evidence_finds_the_events(kind):
    clip = make_event_clip(kind, seconds=12)
    stream = tokenize_video(clip.data, target_canvas=4)
    grid = stream.grid_thw[1:]
    assert event_recall(clip, stream.block_positions(), grid) >= 0.95
    # The recall is not bought with frames: eight for each canvas.
    assert len(stream.runs()) <= 8 * 4
    still = dataclasses.replace(clip, events=[dataclasses.replace(e, start=0, duration=1) for e in clip.events])
    assert event_recall(still, stream.block_positions(), grid) == 1  # the anchor shows everything at frame 0
