# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Codec-stream tokenization: a compressed video as the canvas tokens of LLaVA-OneVision-2, on PyAV and numpy alone."""

from .config import CodecStreamConfig
from .live import iter_live_groups
from .packing.archive import read_archive, write_archive
from .packing.assets import read_assets, write_assets
from .packing.canvas import CodecStream
from .reading.source import Isolation, VideoError
from .tokenizer import iter_groups, tokenize_video


__all__ = [
    "CodecStream",
    "CodecStreamConfig",
    "Isolation",
    "VideoError",
    "iter_groups",
    "iter_live_groups",
    "read_archive",
    "read_assets",
    "tokenize_video",
    "write_archive",
    "write_assets",
]
