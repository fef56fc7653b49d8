# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Collator that reads media sample by sample: a cache of codec streams, options per video, bad samples left out."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from accelerate.utils import parse_flag_from_env
from transformers import ProcessorMixin, TrainerCallback
from transformers.utils import logging
from trl.chat_template_utils import has_generation_markers
from trl.data_utils import prepare_multimodal_messages

from ..codec import CodecStream, tokenize_video
from .cache import CodecStreamCache
from .data import read_canvases


logger = logging.get_logger(__name__)

# Options of the video processor that a video block may carry, each for its own video.
VIDEO_OPTIONS = frozenset(
    {
        "codec",
        "fps",
        "frame_window_size",
        "max_frames",
        "max_pixels",
        "max_tokens",
        "min_pixels",
        "num_frames",
        "timestamp_decimals",
        "video_backend",
        "video_metadata",
    }
)
_PLACES = ("video", "url", "path")
# More bad samples than good ones among at least this many: the data set is wrong, not a clip.
_MIN_SAMPLES = 16


@dataclass
class OV2DataCollator:
    """
    Collator for TRL's `SFTTrainer` that makes the batch which TRL's own collator makes, and beyond that

    - takes codec streams from a cache,
    - lets every video block carry options of the video processor (`{"type": "video", "video": "a.mp4",
      "video_backend": "frames", "num_frames": 8}`; `video_metadata` of frames that are decoded already), so that codec
      and frames videos mix, and reads canvases with patch positions (see [`to_sft_row`]),
    - leaves out samples that cannot be read or exceed `max_length`, and writes them down. A batch of bad samples only
      becomes a blank sample without labels, which adds nothing to the loss.

    A processor and a collator are deterministic and can be copied to data-loader workers, forked or spawned.

    Args:
        processor (`OV2Processor`): tokenizes text, images and videos.
        assistant_only_loss (`bool`, defaults to `True`):
            Whether labels are only what the assistant says. `SFTConfig` does not reach a collator that is passed to
            the trainer: set it in both.
        max_length (`int`, *optional*): longest sample in tokens. Longer ones are left out, not cut.
        cache (`CodecStreamCache`, *optional*): where codec streams are kept.
        bad_samples (`str` or `Path`, *optional*): jsonl file to which samples that were left out are appended.
        every_modality (`bool`, *optional*):
            Add a blank image or video, without labels, to batches that lack one. Needed when parameters are sharded
            over processes, all of which must run the vision tower equally often or wait for each other forever.
            Defaults to whether `accelerate launch` uses FSDP or DeepSpeed.
    """

    processor: ProcessorMixin
    assistant_only_loss: bool = True
    max_length: int | None = None
    cache: CodecStreamCache | None = None
    bad_samples: str | Path | None = None
    every_modality: bool | None = None
    _num_seen: int = field(default=0, init=False, repr=False)
    _num_bad: int = field(default=0, init=False, repr=False)

    def __post_init__(self):
        if self.every_modality is None:
            self.every_modality = any(map(parse_flag_from_env, ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")))
        if self.assistant_only_loss and not has_generation_markers(self.processor.chat_template):
            raise ValueError(
                "`assistant_only_loss` needs a chat template with {% generation %} markers, which the processor's own "
                "template lacks. Call `transformers_ov2.training.set_training_chat_template(processor)`, or pass "
                "`assistant_only_loss=False`."
            )

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        samples = []
        for example in examples:
            self._num_seen += 1
            try:
                samples.append(self.encode(example))
            # Damaged media make their decoders raise anything.
            except Exception as error:
                self._leave_out(example, error)
        missing = self.every_modality and not all(
            any(name in sample for sample in samples) for name in ("pixel_values", "pixel_values_videos")
        )
        if missing or not samples:
            samples.append(self._blank_sample())
        return self._merge(samples)

    def encode(self, example: dict[str, Any]) -> dict[str, torch.Tensor]:
        """
        The tensors of one sample, with a batch dimension of 1.

        Args:
            example (`dict[str, Any]`): `messages`, and the `images` of its image blocks.

        Returns:
            `dict[str, torch.Tensor]`: what the processor returns, and `labels` `(1, sequence_length)`.

        Raises:
            ValueError: a medium cannot be read, a video block is wrong, or the sample exceeds `max_length`.
        """
        sample = self._tokenize(
            example["messages"], example.get("images"), return_assistant_tokens_mask=self.assistant_only_loss
        )
        sample["labels"] = sample["input_ids"].clone()
        if self.assistant_only_loss:
            sample["labels"][sample.pop("assistant_masks") == 0] = -100
        length = sample["input_ids"].shape[1]
        if self.max_length is not None and length > self.max_length:
            raise ValueError(f"The sample has {length} tokens, `max_length` is {self.max_length}.")
        return sample

    def encode_prompt(self, example: dict[str, Any]) -> dict[str, torch.Tensor]:
        """What to generate the last answer of a sample from; takes and raises what [`encode`] does."""
        messages = example["messages"]
        last = max(index for index, message in enumerate(messages) if message["role"] == "assistant")
        return self._tokenize(messages[:last], example.get("images"), add_generation_prompt=True)

    def _tokenize(self, messages: list[dict], images: list | None, **kwargs) -> dict[str, torch.Tensor]:
        messages = prepare_multimodal_messages(messages, images=list(images or []))
        messages, options = self._read_videos(messages)
        outputs = self.processor.apply_chat_template(
            [messages],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"add_special_tokens": False, "videos_kwargs": options},
            **kwargs,
        )
        return dict(outputs)

    def _read_videos(self, messages: list[dict]) -> tuple[list[dict], dict[str, Any]]:
        """Codec videos as streams; the videos left to the processor, and the options that they share."""
        shared: list[dict] = []
        decimals: list[int] = []
        metadata: list[dict | None] = []  # of every video; streams know their own
        described: list[bool] = []
        new_messages = []
        for message in messages:
            content = []
            for block in message["content"]:
                if block["type"] == "video":
                    block, options = self._read_video(block)
                    if "timestamp_decimals" in options:
                        decimals.append(options.pop("timestamp_decimals"))
                    metadata.append(options.pop("video_metadata", None))
                    if isinstance(block["video"], CodecStream):
                        metadata[-1] = {"total_num_frames": int(block["video"].groups.max())}
                    else:
                        shared.append(options)
                        described.append(metadata[-1] is not None)
                content.append(block)
            new_messages.append({**message, "content": content})
        for name, values in (("options", shared), ("`timestamp_decimals`", decimals)):
            if any(value != values[0] for value in values):
                raise ValueError(f"The videos of one sample must have the same {name}, got {values}.")
        options = {**(shared[0] if shared else {})}
        if decimals:
            options["timestamp_decimals"] = decimals[0]
        if any(described):
            if not all(described):
                raise ValueError("`video_metadata` must be given for all or none of the videos of a sample.")
            options["video_metadata"] = metadata
        return new_messages, options

    def _read_video(self, block: dict) -> tuple[dict, dict[str, Any]]:
        block = {key: value for key, value in block.items() if value is not None}
        video_processor = self.processor.video_processor
        if "canvases" in block:
            stream = read_canvases(
                block["canvases"],
                block["patch_positions"],
                block["fps"],
                video_processor.patch_size,
                video_processor.merge_size,
            )
            decimals = {name: block[name] for name in ("timestamp_decimals",) if name in block}
            return {"type": "video", "video": stream}, decimals

        video = next((block[place] for place in _PLACES if place in block), None)
        options = {key: value for key, value in block.items() if key not in ("type", *_PLACES)}
        if unknown := sorted(options.keys() - VIDEO_OPTIONS):
            raise ValueError(f"`{unknown[0]}` is no option of a video block. The options are {sorted(VIDEO_OPTIONS)}.")
        resolved = video_processor._resolve_options(options)
        encoded = isinstance(video, bytes) or (isinstance(video, str | Path) and not os.path.isdir(video))
        if resolved["video_backend"] == "codec" and encoded:
            config = resolved["codec"]
            timestamp_tokens = self.processor._timestamp_tokens(options)
            source = video_processor.open_video(video)
            if isinstance(source, CodecStream):
                video = source
            elif self.cache is not None:
                video = self.cache.get(source, config, timestamp_tokens)
            else:
                video = tokenize_video(source, config, timestamp_tokens=timestamp_tokens)
        return {"type": "video", "video": video}, options

    def _leave_out(self, example: dict[str, Any], error: Exception):
        self._num_bad += 1
        media = [image if isinstance(image, str) else type(image).__name__ for image in example.get("images") or []]
        for message in example.get("messages") or []:
            if not isinstance(message["content"], str):
                media += [str(block["video"])[:512] for block in message["content"] if block.get("video") is not None]
        reason = f"{type(error).__name__}: {error}"
        logger.warning(f"A sample is left out: {reason}")
        if self.bad_samples is not None:
            # One short line in append mode: whole, whichever worker or process writes.
            with open(self.bad_samples, "a", encoding="utf-8") as file:
                file.write(json.dumps({"media": media, "error": reason[:2048]}) + "\n")
        if self._num_seen >= _MIN_SAMPLES and 2 * self._num_bad > self._num_seen:
            raise RuntimeError(
                f"{self._num_bad} of {self._num_seen} samples could not be used, the last one because of {reason} "
                "Check the data set's paths and options."
            ) from error

    def _blank_sample(self) -> dict[str, torch.Tensor]:
        """A black image and a black video without labels."""
        side = self.processor.video_processor.patch_size * self.processor.video_processor.merge_size
        content = [
            {"type": "image", "image": PIL.Image.new("RGB", (side, side))},
            {"type": "video", "video": np.zeros((1, side, side, 3), dtype=np.uint8)},
        ]
        frames = {"video_backend": "frames", "video_metadata": [{"total_num_frames": 1, "fps": 1.0}]}
        outputs = self.processor.apply_chat_template(
            [[{"role": "user", "content": content}]],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"add_special_tokens": False, "videos_kwargs": frames},
        )
        return {**outputs, "labels": torch.full_like(outputs["input_ids"], -100)}

    def _merge(self, samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Samples as one batch: per-token tensors padded on the right, patches and grids one after the other."""
        padding = {
            "input_ids": self.processor.tokenizer.pad_token_id,
            "attention_mask": 0,
            "mm_token_type_ids": 0,
            "labels": -100,
        }
        names = dict.fromkeys(name for sample in samples for name in sample)
        length = max(sample["input_ids"].shape[1] for sample in samples)
        batch = {}
        for name in names:
            tensors = [sample[name] for sample in samples if name in sample]
            if name in padding:
                tensors = [
                    torch.nn.functional.pad(tensor, (0, length - tensor.shape[1]), value=padding[name])
                    for tensor in tensors
                ]
            batch[name] = torch.cat(tensors)
        return batch


class BadSampleCallback(TrainerCallback):
    """
    Logs how many samples an [`OV2DataCollator`] left out (`bad_samples`), and their share at the end.

    Args:
        bad_samples (`str` or `Path`): the collator's file.
    """

    def __init__(self, bad_samples: str | Path):
        self.path = Path(bad_samples)

    def count(self) -> int:
        if not self.path.exists():
            return 0
        with self.path.open("rb") as file:
            return sum(1 for _ in file)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs is not None and state.is_world_process_zero:
            # The trainer has put a copy into the history already.
            logs["bad_samples"] = state.log_history[-1]["bad_samples"] = self.count()

    def on_train_end(self, args, state, control, **kwargs):
        if state.is_world_process_zero and (count := self.count()):
            seen = state.global_step * args.train_batch_size * args.gradient_accumulation_steps * args.world_size
            logger.warning(f"{count} of {seen} samples ({count / seen:.2%}) were left out, see {self.path}.")
