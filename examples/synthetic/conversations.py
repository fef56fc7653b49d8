# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Conversations about clips and pictures that are never drawn: what each block shows is only named.

A block is one placeholder in the text, and stands for the embeddings of the words that name it, as its token will once
the vision tower names blocks rightly. So a text model learns what follows from blocks at the price of words.
"""

from dataclasses import dataclass, field

import numpy as np

from .policies import BUDGETS
from .scenes import COLUMNS, DIRECTIONS, HUES, LEVELS, ROWS, SHAPES
from .tasks import QUESTIONS, describe_blocks, describe_picture, format_contents, format_interval, format_seconds


PLACEHOLDER = "<|vision_pad|>"
# A canvas of a stream has about so many timestamps, at every level.
TIMESTAMPS_PER_CANVAS = 4.4
# A clip of at most so many timestamps is also asked what the blocks of each show. Every other answer about times is a
# choice among these.
MOST_SHOWN = 8
PICTURES_PER_ROW = 4
# How often a conversation is as long as the streams of a budget.
LENGTHS = dict(zip(BUDGETS, (0.25, 0.3, 0.3, 0.15)))
SHARES = {"jumps": 0.65, "pictures": 0.1, "direction": 0.11, "order": 0.14}


@dataclass
class Conversation:
    """`turns` are [question, answer], the questions with placeholders; `names`, what their blocks show, in order."""

    turns: list[list[str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    kind: str = ""

    def show(self, rng: np.random.Generator, names: list[str]) -> str:
        """Blocks in any order between the markers of an image or of the blocks behind a timestamp."""
        self.names += [names[index] for index in rng.permutation(len(names))]
        return f"<|vision_start|>{PLACEHOLDER * len(names)}<|vision_end|>"


def make_conversation(level: int, seed: int) -> Conversation:
    """
    The conversation of a seed, of one of the kinds in `SHARES`: about a figure that jumps, four pictures, a shape that
    moves, shapes that appear.
    """
    rng = np.random.default_rng([8, level, seed])
    kind = list(SHARES)[rng.choice(len(SHARES), p=list(SHARES.values()))]
    talk = {"jumps": _jumps, "pictures": _pictures, "direction": _direction, "order": _order}[kind](rng, level)
    talk.kind = kind
    return talk


def _times(rng: np.random.Generator, level: int) -> np.ndarray:
    """Seconds of the timestamps of a clip of a level, about as many as its streams have."""
    canvases = rng.choice(list(LENGTHS), p=list(LENGTHS.values()))
    number = max(3, round(TIMESTAMPS_PER_CANVAS * canvases * rng.uniform(0.4, 1)))
    seconds = rng.integers(LEVELS[level].seconds[0], LEVELS[level].seconds[1] + 1)
    times = np.sort(rng.choice(100 * seconds, number, replace=False)) / 100
    if rng.random() < 0.8:
        times[0] = 0.0
    return times


def _walls(rng: np.random.Generator, most: int = 5) -> list[str]:
    return ["wall"] * int(rng.integers(0, most))


def _timestamps(rng: np.random.Generator, talk: Conversation, times: np.ndarray, shown: list[list[str]]) -> str:
    newline = "\n" * (rng.random() < 0.7)  # as after the blocks of codec videos
    return "".join(f"<{time:.2f} seconds>{talk.show(rng, names)}{newline}" for time, names in zip(times, shown))


def _ask(rng: np.random.Generator, talk: Conversation, text: str, turns: list[list[str]]) -> Conversation:
    """The turns in any order, the first behind the blocks."""
    turns = [turns[index] for index in rng.permutation(len(turns))]
    talk.turns = [[text + turns[0][0], turns[0][1]], *turns[1:]]
    return talk


def _jumps(rng: np.random.Generator, level: int) -> Conversation:
    talk = Conversation()
    times = _times(rng, level)
    number = len(times)
    jumps = np.zeros(number, bool)
    # A few of the clip's are not shown.
    shown_jumps = rng.binomial(rng.integers(LEVELS[level].jumps[0], LEVELS[level].jumps[1] + 1), 0.8)
    jumps[rng.choice(number, min(shown_jumps, number // 2), replace=False)] = True
    start, end = np.sort(rng.choice(number, 2, replace=False))
    distractors = list(rng.choice(SHAPES, rng.integers(0, 3), replace=False)) if rng.random() < 0.4 else []
    # Where blocks are chosen, not all of a frame is shown; where the figure jumps and the lamp changes, they are.
    partly = rng.random() < 0.6
    shown, contents = [], []
    for index in range(number):
        lamp = "on" if start <= index < end else "off"
        names = []
        if jumps[index] or not partly or rng.random() < 0.6:
            names += ["jump" if jumps[index] else "figure"] * int(rng.integers(1, 5))
        if index in (start, end) or not partly or rng.random() < 0.3:
            names += [lamp] * int(rng.integers(1, 3))
        names += ["ball"] * int(rng.integers(1, 3) if rng.random() < 0.4 else 0)
        names += [str(name) for name in distractors if rng.random() < 0.5]
        names += _walls(rng, 16 if not partly and number < 12 else 5)
        shown.append(names or ["wall"])
        contents.append(describe_blocks(set(names)))
    turns = [
        [QUESTIONS["jumps"], format_seconds(times[jumps])],
        [QUESTIONS["count"], str(jumps.sum())],
        [QUESTIONS["grounding"], format_interval(times[start], times[end])],
    ]
    if number <= MOST_SHOWN:
        turns.append([QUESTIONS["contents"], format_contents(times, contents)])
    return _ask(rng, talk, _timestamps(rng, talk, times, shown), turns)


def _pictures(rng: np.random.Generator, level: int) -> Conversation:
    talk = Conversation()
    for _ in range(PICTURES_PER_ROW):
        name = f"{_colored_shape(rng)} {rng.choice(ROWS)} {rng.choice(COLUMNS)}"
        names = [name] * int(rng.integers(1, 5)) + _walls(rng, 34)
        talk.turns.append([talk.show(rng, names) + QUESTIONS["picture"], describe_picture(name)])
    return talk


def _colored_shape(rng: np.random.Generator) -> str:
    return f"{rng.choice(list(HUES))} {rng.choice(SHAPES)}"


def _direction(rng: np.random.Generator, level: int) -> Conversation:
    """A shape that crosses a third of the frame at least."""
    talk = Conversation()
    times = _times(rng, 1)
    name, direction = _colored_shape(rng), str(rng.choice(list(DIRECTIONS)))
    dx, dy = DIRECTIONS[direction]
    # In thirds of the frame.
    start, way = rng.uniform(0.3, 2.7, 2), rng.uniform(0.85, 1.5)
    for axis, step in enumerate((dx, dy)):
        if step:
            start[axis] = rng.uniform(0.3, 2.7 - way) + (way if step < 0 else 0)
    shown = []
    for time in times:
        moved = way * time / times[-1]
        column, row = int(start[0] + dx * moved), int(start[1] + dy * moved)
        shown.append([f"{name} {ROWS[row]} {COLUMNS[column]}"] * int(rng.integers(1, 5)) + _walls(rng))
    return _ask(rng, talk, _timestamps(rng, talk, times, shown), [[QUESTIONS["direction"].format(name), direction]])


def _order(rng: np.random.Generator, level: int) -> Conversation:
    talk = Conversation()
    times = _times(rng, 1)
    number = int(rng.integers(2, 4)) if len(times) > 3 else 2
    colors, shapes = rng.permutation(list(HUES))[:number], rng.permutation(SHAPES)[:number]
    names = [f"{color} {shape}" for color, shape in zip(colors, shapes)]
    places = [f"{rng.choice(ROWS)} {column}" for column in rng.permutation(COLUMNS)[:number]]
    appears = np.sort(rng.choice(np.arange(1, len(times)), number, replace=False))
    partly = rng.random() < 0.5
    shown = []
    for index in range(len(times)):
        blocks = []
        for name, place, first in zip(names, places, appears):
            if index == first or index > first and not (partly and rng.random() < 0.6):
                blocks += [f"{name} {place}"] * int(rng.integers(1, 5))
        shown.append(blocks + _walls(rng) or ["wall"])
    return _ask(rng, talk, _timestamps(rng, talk, times, shown), [[QUESTIONS["order"], ", ".join(names)]])
