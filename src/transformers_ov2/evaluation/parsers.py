# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Answers of a model as numbers: times, intervals, tracks, choices. An answer that says nothing gives nothing."""

import json
import math
import re
from dataclasses import dataclass

import numpy as np


_NUMBER = r"\d+(?:\.\d+)?"
_LIST = re.compile(r"\[[^\[\]]*\]")
_SECONDS = re.compile(rf"(?<![\w.])({_NUMBER})\s*(?:seconds|second|secs|sec|s)\b", re.IGNORECASE)
_TIME = rf"(?:\d+:)*{_NUMBER}"
_INTERVAL = re.compile(rf"(?<![\w.:])({_TIME})\s*(?:seconds|s)?\s*(?:-|–|—|to|and)\s*({_TIME})", re.IGNORECASE)
_TRACKS = re.compile(r'<tracks\s+coords="([^"]*)"\s*>(.*?)</tracks>', re.DOTALL)
_LETTER = re.compile(r"(?:answer|option|choice)\s*(?:is|:)?\s*\(?([A-Z])\b|^\W*([A-Z])\b", re.IGNORECASE)
_STANDALONE = re.compile(r"\(([A-Z])\)|\b([A-Z])\b(?=[.):,]|\s*$)")


def parse_seconds(answer: str) -> list[float]:
    """
    The times that an answer lists: its first JSON list of numbers, or else every number followed by "s" or "seconds".

    Args:
        answer (`str`): such as `"[1.25, 3.50]"` or `"It jumps at 1.25 s and 3.5 seconds."`

    Returns:
        `list[float]`: seconds, ascending; empty where the answer lists none.
    """
    for match in _LIST.finditer(answer):
        try:
            values = json.loads(match[0])
        except json.JSONDecodeError:
            continue
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) == len(values) and all(map(math.isfinite, numbers)):
            return sorted(map(float, numbers))
    return sorted(float(number) for number in _SECONDS.findall(answer))


def parse_interval(answer: str) -> tuple[float, float] | None:
    """
    The interval that an answer names, as in "The event happens in 3.2 - 7.5 seconds" or "from 1:03 to 1:10".

    Returns:
        `tuple[float, float]` or `None`: start and end in seconds as the answer gives them, which may be in the wrong
        order (such an interval overlaps nothing); `None` where no two numbers are joined by "-", "to" or "and".
    """
    match = _INTERVAL.search(answer)
    return None if match is None else (_clock(match[1]), _clock(match[2]))


def _clock(time: str) -> float:
    """Seconds of `"63.5"`, `"1:03.5"` or `"0:01:03.5"`."""
    seconds = 0.0
    for part in time.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def parse_number(answer: str) -> float | None:
    """The first number of an answer, such as a count; `None` where there is none."""
    match = re.search(rf"(?<![\w.])-?{_NUMBER}", answer)
    return None if match is None else float(match[0])


def parse_choice(answer: str, num_choices: int) -> int | None:
    """
    The option that a multiple-choice answer picks: a letter that the answer starts with or calls its answer, or else
    the only one it names.

    Returns:
        `int` or `None`: 0 for A, 1 for B, …; `None` where the answer picks none of the `num_choices` options.
    """
    text = answer.strip()
    found = [match[1] or match[2] for match in _LETTER.finditer(text)]
    # "I" and "A" start sentences: a letter followed by a word is none of the options.
    if found and not re.match(r"^[AI] [a-z]", text):
        index = ord(found[0].upper()) - ord("A")
        return index if index < num_choices else None
    named = {match[1] or match[2] for match in _STANDALONE.finditer(text)}
    if len(named) != 1:
        return None
    index = ord(named.pop()) - ord("A")
    return index if index < num_choices else None


@dataclass
class Track:
    """
    Points that an answer follows under one label.

    Attributes:
        label (`str`): what is tracked.
        points (`np.ndarray` of shape `(num_points, 4)`, float64): seconds, object id, x and y from 0 to 1000, in the
            order of the answer.
    """

    label: str
    points: np.ndarray


def parse_tracks(answer: str) -> list[Track]:
    """
    The tracks of an answer in the grammar `<tracks coords="t id x y;t id x y;…">label</tracks>`; a time may be
    followed by several objects, `t id x y id x y`.

    What is not a time and whole triples of numbers, or lies outside 0 to 1000, is left out: a model that stops in the
    middle of a point keeps those before it.
    """
    tracks = []
    for coords, label in _TRACKS.findall(answer):
        points = []
        for entry in coords.split(";"):
            try:
                seconds, *rest = map(float, entry.split())
            except ValueError:
                continue
            triples = zip(rest[0::3], rest[1::3], rest[2::3])
            points += [(seconds, *triple) for triple in triples if all(0 <= value <= 1000 for value in triple[1:])]
        tracks.append(Track(label.strip(), np.array(points, dtype=np.float64).reshape(-1, 4)))
    return tracks


def format_tracks(track: Track) -> str:
    """A track in the grammar that [`parse_tracks`] reads; seconds with at most two decimals."""
    rows = [
        f"{seconds:.2f}".rstrip("0").rstrip(".") + f" {i:.0f} {x:.0f} {y:.0f}" for seconds, i, x, y in track.points
    ]
    return f'<tracks coords="{";".join(rows)}">{track.label}</tracks>'
