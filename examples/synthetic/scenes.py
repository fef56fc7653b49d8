# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Scenes, drawn frame by frame: a figure that jumps in front of a textured wall, or shapes that move over it.

A scene is a list of numbers drawn from one seed; its frames are drawn when they are asked for, so that a clip never
has to be held. Splits share no look: textures, shades of the named colours, sizes, frame rates and encoder settings
of the test split occur neither in training nor in validation.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np


HEIGHT, WIDTH = 140, 196
FLOOR = 112  # the row where the wall ends
BLOCK = 28  # pixels across a token of the micro checkpoint
COVERED = 0.06  # the share of a block from which on it shows a thing
MARGIN = 48  # how far the camera may look beyond the first view, in pixels

# Hue in turns; saturation and value are the split's.
HUES = {"red": 0.0, "orange": 0.085, "yellow": 0.155, "green": 0.34, "cyan": 0.5, "blue": 0.62, "purple": 0.78}
SHAPES = ("disc", "square", "triangle", "ring", "cross")
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Split:
    """
    What the clips of a split look like. `sizes` scales figures and shapes, `saturation` and `value` are those of named
    colours, `encoders` are options of PyAV's encoders.
    """

    seed: int
    textures: tuple[str, ...]
    sizes: tuple[tuple[float, float], ...]
    saturation: tuple[float, float]
    value: tuple[float, float]
    rates: tuple[Fraction, ...]
    encoders: tuple[tuple[str, dict[str, str]], ...]


def _x264(**options: str) -> tuple[str, dict[str, str]]:
    # Part of x264's assembly gives other decisions from run to run; this leaves it out.
    return "libx264", {**options, "x264-params": "cpu-independent=1"}


def _x265(**options: str) -> tuple[str, dict[str, str]]:
    return "libx265", {**options, "x265-params": "pools=none:frame-threads=1:log-level=error"}


SPLITS = {
    "train": Split(
        seed=1,
        textures=("blotches", "stripes", "checks"),
        sizes=((0.85, 0.96), (1.04, 1.2)),
        saturation=(0.72, 0.86),
        value=(0.68, 0.84),
        # Many, so that any two decimals occur: with three rates, a model learns their decimals by heart.
        rates=tuple(Fraction(rate, 10) for rate in (80, 83, 86, 93, 96, 100, 104, 107, 113, 117, 120, 130, 136)),
        encoders=(
            _x264(preset="ultrafast", g="60"),
            _x264(preset="superfast", g="100"),
            _x264(preset="veryfast", g="250"),
            _x264(preset="veryfast", g="48", bf="2"),
            _x265(preset="ultrafast", g="120"),
        ),
    ),
    "validation": Split(
        seed=2,
        textures=("bricks",),
        sizes=((0.96, 0.99),),
        saturation=(0.86, 0.9),
        value=(0.84, 0.88),
        rates=(Fraction(9),),
        encoders=(_x264(preset="superfast", g="75"), _x265(preset="ultrafast", g="90")),
    ),
    "test": Split(
        seed=3,
        textures=("waves", "dots"),
        sizes=((0.99, 1.04),),
        saturation=(0.9, 1.0),
        value=(0.88, 1.0),
        rates=(Fraction(11), Fraction(25, 2)),
        encoders=(
            _x264(preset="veryfast", g="80", bf="3"),
            _x264(preset="faster", g="300"),
            _x265(preset="superfast", g="150"),
        ),
    ),
}


@dataclass(frozen=True)
class Level:
    """
    How hard a clip is. Pairs are the bounds of a uniform draw: `seconds`, number of `jumps`, height of the `figure`
    in pixels, `distractors` that move, `cuts` to another wall, `crf` of H.264. The rest are upper limits: `contrast`
    of the texture and `noise` of the sensor (σ) in grey levels, `pan` in pixels, `zoom` and `light` as shares, `walk`
    of the figure in pixels per second.
    """

    seconds: tuple[int, int]
    jumps: tuple[int, int]
    figure: tuple[int, int]
    contrast: float
    crf: tuple[int, int]
    distractors: tuple[int, int] = (0, 0)
    cuts: tuple[int, int] = (0, 0)
    noise: float = 0.0
    pan: float = 0.0
    zoom: float = 0.0
    light: float = 0.0
    walk: float = 0.0


