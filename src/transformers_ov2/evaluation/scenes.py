# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic clips in which small events happen amid everything else that moves, flickers or hides in a real video.

There are three sets of scenes. Whatever is chosen (constants, weights, rules) is chosen on the *development* set; the
*evaluation* set only judges. They share the kinds and nothing else: other seeds, picture sizes, frame rates, textures,
shapes of events, and other ways and speeds of moving. The *holdout* set is the evaluation set with other seeds, which
were first looked at when everything was chosen: it tells whether what was learnt from figures of the evaluation set
holds. One scene gives the same file every time.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from .events import Event, EventClip


SETS = ("development", "evaluation", "holdout")

# What else happens while the events do.
KINDS = {
    "static": "nothing",
    "blink": "nothing, and there is a single event",
    "pan": "the camera moves steadily",
    "zoom": "the camera zooms in and out",
    "handheld": "the camera shakes and rotates a little",
    "noise": "sensor noise",
    "lowlight": "a dark picture with sensor noise",
    "fade": "the brightness swings slowly",
    "flicker": "the brightness changes from frame to frame, in bands",
    "clutter": "twelve small objects move about",
    "occlusion": "large objects pass before the place of the events",
    "moving": "the events are on large objects that move",
    "repeated": "limbs move fast, to and fro",
    "cut": "the picture changes to another one every few seconds",
    "60fps": "the camera moves slowly, some noise, 60 frames per second",
    "mixed": "a little of all: drifting camera, noise, changing light, a few moving objects",
}


@dataclass(frozen=True)
class Scene:
    """One clip of a set; `make_clip` renders and encodes it.

    Attributes:
        name (`str`): of the clip, unique in all sets of its look.
        row (`str`): what it counts towards in a table: its kind, or the encoding or length that it differs by.
        kind (`str`): one of `KINDS`.
        look (`str`): `"development"` or `"evaluation"`: how its textures, shapes and motions are made.
        seed (`int`): of all that is random.
        width, height (`int`): in pixels.
        fps (`int`), seconds (`float`): frames per second, length.
        num_events (`int`): how many; they last 0.16 to 0.44 s, never two at a time.
        strength (`float`): times the size and speed of what passes, swings or carries events.
        codec (`str`): `"libx264"`, `"libx265"` or `"libvpx-vp9"`.
        crf (`int`): its quality.
        gop (`int`): most frames from one key frame to the next.
        b_frames (`bool`): whether it may use them (H.264, HEVC).
    """

    name: str
    row: str
    kind: str
    look: str
    seed: int
    width: int = 640
    height: int = 360
    fps: int = 25
    seconds: float = 16.0
    num_events: int = 16
    strength: float = 1.0
    codec: str = "libx264"
    crf: int = 23
    gop: int = 250
    b_frames: bool = True


