# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Options of the codec-stream tokenizer."""

from __future__ import annotations

import dataclasses
import difflib
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


GROUPINGS = ("packet_energy", "readiness", "fixed")
SELECTIONS = ("evidence", "state")
BIT_SOURCES = ("auto", "stock", "codec-video-prep")
# `target_canvas="auto"`: the number of groups of arXiv 2605.25979.
AUTO_GROUP_SECONDS = 8.0
MAX_AUTO_GROUPS = 16


@dataclass(frozen=True)
class CodecStreamConfig:
    """
    Every option of [`~transformers_ov2.codec.tokenize_video`]. Instances are immutable and valid: each field is
    checked on construction and a `ValueError` (wrong value) or `TypeError` (wrong type) names the field.

    The eight keys of the released checkpoint's `codec` block (`target_canvas`, `group_size`, `images_per_group`,
    `patch`, `max_pixels`, `min_group_frames`, `max_group_frames`, `spatial_mask_mode`) are fields of the same name and
    default.

    Args:
        target_canvas (`int` or `"auto"`, defaults to 32):
            Number of canvases of a video. Exactly this many are made when the video has `images_per_group` frames for
            each of its groups (`grouping="readiness"` only aims at it, as the reference tool does). `"auto"` is a
            group for every 8 seconds of the video, from 1 to 16 groups, the budget of the paper.
        images_per_group (`int`, defaults to 4):
            Canvases of a group: one I-canvas and `images_per_group - 1` P-canvases.
        group_size (`int`, defaults to 32):
            Sampled source frames per group of `grouping="readiness"`, which samples
            `target_canvas / images_per_group * group_size` frames.
        patch (`int`, defaults to 14):
            Side of a patch in pixels.
        merge (`int`, defaults to 2):
            Side in patches of a block, the unit of selection: one language model token each.
        min_pixels (`int`, defaults to 3136):
            Videos with fewer pixels per frame are enlarged to at least this many.
        max_pixels (`int`, defaults to 150000):
            Videos with more pixels per frame are reduced to at most this many: the size of a canvas in pixels.
        grouping (`str`, defaults to `"packet_energy"`):
            How the video is cut into groups: `"packet_energy"` (bytes of the predicted pictures: busy regions get
            short groups), `"readiness"` (the reference tool's rule) or `"fixed"` (groups of equal length).
        selection (`str`, defaults to `"evidence"`):
            How blocks are chosen: `"evidence"` (strongest blocks of the group) or `"state"` (the refreshes that remove
            most error from what was shown before).
        bit_source (`str`, defaults to `"auto"`):
            Where the evidence comes from: `"stock"`, what PyAV gives (motion vectors, residuals, packet sizes,
            quantisers), or `"codec-video-prep"`, bits per macroblock from that package, which must be installed.
            `"auto"` is `"stock"`: exact bits are used only when asked for by name.
        source_frames_per_canvas (`int`, defaults to 8):
            At most this many source frames per canvas give blocks (`"packet_energy"` and `"fixed"`).
        frame_budget (`int`, *optional*):
            About as many source frames are decoded at canvas size and scored, evenly spread over those that others are
            predicted from: all of them in shorter videos, the sparser the longer the video. There are more where
            `source_frames_per_canvas` asks for it, and fewer where memory does (`"packet_energy"` and `"fixed"`). When
            not given, it is 512 up to a minute, grows with the root of the duration from there and is 1024 from four
            minutes on, and no more frames are scored than it takes to look at one every tenth of a second, and at as
            many as may give blocks. At 8 canvases, 512 found every event of a development scene of 38 seconds and 96 %
            at 120 seconds.
        motion_weight (`float`, defaults to 0.0):
            Weight of motion energy in the score of a block (stock evidence). By default motion counts through the
            residual that it leaves and the bits of its vectors: on its own it lowers the rebuild by 0.03 dB at 0.05
            and finds no more events.
        residual_weight (`float`, defaults to 0.25):
            Weight of residual energy, likewise. On the development set 0 lowers the goal of `choose_constants.py` by
            0.001 (one event in a thousand).
        bitrate_weight (`float`, defaults to 0.25):
            Weight of the bitrate prior, likewise: by 0.004 without it.
        crowding_penalty (`float`, defaults to 0.0):
            λ of `score / sqrt(1 + λ · rank)` for the block of that rank inside its frame (`selection="evidence"`; 0
            ranks by score alone).
        min_group_frames (`int`, defaults to 8):
            Least number of sampled frames of a group (`"readiness"`).
        max_group_frames (`int`, defaults to 64):
            Greatest number of sampled frames of a group (`"readiness"`).
        spatial_mask_mode (`str`, defaults to `"off"`):
            Key of the released checkpoint; `"off"` is its only value.
        max_tokens (`int`, *optional*):
            Limit on the language model tokens of the video, visual tokens and text of the timestamps together. Fewer
            canvases are made when it requires it, and it is never exceeded. Not available with `grouping="readiness"`,
            whose number of groups is known only afterwards.
        num_threads (`int`, defaults to 0):
            Threads that decode, each its own range of GOPs, while the caller's scores, and half as many that help with
            scoring where these are more than one; 1 starts none, and 0 takes the available cores, at most 4. The
            result does not depend on it.
    """

    target_canvas: int | str = 32
    images_per_group: int = 4
    group_size: int = 32
    patch: int = 14
    merge: int = 2
    min_pixels: int = 56 * 56
    max_pixels: int = 150_000
    grouping: str = "packet_energy"
    selection: str = "evidence"
    bit_source: str = "auto"
    source_frames_per_canvas: int = 8
    frame_budget: int | None = None
    motion_weight: float = 0.0
    residual_weight: float = 0.25
    bitrate_weight: float = 0.25
    crowding_penalty: float = 0.0
    min_group_frames: int = 8
    max_group_frames: int = 64
    spatial_mask_mode: str = "off"
    max_tokens: int | None = None
    num_threads: int = 0

    def __post_init__(self):
        for name in (
            "images_per_group",
            "group_size",
            "patch",
            "merge",
            "min_pixels",
            "max_pixels",
            "source_frames_per_canvas",
            "min_group_frames",
            "max_group_frames",
        ):
            self._set_int(name, least=1)
        if self.target_canvas != "auto":
            self._set_int("target_canvas", least=1, kind='an integer or "auto"')
        self._set_int("num_threads", least=0)
        for name in ("frame_budget", "max_tokens"):
            if getattr(self, name) is not None:
                self._set_int(name, least=1)
        for name in ("motion_weight", "residual_weight", "bitrate_weight", "crowding_penalty"):
            self._set_float(name, least=0.0)
        self._check_choice("grouping", GROUPINGS)
        self._check_choice("selection", SELECTIONS)
        self._check_choice("bit_source", BIT_SOURCES)
        self._check_choice("spatial_mask_mode", ("off",))
        for least, greatest in (("min_pixels", "max_pixels"), ("min_group_frames", "max_group_frames")):
            if getattr(self, least) > getattr(self, greatest):
                raise ValueError(
                    f"`{least}` ({getattr(self, least)}) must not exceed `{greatest}` ({getattr(self, greatest)})."
                )
        if self.max_pixels < self.factor**2:
            raise ValueError(
                f"`max_pixels` ({self.max_pixels}) must hold one block of `merge x merge` patches: "
                f"at least {self.factor**2}."
            )
        if self.grouping == "readiness" and max(4, self.min_group_frames) < self.images_per_group:
            raise ValueError(
                f"`min_group_frames` ({self.min_group_frames}) must not be below `images_per_group` "
                f"({self.images_per_group}): a group of fewer frames could not fill its canvases."
            )
        if self.max_tokens is not None and self.grouping == "readiness":
            raise ValueError(
                '`max_tokens` needs `grouping="packet_energy"` or `grouping="fixed"`: "readiness" finds its number of '
                "groups only while it runs."
            )

    @property
    def factor(self) -> int:
        """Side of a block in pixels; the sides of a canvas are multiples of it."""
        return self.patch * self.merge

    def num_canvases(self, seconds: float) -> int:
        """Canvases of a video that lasts `seconds`: `target_canvas`, or what `"auto"` is for it."""
        if self.target_canvas != "auto":
            return self.target_canvas
        return self.images_per_group * round(min(max(seconds / AUTO_GROUP_SECONDS, 1), MAX_AUTO_GROUPS))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CodecStreamConfig:
        """
        Make a config from the fields in `values`; fields that are not there keep their default.

        Raises:
            ValueError: a key is no field (the closest field is named), or a value is out of range.
            TypeError: a value has the wrong type.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                close = difflib.get_close_matches(str(key), names, n=1)
                hint = f" Did you mean `{close[0]}`?" if close else f" The options are: {', '.join(names)}."
                raise ValueError(f"`{key}` is no option of the codec-stream tokenizer.{hint}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All fields as a dict of plain Python values, which json can write and `from_dict` reads."""
        return dataclasses.asdict(self)

    def replace(self, **overrides: Any) -> CodecStreamConfig:
        """A copy with the fields in `overrides` changed; raises as `from_dict` does."""
        return self.from_dict({**self.to_dict(), **overrides})

    def _set_int(self, name: str, least: int, kind: str = "an integer"):
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"`{name}` must be {kind}, got {value!r}.")
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")
        object.__setattr__(self, name, int(value))

    def _set_float(self, name: str, least: float):
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"`{name}` must be a number, got {value!r}.")
        # Written so that NaN is refused as well.
        if not least <= value < float("inf"):
            raise ValueError(f"`{name}` must be finite and at least {least}, got {value}.")
        object.__setattr__(self, name, float(value))

    def _check_choice(self, name: str, choices: tuple[str, ...]):
        value = getattr(self, name)
        if value not in choices:
            raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}.")
