# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Questions about a scene, and their answers in the formats of the benchmarks that they stand for."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .scenes import (
    COLUMNS,
    DIRECTIONS,
    HEIGHT,
    HUES,
    ROWS,
    SHAPES,
    SPLITS,
    WIDTH,
    Scene,
    draw_picture,
    draw_shapes,
    make_motion,
    make_scene,
)


# What blocks of a scene with a figure show: its first frame in the air is a jump.
THINGS = ("jump", "figure", "ball", "on", "off", "wall")
BLOCK_WORDS = (*THINGS, *HUES, *SHAPES, *ROWS, *COLUMNS)
# What can be asked about a scene of each kind.
JUMP_TASKS = ("jumps", "count", "grounding")
MOTION_TASKS = ("direction", "tracking")
ORDER_TASKS = ("order",)
TASKS = (*JUMP_TASKS, *MOTION_TASKS, *ORDER_TASKS)
IMAGE_TASKS = ("picture",)
# What a vision tower learns the names of blocks from.
PICTURE_SHARES = {"one shape": 0.2, "shapes": 0.15, "figure": 0.5, "moving shapes": 0.15}
PICTURE_KINDS = tuple(PICTURE_SHARES)
NAMED_PICTURES = 4

QUESTIONS = {
    "picture": "What is in the picture, and where?",
    "jumps": "At which seconds does the figure jump?",
    "count": "How many times does the figure jump?",
    "grounding": "When is the lamp on?",
    "direction": "Where does the {} move?",
    "tracking": "Track the {}",
    "order": "In which order do the shapes appear?",
    # A timestamp with what its blocks show, for every timestamp.
    "contents": "What is shown at each second?",
}


@dataclass(frozen=True)
class Sample:
    """
    A question about a scene or a picture, and its answer; `truth` is the answer as plain data: seconds of the jumps,
    their number, (start, end) in seconds, (seconds, x, y) of the points of a track in thousandths of the frame, or the
    answer itself.
    """

    task: str
    level: int
    question: str
    answer: str
    truth: object
    scene: Scene | None = None
    picture: np.ndarray | None = None


def make_video(split: str, level: int, task: str, seed: int) -> Sample:
    """The sample of a seed: the same on every machine, and another one for every split, level, task and seed."""
    rng = np.random.default_rng([SPLITS[split].seed, level, _scene_kind(task), seed])
    if task in JUMP_TASKS:
        scene = make_scene(split, level, rng)
    else:
        scene = make_motion(split, level, rng, shapes=1 if task in MOTION_TASKS else int(rng.integers(2, 4)))
    return ask(scene, task)


def _scene_kind(task: str) -> int:
    """Tasks of one kind ask about the same scenes."""
    return next(i for i, tasks in enumerate((JUMP_TASKS, MOTION_TASKS, ORDER_TASKS, IMAGE_TASKS)) if task in tasks)


def ask(scene: Scene, task: str) -> Sample:
    """A task's question about a scene."""
    question = QUESTIONS[task].format(scene.movers[0].name if task in MOTION_TASKS else "")
    if task == "jumps":
        truth = [round(scene.seconds(frame), 2) for frame in scene.jumps]
        answer = format_seconds(truth)
    elif task == "count":
        truth = len(scene.jumps)
        answer = str(truth)
    elif task == "grounding":
        truth = tuple(round(scene.seconds(frame), 2) for frame in scene.light)
        answer = format_interval(*truth)
    elif task == "direction":
        velocity = np.array(scene.movers[0].velocity)
        truth = answer = max(DIRECTIONS, key=lambda name: float(velocity @ DIRECTIONS[name]))
    elif task == "tracking":
        truth = _track(scene)
        points = ";".join(f"{seconds:.1f} 1 {x} {y}" for seconds, x, y in truth)
        answer = f'<tracks coords="{points}">{scene.movers[0].name}</tracks>'
    else:
        truth = answer = ", ".join(mover.name for mover in sorted(scene.movers, key=lambda mover: mover.appears))
    return Sample(task, scene.level, question, answer, truth, scene=scene)