def scenes(which: str, full: bool = False) -> list[Scene]:
    """The scenes of a set.

    Args:
        which (`str`): one of `SETS`.
        full (`bool`): more seeds, longer clips, every encoding and length; otherwise what takes minutes to make.

    Raises:
        `ValueError`: unknown set.
    """
    if which not in SETS:
        raise ValueError(f"unknown set of scenes {which!r}: use one of {', '.join(SETS)}")
    first, prefix = 1000 * SETS.index(which), "holdout " if which == "holdout" else ""
    look = "development" if which == "development" else "evaluation"
    sizes = {"development": [(640, 360)], "evaluation": [(480, 270), (576, 432), (480, 480), (360, 640)]}[look]
    fps = {"development": 25, "evaluation": 30}[look]
    found = []

    def add(row: str, kind: str, copies: int, **changes):
        for copy in range(copies):
            # An encoding or a length differs from the plain clip of its kind and seed by nothing else.
            width, height = sizes[(copy + list(KINDS).index(kind)) % len(sizes)]
            base = Scene(f"{prefix}{row}-{copy}", row, kind, look, first + copy, width, height, fps)
            found.append(replace(base, **changes))

    for kind in KINDS:
        changes = {"seconds": 24.0, "num_events": 24} if full else {}
        if kind == "blink":
            changes = {"seconds": 8.0, "num_events": 1}
        if kind == "60fps":
            changes["fps"] = 60
        copies = (4 if full else 1) * (4 if kind == "blink" else 1)
        add(kind, kind, copies, **changes)
        if which == "development" and kind in ("clutter", "occlusion", "moving", "repeated"):
            # What is chosen must not fit one size and speed.
            add(kind, kind, 1, **changes, strength=1.6)
            found[-1] = replace(found[-1], name=f"{kind}-strong", seed=first + 500)
    copies = 2 if full else 1
    add("hevc", "mixed", copies, codec="libx265", crf=26)
    add("vp9", "mixed", copies, codec="libvpx-vp9", crf=32)
    add("crf 18", "mixed", copies, crf=18)
    add("crf 38", "mixed", copies, crf=38)
    add("gop 12", "mixed", copies, gop=12)
    add("gop 600", "mixed", copies, gop=600, seconds=26.0)
    add("no b-frames", "mixed", copies, b_frames=False)
    for seconds in (10, 34, 38, 60, 120, 300) if full else (10, 38, 120):
        for kind in ("static", "noise", "pan", "mixed") if full else ("static", "mixed"):
            events = min(seconds, 24)
            size = {"width": 480, "height": 272} if which == "development" else {"width": 448, "height": 252}
            add(f"{seconds} s", kind, 1, seconds=float(seconds), num_events=events, b_frames=False, **size)
            found[-1] = replace(found[-1], name=f"{prefix}{seconds} s-{kind}")
    return found


def load_clip(scene: Scene, folder: str | Path) -> tuple[Path, EventClip]:
    """The file of a scene in a folder and its truth; made and kept there if it is not there yet."""
    path = Path(folder) / scene.look / f"{scene.name}.mp4".replace(" ", "_")
    note = path.with_suffix(".json")
    known = json.loads(note.read_text()) if note.exists() else {}
    if known.get("scene") != asdict(scene):
        path.parent.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        clip = make_clip(scene)
        path.write_bytes(clip.data)
        events = [asdict(event) for event in clip.events]
        note.write_text(json.dumps({"scene": asdict(scene), "num_frames": clip.num_frames, "events": events}))
        return path, clip
    events = tuple(Event(tuple(event["frames"]), tuple(map(tuple, event["boxes"]))) for event in known["events"])
    return path, EventClip(path.read_bytes(), events, scene.width, scene.height, known["num_frames"])


