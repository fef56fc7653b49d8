# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from transformers_ov2.evaluation.events import Event, EventClip, covered_events, event_recall


def event(start, duration, x, y, dx=0.0, size=28):
    frames = tuple(range(start, start + duration))
    boxes = tuple((x + dx * t - size / 2, y - size / 2, x + dx * t + size / 2, y + size / 2) for t in range(duration))
    return Event(frames, boxes)


def clip_with(*events):
    return EventClip(b"", events, width=560, height=280, num_frames=100)


GRID = (20, 40)  # 10 x 20 blocks of 28 pixels


def test_recall_counts_events_covered_in_place_and_time():
    clip = clip_with(event(10, 5, 100, 50), event(30, 5, 300, 200), event(60, 5, 500, 100))
    assert event_recall(clip, np.array([[12, 2, 6]]), GRID) == pytest.approx(1 / 3)
    assert event_recall(clip, np.array([[15, 2, 6]]), GRID) == 0  # too late
    assert event_recall(clip, np.array([[12, 2, 8]]), GRID) == 0  # beside it
    every = np.array([[14, 3, 7], [30, 14, 21], [64, 6, 34], [-1, -1, -1]])
    assert event_recall(clip, every, GRID) == 1
    assert covered_events(clip, every[1:], GRID).tolist() == [False, True, True]


def test_recall_follows_a_moving_event():
    clip = clip_with(event(10, 10, 300, 140, dx=-10.0))
    assert event_recall(clip, np.array([[10, 10, 20]]), GRID) == 1
    assert event_recall(clip, np.array([[18, 10, 20]]), GRID) == 0
    assert event_recall(clip, np.array([[18, 10, 14]]), GRID) == 1


def test_frames_in_which_an_event_is_covered_do_not_count():
    seen = event(10, 6, 100, 50)
    clip = clip_with(Event(seen.frames[:2] + seen.frames[4:], seen.boxes[:2] + seen.boxes[4:]))
    assert event_recall(clip, np.array([[12, 2, 6], [13, 2, 6]]), GRID) == 0
    assert event_recall(clip, np.array([[14, 2, 6]]), GRID) == 1