LEVELS = {
    1: Level(seconds=(6, 6), jumps=(1, 3), figure=(42, 50), contrast=6, crf=(20, 26)),
    2: Level(seconds=(8, 12), jumps=(2, 6), figure=(34, 44), contrast=14, crf=(22, 28), noise=2, light=0.15),
    3: Level(
        seconds=(14, 20),
        jumps=(5, 12),
        figure=(28, 38),
        contrast=20,
        crf=(24, 30),
        distractors=(1, 2),
        cuts=(0, 1),
        noise=3,
        pan=20,
        light=0.2,
    ),
    4: Level(
        seconds=(26, 30),
        jumps=(12, 20),
        figure=(24, 32),
        contrast=24,
        crf=(28, 34),
        distractors=(2, 3),
        cuts=(1, 3),
        noise=4,
        pan=40,
        zoom=0.12,
        light=0.25,
        walk=6,
    ),
}


# Limbs of the figure: (x, y) in figure heights, feet at the origin and y upwards. Mirrored, the other side.
_POSES = {
    "stand": [[(0, 0.74), (0, 0.42)], [(0, 0.70), (0.17, 0.45)], [(0, 0.42), (0.10, 0.03)]],
    "crouch": [
        [(0, 0.56), (0, 0.28)],
        [(0, 0.52), (0.26, 0.36)],
        [(0, 0.28), (0.22, 0.16)],
        [(0.22, 0.16), (0.1, 0.03)],
    ],
    "up": [[(0, 0.78), (0, 0.44)], [(0, 0.74), (0.12, 1.10)], [(0, 0.44), (0.04, 0.03)]],
    "peak": [
        [(0, 0.76), (0, 0.44)],
        [(0, 0.70), (0.34, 0.72)],
        [(0, 0.44), (0.20, 0.32)],
        [(0.20, 0.32), (0.08, 0.15)],
    ],
    "down": [[(0, 0.74), (0, 0.42)], [(0, 0.70), (0.28, 0.95)], [(0, 0.42), (0.26, 0.05)]],
}
_HEADS = {"stand": 0.88, "crouch": 0.68, "up": 0.92, "peak": 0.90, "down": 0.88}
# Widths and heights of the plain figure.
_BODIES = {"stand": (0.42, 1.0), "crouch": (0.56, 0.7), "up": (0.28, 1.12), "peak": (0.46, 0.86), "down": (0.36, 1.0)}
# Height above the ground, in jump heights, of the frames of a jump: a leap, and a fall that is slower.
_FLIGHT = ((0.0, 0.0), (0.17, 0.72), (0.4, 1.0), (0.6, 0.86), (0.8, 0.5), (1.0, 0.0))


@dataclass
class Sprite:
    """A small picture, float32 `[h, w, 3]`, how much it covers, float32 `[h, w, 1]`, and the (x, y) of its origin."""

    color: np.ndarray
    alpha: np.ndarray
    anchor: tuple[int, int]

    def paste(self, image: np.ndarray, x: float, y: float) -> None:
        left, top = round(x) - self.anchor[0], round(y) - self.anchor[1]
        height, width = self.alpha.shape[:2]
        y0, y1 = max(top, 0), min(top + height, image.shape[0])
        x0, x1 = max(left, 0), min(left + width, image.shape[1])
        if y0 < y1 and x0 < x1:
            part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
            image[y0:y1, x0:x1] += self.alpha[part] * (self.color[part] - image[y0:y1, x0:x1])