def make_clip(scene: Scene) -> EventClip:
    """Renders a scene and encodes it as an mp4 in memory.

    Raises:
        `ValueError`: unknown kind or look.
    """
    if scene.kind not in KINDS or scene.look not in _LOOKS:
        raise ValueError(
            f"unknown kind or look {scene.kind!r}, {scene.look!r}: use one of {', '.join(KINDS)} and of "
            f"{', '.join(_LOOKS)}"
        )
    stage = _Stage(scene)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(scene.codec, rate=scene.fps)
        stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, scene.fps)
        stream.codec_context.thread_count = 1  # the encoders' decisions depend on it
        stream.codec_context.gop_size = scene.gop
        stream.options = _encoder_options(scene)
        for index in range(stage.num_frames):
            frame = av.VideoFrame.from_ndarray(stage.render(index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return EventClip(buffer.getvalue(), stage.events(), scene.width, scene.height, stage.num_frames)


def _encoder_options(scene: Scene) -> dict[str, str]:
    options = {"crf": str(scene.crf)}
    if scene.codec == "libvpx-vp9":
        return options | {"b": "0", "cpu-used": "6", "deadline": "good"}
    if not scene.b_frames:
        options["bf"] = "0"
    if scene.codec == "libx265":
        return options | {"preset": "veryfast", "x265-params": "pools=none:frame-threads=1:log-level=error"}
    # Some of x264's assembly (its macroblock tree) gives other decisions from run to run; this leaves it out.
    return options | {"x264-params": "cpu-independent=1"}


# ---------------------------------------------------------------------------------------------------------------------
# Looks: textures, shapes and ways of moving
# ---------------------------------------------------------------------------------------------------------------------
def _mosaic(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Squares of several sizes, uint8 `[height, width, 3]`."""
    image = np.full((height, width, 3), 120.0, dtype=np.float32)
    image += rng.uniform(-30, 30, size=3).astype(np.float32)
    for cell, strength in ((64, 22.0), (16, 14.0), (4, 8.0), (1, 3.0)):
        coarse = rng.normal(size=(-(-height // cell) + 1, -(-width // cell) + 1, 3)).astype(np.float32)
        image += strength * np.repeat(np.repeat(coarse, cell, axis=0), cell, axis=1)[:height, :width]
    return image.clip(30, 220).astype(np.uint8)


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Soft noise of all scales with straight edges in it, uint8 `[height, width, 3]`."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = (frequency + 2 / max(height, width)) ** -1.5
    noise = rng.normal(size=(3, height, width)).astype(np.float32)
    noise = np.fft.irfft2(np.fft.rfft2(noise) * spectrum, (height, width))
    noise = noise + 4 * noise.mean(axis=0)  # mostly grey, as most things are
    noise *= 34 / noise.std()
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(max(4, height * width // 16000)):  # roofs, poles, walls
        angle, length, thick = rng.uniform(0, np.pi), rng.uniform(20, 160), rng.uniform(2, 24)
        dx, dy = x - np.float32(rng.uniform(0, width)), y - np.float32(rng.uniform(0, height))
        along = np.abs(dx * np.float32(np.cos(angle)) + dy * np.float32(np.sin(angle))) < length / 2
        across = np.abs(dy * np.float32(np.cos(angle)) - dx * np.float32(np.sin(angle))) < thick / 2
        noise[:, along & across] += rng.uniform(-45, 45) + rng.uniform(-15, 15, size=(3, 1))
    image = 125 + noise.transpose(1, 2, 0)
    return image.clip(20, 230).astype(np.uint8)


def _square(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Shape bool `[side, side]`, and shading that its colour is multiplied by."""
    return np.ones((side, side), dtype=bool), np.ones((side, side), dtype=np.float32)


def _figure(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A disc, diamond or cross, striped or shaded, likewise. Its centre belongs to it."""
    y, x = np.mgrid[:side, :side].astype(np.float32) - np.float32((side - 1) / 2)
    shape = rng.integers(3)
    if shape == 0:
        inside = np.hypot(x, y) <= side / 2
    elif shape == 1:
        inside = np.abs(x) + np.abs(y) <= side * 0.62
    else:
        inside = np.minimum(np.abs(x), np.abs(y)) <= side / 4
    angle = rng.uniform(0, np.pi)
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    shade = 1 + 0.2 * np.sign(np.sin(along)) if rng.random() < 0.5 else 1 + 0.25 * along / side
    return inside, shade.astype(np.float32)


def _bounce(rng: np.random.Generator, room: np.ndarray, speed: float) -> Callable[[int], np.ndarray]:
    """Straight on, and back from the edges."""
    angle, start = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2, size=2) * room
    step = speed * np.array([np.cos(angle), np.sin(angle)])
    room = np.maximum(room, 1)
    return lambda t: room - np.abs((start + step * t) % (2 * room) - room)


def _curve(rng: np.random.Generator, room: np.ndarray, speed: float) -> Callable[[int], np.ndarray]:
    """Round and round on a bent path, faster and slower."""
    rate = speed / np.maximum(room, 1) * 2 * rng.uniform(0.6, 1.2, size=2)
    phase = rng.uniform(0, 2 * np.pi, size=2)
    return lambda t: (0.5 + 0.5 * np.sin(rate * t + phase)) * room


@dataclass(frozen=True)
class _Look:
    """How a set differs from the other one. Speeds in pixels per frame, frequencies in Hz, of brightness in shares."""

    texture: Callable
    shape: Callable
    path: Callable
    event_size: tuple[int, int]
    pan: tuple[float, float]
    zoom: tuple[float, float]  # depth, period in seconds
    shake: tuple[float, float, float]  # pixels, degrees, Hz
    noise: float
    dark: tuple[float, float]  # brightness, noise
    fade: tuple[float, float]  # depth, period in seconds
    flicker: tuple[float, float, float]  # depth, Hz, bands per picture
    objects: tuple[float, float, float, float]  # sizes from, to; speeds from, to
    occluders: tuple[float, float]  # share of the picture's width, speed
    carrier: tuple[float, float]  # share of the picture's height, speed
    limbs: tuple[float, float]  # share of the picture's height that they swing, Hz
    cuts: tuple[float, float]  # seconds between cuts, from, to


_LOOKS = {
    "development": _Look(
        _mosaic, _square, _bounce, (28, 28), pan=(1.0, 0.0), zoom=(0.25, 8.0), shake=(5.0, 1.0, 1.3), noise=6.0,
        dark=(0.22, 4.0), fade=(0.3, 8.0), flicker=(0.12, 9.7, 0.4), objects=(28, 44, 1.5, 5.0), occluders=(0.18, 4.0),
        carrier=(0.45, 3.0), limbs=(0.22, 2.2), cuts=(2.5, 5.0),
    ),
    "evaluation": _Look(
        _clouds, _figure, _curve, (24, 32), pan=(1.3, 0.35), zoom=(0.4, 11.0), shake=(7.0, 1.5, 0.9), noise=7.0,
        dark=(0.28, 5.0), fade=(0.35, 6.0), flicker=(0.1, 7.1, 0.8), objects=(22, 52, 1.0, 6.0), occluders=(0.25, 5.0),
        carrier=(0.5, 4.0), limbs=(0.28, 2.9), cuts=(2.0, 6.0),
    ),
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Stage: what is where at each frame
# ---------------------------------------------------------------------------------------------------------------------
@dataclass
class _Sprite:
    """A picture that moves over the scene; `path` gives its left and top edge at a frame."""

    image: np.ndarray
    inside: np.ndarray
    path: Callable[[int], np.ndarray]

    def at(self, index: int) -> tuple[int, int]:
        left, top = self.path(index)
        return round(float(left)), round(float(top))

    def draw(self, picture: np.ndarray, index: int) -> None:
        _paste(picture, self.image, self.inside, *self.at(index))

    def covers(self, index: int, x: float, y: float) -> bool:
        left, top = self.at(index)
        column, row = int(x) - left, int(y) - top
        height, width = self.inside.shape
        return 0 <= column < width and 0 <= row < height and bool(self.inside[row, column])


def _paste(picture: np.ndarray, image: np.ndarray, inside: np.ndarray, left: int, top: int) -> None:
    height, width = inside.shape
    rows, cols = (
        slice(max(0, -first), max(0, min(size, limit - first)))
        for first, size, limit in ((top, height, picture.shape[0]), (left, width, picture.shape[1]))
    )
    target = picture[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
    np.copyto(target, image[rows, cols], where=inside[rows, cols, None])


@dataclass
class _Camera:
    """The view of a frame: `world = origin + zoom · rotation · (screen − centre) + centre`, in pixels."""

    origin: tuple[float, float]
    zoom: float = 1.0
    angle: float = 0.0


@dataclass
class _Planned:
    """An event to draw: its picture, and where. `carrier` is what it is fixed to, `None` for the background."""

    start: int
    duration: int
    image: np.ndarray
    inside: np.ndarray
    left: int
    top: int
    carrier: _Sprite | None = None


class _Stage:
    """Everything in a scene, ready to be rendered frame by frame."""

    def __init__(self, scene: Scene):
        self.scene, self.look = scene, _LOOKS[scene.look]
        self.num_frames = round(scene.seconds * scene.fps)
        self.rng = rng = np.random.default_rng([scene.seed, zlib.crc32(f"{scene.look} {scene.kind}".encode())])
        self.phases = rng.uniform(0, 2 * np.pi, size=8)
        self.margin = 48 if scene.kind in ("zoom", "handheld", "mixed") else 0
        self.centre = np.array([scene.width, scene.height]) / 2
        reach = np.array([self._camera(index).origin for index in (0, self.num_frames - 1)]).max(axis=0).clip(0)
        size = (scene.height + int(reach[1]) + 2 + self.margin, scene.width + int(reach[0]) + 2 + self.margin)
        self.changes = self._cut_frames()
        self.worlds = [self.look.texture(rng, *size) for _ in range(len(self.changes) + 1)]
        self.sprites = self._make_sprites()
        self.planned = [self._plan(index) for index in range(scene.num_events)]
        strength = {"noise": self.look.noise, "lowlight": self.look.dark[1], "60fps": 2.0, "mixed": 2.5}
        self.noise = None
        if scene.kind in strength:
            # One field, seen at another offset in every frame.
            field = rng.standard_normal((scene.height + 64, scene.width + 64, 3), dtype=np.float32)
            self.noise = field * np.float32(strength[scene.kind])
            self.offsets = rng.integers(0, 64, size=(self.num_frames, 2))

    def events(self) -> tuple[Event, ...]:
        """The truth, which leaves out frames in which an event's centre is covered."""
        found = []
        for plan in self.planned:
            frames = [t for t in range(plan.start, plan.start + plan.duration) if self._visible(plan, t)]
            found.append(Event(tuple(frames), tuple(self._box(plan, t) for t in frames)))
        return tuple(found)

    def render(self, index: int) -> np.ndarray:
        """uint8 `[height, width, 3]`."""
        scene = self.scene
        world = self._world(index)
        now = [plan for plan in self.planned if plan.start <= index < plan.start + plan.duration]
        # On the background they move with the camera and may be covered.
        if now and now[0].carrier is None:
            world = world.copy()
            for plan in now:
                _paste(world, plan.image, plan.inside, plan.left, plan.top)
        picture = self._view(world, self._camera(index))
        for sprite in self.sprites:
            sprite.draw(picture, index)
        for plan in now:
            if plan.carrier is not None:
                left, top = plan.carrier.at(index)
                _paste(picture, plan.image, plan.inside, left + plan.left, top + plan.top)
        light = self._light(index)
        if light is None and self.noise is None:
            return picture
        values = picture.astype(np.float32)
        if light is not None:
            values *= light
        if self.noise is not None:
            dy, dx = self.offsets[index]
            values += self.noise[dy : dy + scene.height, dx : dx + scene.width]
        return (values + 0.5).clip(0, 255).astype(np.uint8)

    # What the kinds differ by ----------------------------------------------------------------------------------------
    def _camera(self, index: int) -> _Camera:
        kind, look, seconds = self.scene.kind, self.look, index / self.scene.fps
        if kind == "pan":
            return _Camera((look.pan[0] * index, look.pan[1] * index))
        if kind == "60fps":
            return _Camera((0.4 * look.pan[0] * index, 0.4 * look.pan[1] * index))
        half = self.margin / 2
        if kind == "zoom":
            depth, period = look.zoom
            closer = depth * (0.5 - 0.5 * np.cos(2 * np.pi * seconds / period))
            return _Camera((half, half), 1 / (1 + closer))
        if kind in ("handheld", "mixed"):
            pixels, degrees, rate = look.shake if kind == "handheld" else (6.0, 0.0, 0.12)
            wave = np.sin(2 * np.pi * seconds * rate * np.array([1.0, 0.83, 1.31, 1.97, 2.29, 0.71]) + self.phases[:6])
            x, y = half + pixels * (wave[:2] + 0.4 * wave[3:5])
            return _Camera((x, y), angle=np.deg2rad(degrees) * (0.7 * wave[2] + 0.3 * wave[5]))
        return _Camera((0.0, 0.0))

    def _light(self, index: int) -> np.ndarray | float | None:
        kind, look, seconds = self.scene.kind, self.look, index / self.scene.fps
        if kind == "lowlight":
            return look.dark[0]
        if kind == "fade":
            return 1 + look.fade[0] * np.sin(2 * np.pi * seconds / look.fade[1])
        if kind == "mixed":
            return 1 + 0.1 * np.sin(2 * np.pi * seconds / 10 + self.phases[7])
        if kind == "flicker":
            depth, rate, bands = look.flicker
            rows = np.arange(self.scene.height) / self.scene.height
            wave = np.sin(2 * np.pi * (rate * seconds + bands * rows) + self.phases[7])
            return (1 + depth * wave).astype(np.float32)[:, None, None]
        return None

    def _cut_frames(self) -> list[int]:
        cuts, at = [], 0
        while self.scene.kind == "cut":
            at += round(self.rng.uniform(*self.look.cuts) * self.scene.fps)
            if at >= self.num_frames:
                break
            cuts.append(at)
        return cuts

    def _make_sprites(self) -> list[_Sprite]:
        kind, look, rng, strength = self.scene.kind, self.look, self.rng, self.scene.strength
        width, height = self.scene.width, self.scene.height
        sprites = []

        def add(size, inside=None, path=None):
            wide, high = max(2, round(size[0])), max(2, round(size[1]))
            image = look.texture(rng, high, wide).astype(np.float32)
            image = (image + rng.uniform(-60, 60, size=3)).clip(10, 245).astype(np.uint8)
            inside = np.ones((high, wide), dtype=bool) if inside is None else inside(high, wide)
            sprites.append(_Sprite(image, inside, path or (lambda t: (0, 0))))
            return sprites[-1]

        def outline(high, wide):
            if look.shape is _square:
                return np.ones((high, wide), dtype=bool)
            y, x = np.mgrid[-1 : 1 : high * 1j, -1 : 1 : wide * 1j]
            return np.hypot(x, y) <= 1

        if kind in ("clutter", "mixed"):
            for _ in range(12 if kind == "clutter" else 3):
                least, most, slow, fast = look.objects
                side = strength * rng.uniform(least, most)
                path = look.path(rng, np.array([width - side, height - side]), strength * rng.uniform(slow, fast))
                add((side, side), outline, path)
        if kind == "occlusion":
            share, speed = strength * look.occluders[0], strength * look.occluders[1]
            for _ in range(3):
                wide, high = share * width, rng.uniform(0.5, 0.8) * height
                path = look.path(rng, np.array([width - wide, 0.0]), speed)
                top = rng.uniform(0, height - high)
                add((wide, high), None, lambda t, path=path, top=top: path(t) + np.array([0.0, top]))
        if kind == "moving":
            share, speed = strength**0.5 * look.carrier[0], strength * look.carrier[1]
            for _ in range(2):
                side = share * height
                path = look.path(rng, np.array([width - side, height - side]), speed)
                add((side, side), outline, path)
        if kind == "repeated":
            share, rate = look.limbs
            swing, beat = strength * share * height, 2 * np.pi * rate / self.scene.fps
            middle, top = rng.uniform(0.3, 0.7) * width, 0.25 * height
            add((0.1 * width, 0.5 * height), None, lambda t: (middle, top + 0.25 * swing * np.sin(beat * t)))
            for side, offset in ((-1, 0.0), (1, 0.0), (-1, 0.45), (1, 0.45)):
                across = rng.uniform(0.04, 0.07) * width

                def path(t, side=side, offset=offset, across=across):
                    wave = np.sin(beat * t + (np.pi / 2 if offset else 0))
                    x = middle + 0.05 * width + side * (0.07 * width + 0.3 * swing * (1 + wave)) - across / 2
                    return x, top + offset * height + 0.5 * swing * wave

                add((across, 0.28 * height), None, path)
        return sprites

    # Geometry --------------------------------------------------------------------------------------------------------
    def _world(self, index: int) -> np.ndarray:
        return self.worlds[int(np.searchsorted(self.changes, index, side="right"))]

    def _matrix(self, camera: _Camera) -> np.ndarray:
        cos, sin = np.cos(camera.angle), np.sin(camera.angle)
        return camera.zoom * np.array([[cos, -sin], [sin, cos]])

    def _to_world(self, camera: _Camera, screen: np.ndarray) -> np.ndarray:
        return self._matrix(camera) @ (screen - self.centre) + self.centre + camera.origin

    def _to_screen(self, camera: _Camera, world: np.ndarray) -> np.ndarray:
        return np.linalg.solve(self._matrix(camera), world - self.centre - camera.origin) + self.centre

    def _view(self, world: np.ndarray, camera: _Camera) -> np.ndarray:
        """The picture that the camera sees, bilinear."""
        height, width = self.scene.height, self.scene.width
        left, top = camera.origin
        if camera.zoom == 1 and not camera.angle:
            column, row = int(left), int(top)
            fx, fy = np.float32(left - column), np.float32(top - row)
            if not fx and not fy:
                return world[row : row + height, column : column + width].copy()
            near = world[row : row + height + 1, column : column + width + 1].astype(np.float32)
            near = near[:, :-1] * (1 - fx) + near[:, 1:] * fx
            return (near[:-1] * (1 - fy) + near[1:] * fy + np.float32(0.5)).astype(np.uint8)
        matrix = self._matrix(camera)
        x = np.arange(width, dtype=np.float32) - np.float32(self.centre[0])
        y = np.arange(height, dtype=np.float32)[:, None] - np.float32(self.centre[1])
        matrix = matrix.astype(np.float32)
        wx = matrix[0, 0] * x + matrix[0, 1] * y + np.float32(self.centre[0] + left)
        wy = matrix[1, 0] * x + matrix[1, 1] * y + np.float32(self.centre[1] + top)
        wx, wy = wx.clip(0, world.shape[1] - 2), wy.clip(0, world.shape[0] - 2)
        column, row = wx.astype(np.int32), wy.astype(np.int32)
        fx, fy = (wx - column)[..., None], (wy - row)[..., None]
        at = row * world.shape[1] + column
        flat = world.reshape(-1, 3)
        upper = flat[at] * (1 - fx) + flat[at + 1] * fx
        lower = flat[at + world.shape[1]] * (1 - fx) + flat[at + world.shape[1] + 1] * fx
        return (upper * (1 - fy) + lower * fy + np.float32(0.5)).astype(np.uint8)

    def _plan(self, number: int) -> _Planned:
        """Where and when an event happens: one in each equal part of the clip, inside the picture all the time."""
        scene, rng = self.scene, self.rng
        slot = self.num_frames / scene.num_events
        side = int(rng.integers(self.look.event_size[0], self.look.event_size[1] + 1))
        inside, shade = self.look.shape(rng, side)
        low = int(number * slot) + 1
        for _ in range(1000):
            duration = max(4, round(int(rng.integers(4, 12)) * scene.fps / 25))
            start = int(rng.integers(low, max(low + 1, int((number + 1) * slot) - duration)))
            if any(start < cut <= start + duration for cut in self.changes):
                continue  # the event stays in its picture
            plan = _Planned(start, duration, np.empty((side, side, 3), dtype=np.uint8), inside, 0, 0)
            if scene.kind == "moving":
                plan.carrier = self.sprites[int(rng.integers(len(self.sprites)))]
                under = plan.carrier.image
                plan.left, plan.top = (int(rng.integers(0.15 * n, 0.85 * n - side)) for n in under.shape[1::-1])
            else:
                under = self._world(start)
                screen = rng.uniform(side, np.array([scene.width, scene.height]) - side)
                world = self._to_world(self._camera(start), screen) - side / 2
                plan.left, plan.top = world.round().astype(int).tolist()
            frames = range(start, start + duration)
            boxes = np.array([self._box(plan, t) for t in frames])
            bounds = [scene.width - 4, scene.height - 4]
            inside_picture = (boxes[:, :2] >= 4).all() and (boxes[:, 2:] <= bounds).all()
            if inside_picture and sum(self._visible(plan, t) for t in frames) >= 4:
                break
        else:
            raise RuntimeError(f"{scene.name}: no place found for an event")
        there = under[plan.top : plan.top + side, plan.left : plan.left + side].mean(axis=(0, 1))
        colour = rng.uniform(16, 235, size=3)
        while np.abs(colour - there).max() < 60:
            colour = rng.uniform(16, 235, size=3)
        plan.image[:] = (colour * shade[..., None]).clip(0, 255)
        return plan

    def _box(self, plan: _Planned, index: int) -> tuple[float, float, float, float]:
        side = plan.inside.shape[0]
        if plan.carrier is not None:
            left, top = plan.carrier.at(index)
            left, top = float(left + plan.left), float(top + plan.top)
            return left, top, left + side, top + side
        camera = self._camera(index)
        x, y = self._to_screen(camera, np.array([plan.left, plan.top]) + side / 2)
        half = side / 2 / camera.zoom
        return float(x - half), float(y - half), float(x + half), float(y + half)

    def _visible(self, plan: _Planned, index: int) -> bool:
        """Whether nothing covers its centre."""
        left, top, right, bottom = self._box(plan, index)
        above = [] if plan.carrier else self.sprites  # on a carrier it is drawn last
        return not any(sprite.covers(index, (left + right) / 2, (top + bottom) / 2) for sprite in above)