def format_seconds(seconds: Iterable[float]) -> str:
    """Times as JumpScore wants them: a JSON list of two decimals."""
    return "[" + ", ".join(f"{time:.2f}" for time in seconds) + "]"


def format_interval(start: float, end: float) -> str:
    """An event's start and end in seconds, as the grounding benchmarks want them."""
    return f"The event happens in {start:.2f} - {end:.2f} seconds"


def _track(scene: Scene) -> list[tuple[float, int, int]]:
    """Where the shape is at every full second, in thousandths of the frame's width and height."""
    points = []
    for frame in range(0, scene.num_frames, round(scene.rate)):
        seconds = scene.seconds(frame)
        x, y = scene.view(frame, *scene.movers[0].at(seconds))
        points.append(
            (round(seconds, 1), *np.clip([1000 * x / WIDTH, 1000 * y / HEIGHT], 0, 1000).round().astype(int))
        )
    return [(seconds, int(x), int(y)) for seconds, x, y in points]


def make_image(split: str, level: int, seed: int) -> Sample:
    """A picture of one shape, and what it shows where."""
    rng = np.random.default_rng([SPLITS[split].seed, level, _scene_kind("picture"), seed])
    picture, name, _ = draw_picture(split, level, rng)
    answer = describe_picture(name)
    return Sample("picture", level, QUESTIONS["picture"], answer, answer, picture=picture)


def describe_picture(name: str) -> str:
    """A picture of one shape whose blocks have this name, like "red disc top left", in a sentence."""
    color, shape, row, column = name.split()
    return f"{'An' if color == 'orange' else 'A'} {color} {shape} at the {row} {column}."


def make_named_pictures(split: str, level: int, seed: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """
    Pictures of one of the `PICTURE_KINDS`, uint8 `[NAMED_PICTURES, HEIGHT, WIDTH, 3]`, and the names of what each
    block shows, `[NAMED_PICTURES, HEIGHT / 28, WIDTH / 28]`: words of [`BLOCK_WORDS`] with spaces between them.
    """
    rng = np.random.default_rng([SPLITS[split].seed, level, 4, PICTURE_KINDS.index(kind), seed])
    if kind == "figure":
        # Drawing a scene costs more than its frames: two starts of jumps, one of the frames around, and any other.
        scene = make_scene(split, level, rng)
        first, second, third = rng.choice(scene.jumps, 3)
        frames = [first, second, min(third + rng.choice([-1, 1, 2]), scene.num_frames - 1)]
        drawn = [(scene.image(at), scene.blocks(at)) for at in [*frames, rng.integers(scene.num_frames)]]
    else:
        drawn = [_draw_named(split, level, rng, kind) for _ in range(NAMED_PICTURES)]
    pictures, names = zip(*drawn)
    return np.stack(pictures), np.stack(names)


def _draw_named(split: str, level: int, rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    if kind == "one shape":
        picture, _, names = draw_picture(split, level, rng)
        return picture, names
    if kind == "shapes":
        return draw_shapes(split, level, rng)
    scene = make_motion(split, level, rng, shapes=int(rng.integers(1, 4)))
    frame = rng.integers(scene.num_frames)
    return scene.image(frame), scene.blocks(frame)


def describe_blocks(names: set[str]) -> str:
    """What blocks of these names show, in the order in which a model is to say it."""
    words = [name for name in THINGS[:-1] if name in names and not (name == "figure" and "jump" in names)]
    return " ".join(words) or "wall"


def format_contents(seconds: Iterable[float], contents: Iterable[str]) -> str:
    """What the blocks behind each timestamp show, as a list."""
    return "[" + ", ".join(f"{time:.2f} {words}" for time, words in zip(seconds, contents)) + "]"
