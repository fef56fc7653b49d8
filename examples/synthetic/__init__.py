# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic clips with questions and exact answers: what the micro checkpoint is trained on and judged by."""

from .clips import encode_clip
from .scenes import HEIGHT, LEVELS, SPLITS, WIDTH, Scene, draw_picture, make_scene
from .tasks import IMAGE_TASKS, TASKS, Sample, make_image, make_video


__all__ = [
    "HEIGHT",
    "IMAGE_TASKS",
    "LEVELS",
    "SPLITS",
    "TASKS",
    "WIDTH",
    "Sample",
    "Scene",
    "draw_picture",
    "encode_clip",
    "make_image",
    "make_scene",
    "make_video",
]
