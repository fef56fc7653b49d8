# Copyright 2026 The transformers_ov2 authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Codec-stream tokenization: a compressed video as the canvas tokens of LLaVA-OneVision-2, on PyAV and numpy alone."""

from .assets import read_assets, write_assets
from .canvas import CodecStream
from .config import CodecStreamConfig
from .live import iter_live_groups
from .source import VideoError
from .tokenizer import iter_groups, tokenize_video


__all__ = [
    "CodecStream",
    "CodecStreamConfig",
    "VideoError",
    "iter_groups",
    "iter_live_groups",
    "read_assets",
    "tokenize_video",
    "write_assets",
]
