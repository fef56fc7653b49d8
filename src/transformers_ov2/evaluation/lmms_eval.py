# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
OV2 in lmms-eval 0.7: `python -m lmms_eval --model transformers_ov2 --model_args pretrained=MODEL,target_canvas=32 …`

The harness finds this module by the entry point `transformers_ov2` of the group `lmms_eval.models`. It asks for
PyAV < 16 in its metadata, but runs with the release that this package needs: install the harness first, then this
package, and pip replaces PyAV.
"""

import dataclasses
import json
from collections import defaultdict
from typing import Any

import torch
from accelerate import Accelerator
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest
from lmms_eval.protocol import ChatMessages
from tqdm import tqdm
from transformers import AutoModelForImageTextToText, AutoProcessor

import transformers_ov2  # noqa: F401 (registers OV2 with the AutoClasses)

from ..codec import CodecStreamConfig
from .answers import answer


MANIFEST = ModelManifest("transformers_ov2", chat_class_path=f"{__name__}.OV2Chat")

_PROCESSOR_OPTIONS = (
    "num_frames",
    "fps",
    "max_frames",
    "frame_window_size",
    "min_pixels",
    "max_pixels",
    "max_tokens",
    "timestamp_decimals",
)
_CODEC_OPTIONS = {field.name for field in dataclasses.fields(CodecStreamConfig)} - set(_PROCESSOR_OPTIONS)
# Arguments of `generate` that tasks set.
_GENERATION = ("max_new_tokens", "temperature", "top_p", "top_k", "num_beams", "repetition_penalty")


class OV2Chat(lmms):
    """
    An OV2 model behind the harness's chat interface: images, several videos, codec streams, sampled frames, batches.

    Args:
        pretrained (`str`): repository or folder of the model.
        backend (`str`, defaults to `"codec"`): `video_backend` of the processor.
        batch_size (`int`, defaults to 1): questions that are asked together.
        device (`str`, *optional*): such as `"cuda:0"` or `"cpu"`; the process's own by default.
        device_map (`str`, *optional*): of `from_pretrained`, for a model over several devices.
        dtype (`str`, defaults to `"auto"`): of the weights.
        attn_implementation (`str`, *optional*): of `from_pretrained`.
        system_prompt (`str`, *optional*): a text, or a file that holds it.
        options: options of the video processor (`num_frames`, `max_tokens`, `timestamp_decimals`, …) and fields of
            [`~transformers_ov2.codec.CodecStreamConfig`] (`target_canvas`, `selection`, …).

    Raises:
        ValueError: an option is none of these.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str,
        backend: str = "codec",
        batch_size: int | str = 1,
        device: str | None = None,
        device_map: str | None = None,
        dtype: str = "auto",
        attn_implementation: str | None = None,
        system_prompt: str | None = None,
        max_batch_size: int | None = None,
        **options: Any,
    ):
        super().__init__()
        for name in options:
            if name not in _PROCESSOR_OPTIONS and name not in _CODEC_OPTIONS:
                known = ", ".join(sorted({*_PROCESSOR_OPTIONS, *_CODEC_OPTIONS}))
                raise ValueError(f"`{name}` is no model argument of transformers_ov2. The options are: {known}.")
        if not str(batch_size).isdigit():
            raise ValueError(f"`batch_size` must be a number, got {batch_size!r}.")
        self.batch_size = int(batch_size)
        codec = {name: value for name, value in options.items() if name in _CODEC_OPTIONS}
        self.processor_kwargs = {"video_backend": backend, **({"codec": codec} if codec else {})}
        self.processor_kwargs |= {name: value for name, value in options.items() if name in _PROCESSOR_OPTIONS}
        self.system_prompt = self._resolve_system_prompt(system_prompt)

        accelerator = Accelerator()
        self._rank, self._world_size = accelerator.process_index, accelerator.num_processes
        self._device = torch.device(device if device and self._world_size == 1 else accelerator.device)
        self.processor = AutoProcessor.from_pretrained(pretrained)
        self.model = AutoModelForImageTextToText.from_pretrained(
            pretrained, dtype=dtype, attn_implementation=attn_implementation, device_map=device_map
        ).eval()
        if device_map is None:
            self.model.to(self._device)

    @property
    def device(self) -> torch.device:
        return self._device

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        # A batch shares its arguments of `generate`.
        alike = defaultdict(list)
        for index, request in enumerate(requests):
            alike[json.dumps(request.args[2], sort_keys=True, default=str)].append(index)
        results: list[GenerationResult | None] = [None] * len(requests)
        progress = tqdm(total=len(requests), disable=self.rank != 0, desc="transformers_ov2")
        for indices in alike.values():
            for at in range(0, len(indices), self.batch_size):
                batch = indices[at : at + self.batch_size]
                arguments = [requests[index].args for index in batch]
                settings = arguments[0][2]
                texts = answer(
                    self.model,
                    self.processor,
                    [self._conversation(*each) for each in arguments],
                    processor_kwargs=self.processor_kwargs,
                    **generation_arguments(settings),
                )
                for index, each, text in zip(batch, arguments, texts):
                    text = cut(text, settings.get("until"))
                    count = len(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])
                    results[index] = GenerationResult(text=text, token_counts=TokenCounts(output_tokens=count))
                    self.cache_hook.add_partial("generate_until", (each[0], settings), text)
                progress.update(len(batch))
        progress.close()
        return results

    def _conversation(self, context, doc_to_messages, settings, doc_id, task, split) -> list[dict]:
        messages = doc_to_messages(self.task_dict[task][split][doc_id])
        if self.system_prompt:
            messages = self._apply_system_prompt(messages, self.system_prompt)
        conversation = ChatMessages(messages=messages).to_hf_messages()
        for block in (block for message in conversation for block in message["content"]):
            if block["type"] == "audio":
                raise ValueError(f"{task}: OV2 has no audio input.")
            if {"video_start", "video_end"} & block.keys():
                raise ValueError(
                    f"{task}: asks about a part of a video by its start and end, which is not supported. Cut the "
                    "clips beforehand."
                )
        return conversation

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("transformers_ov2 answers tasks of the type `generate_until`.")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise NotImplementedError("transformers_ov2 answers tasks of one round.")


def generation_arguments(settings: dict) -> dict[str, Any]:
    """A task's `generation_kwargs` as arguments of `generate`: a temperature of 0 is greedy decoding."""
    found = {name: settings[name] for name in _GENERATION if settings.get(name) is not None}
    if not found.get("temperature"):
        for name in ("temperature", "top_p", "top_k"):
            found.pop(name, None)
        return {"max_new_tokens": 1024, **found, "do_sample": False}
    return {"max_new_tokens": 1024, **found, "do_sample": settings.get("do_sample", True)}


def cut(text: str, until: str | list[str] | None) -> str:
    """The text up to the first of the strings that end an answer."""
    for stop in [until] if isinstance(until, str) else until or []:
        if stop:
            text = text.split(stop)[0]
    return text