def block_cover(sprite: Sprite, x: float, y: float) -> np.ndarray:
    """The share of each block that a sprite covers, float32 `[HEIGHT / 28, WIDTH / 28]`."""
    cover = np.zeros((HEIGHT, WIDTH, 1), np.float32)
    Sprite(np.ones_like(sprite.alpha), sprite.alpha, sprite.anchor).paste(cover, x, y)
    return cover.reshape(HEIGHT // BLOCK, BLOCK, WIDTH // BLOCK, BLOCK).mean((1, 3))


def bare_blocks() -> np.ndarray:
    """Names of the blocks of a bare wall, `[HEIGHT / 28, WIDTH / 28]`."""
    return np.full((HEIGHT // BLOCK, WIDTH // BLOCK), "wall", dtype=object)


def cover_blocks(names: np.ndarray, name: str, sprite: Sprite, x: float, y: float) -> None:
    """Gives the blocks that a sprite covers its name; that of a coloured shape, "red disc", with where it is."""
    names[block_cover(sprite, x, y) > COVERED] = f"{name} {place_words(x, y)}" if " " in name else name


def place_words(x: float, y: float) -> str:
    """The thirds of the frame in which a point is, like "top left"."""
    row, column = (int(np.clip(3 * at // size, 0, 2)) for at, size in ((y, HEIGHT), (x, WIDTH)))
    return f"{ROWS[row]} {COLUMNS[column]}"


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """RGB in 0…255, float32 `(3,)`."""
    channels = (np.array([5, 3, 1]) + 6 * hue) % 6
    return (255 * value * (1 - saturation * np.clip(np.minimum(channels, 4 - channels), 0, 1))).astype(np.float32)


def named_color(rng: np.random.Generator, split: Split, name: str) -> np.ndarray:
    return hsv(HUES[name] + rng.uniform(-0.012, 0.012), rng.uniform(*split.saturation), rng.uniform(*split.value))


def shape_sprite(shape: str, size: float, color: np.ndarray) -> Sprite:
    """A shape of `size` pixels across, around its middle."""
    half = int(np.ceil(size / 2)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    r = size / 2
    if shape == "disc":
        inside = r - np.hypot(x, y)
    elif shape == "square":
        inside = 0.85 * r - np.maximum(np.abs(x), np.abs(y))
    elif shape == "triangle":
        inside = np.minimum(0.75 * r - y, (y + r - 1.9 * np.abs(x)) / 2.15)
    elif shape == "ring":
        inside = 0.2 * r - np.abs(np.hypot(x, y) - 0.8 * r)
    else:
        inside = 0.3 * r - np.minimum(np.abs(x), np.abs(y))
        inside = np.minimum(inside, r - np.maximum(np.abs(x), np.abs(y)))
    alpha = np.clip(inside + 0.5, 0, 1)[..., None]
    return Sprite(np.broadcast_to(color, (*x.shape, 3)), alpha.astype(np.float32), (half, half))


def figure_sprites(height: float, color: np.ndarray, skin: np.ndarray, plain: bool) -> dict[str, Sprite]:
    """The figure in every pose, around the point between its feet."""
    half, above = int(0.5 * height) + 2, int(1.25 * height) + 2
    y, x = np.mgrid[-above:3, -half : half + 1].astype(np.float32)
    x, y = x / height, -y / height
    sprites = {}
    for pose, limbs in _POSES.items():
        if plain:
            width, tall = _BODIES[pose]
            inside = 1 - np.hypot(2 * x / width, 2 * (y - tall / 2) / tall)
            body, head = inside * width / 2, 0.10 - np.hypot(x, y - 0.72 * tall)
        else:
            body = np.full(x.shape, -1.0, np.float32)
            for (x0, y0), (x1, y1) in limbs:
                for side in (-1, 1):
                    dx, dy = side * (x1 - x0), y1 - y0
                    along = np.clip(((x - side * x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
                    near = np.hypot(x - side * x0 - along * dx, y - y0 - along * dy)
                    body = np.maximum(body, (0.10 if x0 == x1 else 0.055) - near)
            head = 0.125 - np.hypot(x, y - _HEADS[pose])
        cover, face = (np.clip(part * height + 0.5, 0, 1)[..., None].astype(np.float32) for part in (body, head))
        sprites[pose] = Sprite(color + face * (skin - color), np.maximum(cover, face), (half, above))
    return sprites


def texture(rng: np.random.Generator, kind: str, contrast: float) -> np.ndarray:
    """A wall above a floor, larger than the frame by `MARGIN` on each side: float32 `[H, W, 3]` in 0…255."""
    y, x = np.mgrid[: HEIGHT + 2 * MARGIN, : WIDTH + 2 * MARGIN].astype(np.float32)
    cell = rng.uniform(9, 22)
    if kind == "blotches":
        pattern = sum(
            rng.normal(size=(x.shape[0] // c + 2, x.shape[1] // c + 2))
            .repeat(c, 0)
            .repeat(c, 1)[: len(x), : len(x[0])]
            for c in (4, int(cell))
        )
    elif kind == "stripes":
        angle = rng.uniform(0, np.pi)
        pattern = 1.4 * np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / cell)
    elif kind == "checks":
        pattern = 2.0 * ((x // cell + y // cell) % 2) - 1
    elif kind == "bricks":
        shifted = x + (y // (cell / 2) % 2) * cell / 2
        pattern = 1.0 - 2.5 * ((y % (cell / 2) < 1.5) | (shifted % cell < 1.5))
    elif kind == "waves":
        pattern = 1.4 * np.sin(2 * np.pi * (y + 4 * np.sin(2 * np.pi * x / (3 * cell))) / cell)
    else:
        pattern = 1.0 - 2.5 * (np.hypot(x % cell - cell / 2, y % cell - cell / 2) < 0.3 * cell)
    wall = hsv(rng.uniform(), rng.uniform(0.05, 0.25), rng.uniform(0.45, 0.8))
    floor = hsv(rng.uniform(), rng.uniform(0.1, 0.3), rng.uniform(0.25, 0.45))
    grain = rng.normal(0, 0.3, x.shape)
    image = np.where((y >= FLOOR + MARGIN)[..., None], floor, wall) + (contrast * (0.5 * pattern + grain))[..., None]
    return np.clip(image, 0, 255).astype(np.float32)


@dataclass
class Mover:
    """A shape and its way: `at` gives (x, y) of its middle in the world, in pixels, at a time in seconds."""

    name: str
    sprite: Sprite
    start: tuple[float, float]
    velocity: tuple[float, float]
    swing: tuple[float, float, float] = (0.0, 1.0, 0.0)  # pixels sideways, period in seconds, phase
    appears: float = 0.0

    def at(self, seconds: float) -> tuple[float, float]:
        width, period, phase = self.swing
        x = self.start[0] + self.velocity[0] * seconds
        return x + width * np.sin(2 * np.pi * seconds / period + phase), self.start[1] + self.velocity[1] * seconds


@dataclass
class Scene:
    """
    A clip that can be drawn. `jumps` are the first frames in which the figure is in the air, `light` the frames
    `[start, end)` in which the lamp is on, `movers` what moves besides the figure.
    """

    split: str
    level: int
    rate: Fraction
    num_frames: int
    walls: list[np.ndarray]
    cuts: list[int]
    camera: np.ndarray  # float64 [num_frames, 3]: x, y, zoom
    gain: np.ndarray  # float64 [num_frames]
    grain: np.ndarray | None
    encoder: tuple[str, dict[str, str]]
    movers: list[Mover]
    figure: dict[str, Sprite] | None = None
    place: np.ndarray | None = None  # float64 [num_frames, 2]: x and height above the ground of the figure, in pixels
    poses: list[str] = field(default_factory=list)
    jumps: list[int] = field(default_factory=list)
    ball: Sprite | None = None
    bounce: np.ndarray | None = None  # float64 [num_frames, 2]: x and height above the ground of the ball, in pixels
    lamp: tuple[Sprite, Sprite, float, float] | None = None
    light: tuple[int, int] | None = None
    grain_seed: int = 0

    def seconds(self, frame: int) -> float:
        return float(frame / self.rate)

    def view(self, frame: int, x: float, y: float) -> tuple[float, float]:
        """Where a point of the world is in a frame, in pixels."""
        left, top, zoom = self.camera[frame]
        return (x - WIDTH / 2 - left) * zoom + WIDTH / 2, (y - HEIGHT / 2 - top) * zoom + HEIGHT / 2

    def things(self, frame: int) -> Iterator[tuple[str, Sprite, float, float]]:
        """What stands in a frame, from back to front: its name, and its sprite with the place of its origin."""
        seconds = self.seconds(frame)
        if self.lamp is not None:
            off, on, x, y = self.lamp
            lit = self.light is not None and self.light[0] <= frame < self.light[1]
            yield "on" if lit else "off", on if lit else off, *self.view(frame, x, y)
        for mover in self.movers:
            if seconds >= mover.appears:
                yield mover.name, mover.sprite, *self.view(frame, *mover.at(seconds))
        if self.ball is not None:
            x, height = self.bounce[frame]
            yield "ball", self.ball, *self.view(frame, x, FLOOR + 12 - self.ball.anchor[1] - height)
        if self.figure is not None:
            x, height = self.place[frame]
            name = "jump" if self.poses[frame] == "up" else "figure"
            yield name, self.figure[self.poses[frame]], *self.view(frame, x, FLOOR + 12 - height)

    def blocks(self, frame: int) -> np.ndarray:
        """The name of what covers each block, `[HEIGHT / 28, WIDTH / 28]`: "wall" where nothing does."""
        names = bare_blocks()
        for thing in self.things(frame):
            cover_blocks(names, *thing)
        return names

    def frames(self) -> Iterator[np.ndarray]:
        """The frames, uint8 `[HEIGHT, WIDTH, 3]`."""
        return map(self.image, range(self.num_frames))

    def image(self, frame: int) -> np.ndarray:
        """One frame, uint8 `[HEIGHT, WIDTH, 3]`."""
        number = np.searchsorted(self.cuts, frame, side="right") % len(self.walls)
        if self._still_walls is None:
            image = self._wall(self.walls[number], *self.camera[frame])
        else:
            image = self._still_walls[number].copy()
        for _, sprite, x, y in self.things(frame):
            sprite.paste(image, x, y)
        image *= self.gain[frame]
        if self.grain is not None:
            y, x = np.random.default_rng([self.grain_seed, frame]).integers(0, 32, 2)
            image += self.grain[y : y + HEIGHT, x : x + WIDTH, None]
        return np.clip(image, 0, 255).astype(np.uint8)

    @cached_property
    def _still_walls(self) -> list[np.ndarray] | None:
        """The walls as a camera that does not move sees them."""
        if np.ptp(self.camera, axis=0).any():
            return None
        return [self._wall(wall, *self.camera[0]) for wall in self.walls]

    @staticmethod
    def _wall(wall: np.ndarray, left: float, top: float, zoom: float) -> np.ndarray:
        """The part of a wall that the camera sees, bilinear."""
        for axis, (size, shift) in enumerate(((HEIGHT, top), (WIDTH, left))):
            at = (np.arange(size) - size / 2) / zoom + size / 2 + shift + MARGIN
            low = np.floor(at).astype(np.int64)
            weight = (at - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
            before = wall.take(low, axis=axis)
            wall = before + weight * (wall.take(low + 1, axis=axis) - before)
        return wall


def _draw(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))


def _scale(rng: np.random.Generator, split: Split) -> float:
    return float(rng.uniform(*split.sizes[rng.integers(len(split.sizes))]))


def _stage(rng: np.random.Generator, split_name: str, level_name: int, seconds: int | None = None) -> Scene:
    """A scene in which nothing happens yet."""
    split, level = SPLITS[split_name], LEVELS[level_name]
    rate = split.rates[rng.integers(len(split.rates))]
    num_frames = round(rate * (seconds or _draw(rng, level.seconds)))
    time = np.arange(num_frames) / float(rate)
    camera = np.stack([np.zeros(num_frames), np.zeros(num_frames), np.ones(num_frames)], axis=1)
    if level.pan:
        for axis, share in ((0, 1.0), (1, 0.25)):
            reach, period = rng.uniform(0.5, 1) * level.pan * share, rng.uniform(7, 14)
            camera[:, axis] = reach * np.sin(2 * np.pi * (time / period + rng.uniform()))
    if level.zoom:
        camera[:, 2] += level.zoom * (0.5 + 0.5 * np.sin(2 * np.pi * (time / rng.uniform(8, 16) + rng.uniform())))
    light = rng.uniform(0, level.light)
    gain = 1 + light * np.sin(2 * np.pi * (time / rng.uniform(5, 10) + rng.uniform()))
    cuts = sorted(rng.choice(np.arange(1, num_frames), _draw(rng, level.cuts), replace=False).tolist())
    kind = split.textures[rng.integers(len(split.textures))]
    sigma = rng.uniform(0.5, 1) * level.noise
    grain = rng.normal(0, sigma, (HEIGHT + 32, WIDTH + 32)).astype(np.float32) if sigma else None
    codec, options = split.encoders[rng.integers(len(split.encoders))]
    crf = _draw(rng, level.crf)
    return Scene(
        split=split_name,
        level=level_name,
        rate=rate,
        num_frames=num_frames,
        walls=[texture(rng, kind, rng.uniform(0.6, 1) * level.contrast) for _ in range(len(cuts) + 1)],
        cuts=cuts,
        camera=camera,
        gain=gain,
        grain=grain,
        encoder=(codec, {**options, "crf": str(crf)}),
        movers=[],
        grain_seed=int(rng.integers(2**31)),
    )


def _leaps(rng: np.random.Generator, rate: float, count: int, number: int) -> tuple[list[int], int]:
    """The first frames of at most `number` leaps in a clip of `count` frames, and how many frames each takes."""
    flight = max(3, round(rng.uniform(0.42, 0.6) * rate))
    rest = max(3, round(0.3 * rate))
    number = min(number, (count - 2 * rest) // (flight + rest))
    slack = count - rest - number * (flight + rest)
    waits = np.sort(rng.integers(0, slack + 1, number))
    return (rest + waits + np.arange(number) * (flight + rest)).tolist(), flight


def _heights(flight: int, top: float) -> np.ndarray:
    """Height above the ground in each frame of a leap, in pixels."""
    points, heights = zip(*_FLIGHT)
    return top * np.interp((np.arange(flight) + 0.85) / (flight + 0.85), points, heights)


def make_scene(split_name: str, level_name: int, rng: np.random.Generator) -> Scene:
    """A figure that jumps, a ball that bounces, and a lamp that is on once."""
    split, level = SPLITS[split_name], LEVELS[level_name]
    scene = _stage(rng, split_name, level_name)
    rate, count = float(scene.rate), scene.num_frames
    size = rng.uniform(*level.figure) * _scale(rng, split)
    wall = scene.walls[0][MARGIN + 60, MARGIN : MARGIN + WIDTH].mean(axis=0)
    color = hsv(rng.uniform(), rng.uniform(*split.saturation), rng.uniform(*split.value))
    if wall.mean() > 110:
        color = 0.55 * color
    skin = hsv(rng.uniform(0.05, 0.1), rng.uniform(0.3, 0.6), rng.uniform(0.75, 0.95))
    scene.figure = figure_sprites(size, color, skin, plain=bool(rng.random() < 0.4))

    scene.jumps, flight = _leaps(rng, rate, count, _draw(rng, level.jumps))
    scene.poses = ["stand"] * count
    scene.place = np.zeros((count, 2))
    reach = 0.3 * WIDTH
    x = WIDTH / 2 + rng.uniform(-reach, reach)
    walk = rng.uniform(-1, 1) * level.walk
    swing = 40.0
    scene.place[:, 0] = x + swing * np.sin(walk * np.arange(count) / rate / swing)
    for start in scene.jumps:
        scene.place[start : start + flight, 1] = _heights(flight, rng.uniform(0.55, 0.8) * size)
        scene.poses[start] = "up"
        scene.poses[start + 1 : start + flight - 1] = ["peak"] * (flight - 2)
        scene.poses[start + flight - 1] = "down"
        if start + flight < count:
            scene.poses[start + flight] = "crouch"

    # It leaves the ground as the figure does: when something jumps does not say who.
    scene.ball = shape_sprite("disc", rng.uniform(0.4, 0.6) * size, hsv(rng.uniform(), 0.7, rng.uniform(0.5, 0.95)))
    scene.bounce = np.zeros((count, 2))
    scene.bounce[:, 0] = x + (60 if x < WIDTH / 2 else -60) + rng.uniform(-12, 12)
    hops, flight = _leaps(rng, rate, count, _draw(rng, (0, level.jumps[1])))
    for start in hops:
        scene.bounce[start : start + flight, 1] = _heights(flight, rng.uniform(0.55, 0.8) * size)

    size = rng.uniform(15, 22) * _scale(rng, split)
    side = rng.uniform(22, WIDTH - 22), rng.uniform(18, 34)
    off, on = hsv(0.6, 0.1, rng.uniform(0.15, 0.3)), hsv(rng.uniform(0.12, 0.17), 0.35, 1.0)
    scene.lamp = (shape_sprite("disc", size, off), shape_sprite("disc", size, on), *side)
    start = int(rng.integers(round(0.08 * count), round(0.7 * count)))
    scene.light = (start, min(start + max(round(rate), round(rng.uniform(0.1, 0.4) * count)), count - 1))

    for _ in range(_draw(rng, level.distractors)):
        shape = SHAPES[rng.integers(len(SHAPES))]
        sprite = shape_sprite(shape, rng.uniform(12, 20), hsv(rng.uniform(), 0.6, rng.uniform(0.4, 0.9)))
        place = rng.uniform(30, WIDTH - 30), rng.uniform(45, 105)
        scene.movers.append(
            Mover(shape, sprite, place, (0.0, 0.0), (rng.uniform(12, 40), rng.uniform(3, 8), rng.uniform(0, 6)))
        )
    return scene


def make_motion(split_name: str, level_name: int, rng: np.random.Generator, shapes: int) -> Scene:
    """One shape that moves in one direction, or several of different names that appear one after the other."""
    split = SPLITS[split_name]
    scene = _stage(rng, split_name, level_name, seconds=6)
    names = _names(rng, shapes)
    places = rng.permutation(shapes)
    for index, (color, shape) in enumerate(names):
        sprite = shape_sprite(shape, rng.uniform(24, 34) * _scale(rng, split), named_color(rng, split, color))
        if shapes == 1:
            dx, dy = DIRECTIONS[list(DIRECTIONS)[rng.integers(4)]]
            way = rng.uniform(55, 100) if dx else rng.uniform(45, 60)
            start = (
                rng.uniform(20, WIDTH - 20) if not dx else rng.uniform(20, WIDTH - 20 - way) + (way if dx < 0 else 0),
                rng.uniform(20, HEIGHT - 20)
                if not dy
                else rng.uniform(20, HEIGHT - 20 - way) + (way if dy < 0 else 0),
            )
            scene.movers.append(Mover(f"{color} {shape}", sprite, start, (dx * way / 6, dy * way / 6)))
        else:
            slot = WIDTH / shapes
            start = slot * (places[index] + 0.5) + rng.uniform(-6, 6), rng.uniform(30, HEIGHT - 40)
            appears = 5 * (index + rng.uniform(0.2, 0.9)) / shapes
            scene.movers.append(Mover(f"{color} {shape}", sprite, start, (0.0, 0.0), appears=appears))
    return scene


def _names(rng: np.random.Generator, number: int) -> list[tuple[str, str]]:
    colors, shapes = rng.permutation(list(HUES))[:number], rng.permutation(SHAPES)[:number]
    return [(str(color), str(shape)) for color, shape in zip(colors, shapes)]


def _bare_wall(rng: np.random.Generator, split: Split, level: Level) -> np.ndarray:
    """A wall without anything before it, float32 `[HEIGHT, WIDTH, 3]`."""
    kind = split.textures[rng.integers(len(split.textures))]
    wall = texture(rng, kind, level.contrast)
    return np.ascontiguousarray(wall[MARGIN : MARGIN + HEIGHT, MARGIN : MARGIN + WIDTH])


def _expose(rng: np.random.Generator, image: np.ndarray, level: Level) -> np.ndarray:
    """The image with the noise of the sensor, uint8."""
    if level.noise:
        image += rng.normal(0, level.noise, (HEIGHT, WIDTH, 1))
    return np.clip(image, 0, 255).astype(np.uint8)


def draw_picture(split_name: str, level_name: int, rng: np.random.Generator) -> tuple[np.ndarray, str, np.ndarray]:
    """
    A picture, uint8 `[HEIGHT, WIDTH, 3]`, of one shape, the shape's name and place, like "red disc top left", and the
    names of what the blocks show.
    """
    split, level = SPLITS[split_name], LEVELS[level_name]
    image, names = _bare_wall(rng, split, level), bare_blocks()
    ((color, shape),) = _names(rng, 1)
    row, column = rng.integers(3), rng.integers(3)
    x = WIDTH * (column + rng.uniform(0.25, 0.75)) / 3
    y = HEIGHT * (row + rng.uniform(0.25, 0.75)) / 3
    name = f"{color} {shape}"
    sprite = shape_sprite(shape, rng.uniform(24, 38) * _scale(rng, split), named_color(rng, split, color))
    sprite.paste(image, x, y)
    cover_blocks(names, name, sprite, x, y)
    return _expose(rng, image, level), f"{name} {place_words(x, y)}", names


def draw_shapes(split_name: str, level_name: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A picture of several shapes, each in a block of its own, and the names of what the blocks show."""
    split, level = SPLITS[split_name], LEVELS[level_name]
    image, names = _bare_wall(rng, split, level), bare_blocks()
    for place in rng.choice(names.size, rng.integers(3, 12), replace=False):
        row, column = divmod(place, names.shape[1])
        color, shape = list(HUES)[rng.integers(len(HUES))], SHAPES[rng.integers(len(SHAPES))]
        x, y = (BLOCK * (at + 0.5) + rng.uniform(-5, 5) for at in (column, row))
        shape_sprite(shape, rng.uniform(20, 32) * _scale(rng, split), named_color(rng, split, color)).paste(
            image, x, y
        )
        names[row, column] = f"{color} {shape} {place_words(x, y)}"
    return _expose(rng, image, level), names
