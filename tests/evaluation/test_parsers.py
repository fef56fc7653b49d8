# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from transformers_ov2.evaluation.parsers import (
    Track,
    format_tracks,
    parse_choice,
    parse_interval,
    parse_number,
    parse_seconds,
    parse_tracks,
)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ("[1.25, 3.50]", [1.25, 3.5]),
        ("She jumps at [3.5, 1]", [1.0, 3.5]),
        ("[]", []),
        ("It jumps at 1.25 s and 3.5 seconds.", [1.25, 3.5]),
        ("[see below] 2.00s", [2.0]),
        ('["1.0"] then 4 sec', [4.0]),
        ("[NaN] 2 s", [2.0]),
        ("Three jumps.", []),
        ("frame 12 shows", []),
    ],
)
def test_parse_seconds(answer, seconds):
    assert parse_seconds(answer) == seconds


@pytest.mark.parametrize(
    ("answer", "interval"),
    [
        ("The event happens in 3.2 - 7.5 seconds.", (3.2, 7.5)),
        ("From 10 seconds to 12.25 seconds", (10.0, 12.25)),
        ("between 1 and 2 s", (1.0, 2.0)),
        ("7.5 – 3.2", (7.5, 3.2)),
        ("From 1:03 to 1:10.5", (63.0, 70.5)),
        ("0:01:03 - 1:00:00", (63.0, 3600.0)),
        ("At 3.2 seconds.", None),
        ("", None),
    ],
)
def test_parse_interval(answer, interval):
    assert parse_interval(answer) == interval


@pytest.mark.parametrize(
    ("answer", "number"), [("3", 3.0), ("It jumps 12 times.", 12.0), ("-1.5", -1.5), ("none", None)]
)
def test_parse_number(answer, number):
    assert parse_number(answer) == number


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        ("B", 1),
        ("(C) a red ball", 2),
        ("b.", 1),
        ("The answer is D.", 3),
        ("A red ball is shown: (B)", 1),
        ("It is either (A) or (B).", None),
        ("E", None),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_parse_choice(answer, choice):
    assert parse_choice(answer, num_choices=4) == choice


def test_tracks_round_trip():
    track = Track("the red ball", np.array([[0.0, 1, 10, 1000], [0.5, 1, 20, 0], [1.25, 2, 5, 5]]))
    text = format_tracks(track)
    assert text == '<tracks coords="0 1 10 1000;0.5 1 20 0;1.25 2 5 5">the red ball</tracks>'
    (parsed,) = parse_tracks(f"Here: {text}.")
    assert parsed.label == track.label
    np.testing.assert_array_equal(parsed.points, track.points)


def test_tracks_leave_out_what_is_no_point():
    (track,) = parse_tracks('<tracks coords="0 1 10 20;1 1 10;2 1 1001 4;x 1 2 3;3 1 4 5">cat</tracks>')
    np.testing.assert_array_equal(track.points[:, 0], [0, 3])
    assert parse_tracks("no tracks") == []


def test_tracks_of_several_objects_per_time():
    (track,) = parse_tracks('<tracks coords="0.5 0 10 20 1 30 40; 1 0 5">cats</tracks>')
    np.testing.assert_array_equal(track.points, [[0.5, 0, 10, 20], [0.5, 1, 30, 40]])
