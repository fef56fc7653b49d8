# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Fine-tuning with TRL and PEFT: rows, codec-stream cache, collator, LoRA, stage recipes. Needs the `train` extra.

TRL's trainers work on OV2 models as they are; [`to_sft_dataset`] makes the rows that `SFTTrainer` needs, and
[`OV2DataCollator`] adds what its own collator lacks. What TRL 1.16 refuses, and with which message:

- `packing=True`: "Packing is not supported for vision datasets." `padding_free=True`: "Padding-free training is yet
  not supported for vision datasets." Both work on rows of text without `images`. For media, group samples by length:
  [`pretokenize`], then `train_sampling_strategy="group_by_length"`.
- `truncation_mode="keep_end"`: "truncation_mode='keep_end' is not supported for vision datasets." A `max_length` that
  cuts into an image or a video is an error, too. Set `max_length=None`, and the limit in the collator, which leaves
  longer samples out.
- `videos` columns, and videos in prompt-completion or preference rows (DPO): "Found 1 <|video_pad|> tokens in the
  text but no videos were passed." SFT rows take videos in the messages; DPO takes images.
- `assistant_only_loss=True` with the released checkpoint's chat template: "The chat template is not
  training-compatible". Call [`set_training_chat_template`] on the processor.
- LoRA on `lm_head`: "Applying a PEFT adapter to `lm_head` is not supported".

What TRL drops without a word becomes an error of the model, "Video features and video tokens do not match": videos of
rows without an `images` column (SFT), videos in GRPO.
"""

from .cache import CodecStreamCache
from .chat_template import set_training_chat_template
from .collator import BadSampleCallback, OV2DataCollator
from .data import read_canvases, to_sft_dataset, to_sft_row
from .lora import QUANTIZATION_SKIP_MODULES, lora_config, set_trainable, trainable_table
from .pretokenize import pretokenize
from .recipes import Recipe, Source, load_sources, mix, read_recipe, with_video_options
from .report import generate_answers, plot_loss


__all__ = [
    "QUANTIZATION_SKIP_MODULES",
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
    "set_training_chat_template",
    "to_sft_dataset",
    "to_sft_row",
    "trainable_table",
    "with_video_options",
]
