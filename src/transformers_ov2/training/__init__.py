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
"""Fine-tuning with TRL and PEFT: rows, codec-stream cache, collator, LoRA, stage recipes. Needs the `train` extra."""

from .cache import CodecStreamCache
from .collator import BadSampleCallback, OV2DataCollator
from .data import read_canvases, to_sft_dataset, to_sft_row
from .lora import lora_config, set_trainable, trainable_table
from .pretokenize import pretokenize
from .recipes import Recipe, Source, load_sources, mix, read_recipe, with_video_options
from .report import generate_answers, plot_loss


__all__ = [
    "BadSampleCallback",
    "CodecStreamCache",
    "OV2DataCollator",
    "Recipe",
    "Source",
    "generate_answers",
    "load_sources",
    "lora_config",
    "mix",
    "plot_loss",
    "pretokenize",
    "read_canvases",
    "read_recipe",
    "set_trainable",
    "to_sft_dataset",
    "to_sft_row",
    "trainable_table",
    "with_video_options",
]
