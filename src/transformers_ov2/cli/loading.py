# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""A model with its processor, and questions to it: what `ask`, `demo` and the playground share."""

from pathlib import Path
from typing import Any


def load(name: str) -> tuple[Any, Any, bool]:
    """
    The processor and model of a folder or repository, and whether the model is random, its folder without
    weights.

    Raises:
        ValueError: the weights of the folder are pickled.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    import transformers_ov2  # noqa: F401  registers OV2 with the AutoClasses

    without_weights = Path(name).is_dir() and not any(Path(name).glob("*.safetensors"))
    if without_weights and (pickled := sorted(Path(name).glob("pytorch_model*.bin"))):
        raise ValueError(
            f"{name} has its weights in pickled files alone ({pickled[0].name}), only safetensors are read. "
            "If you trust them, write them anew: "
            f"AutoModelForImageTextToText.from_pretrained({name!r}, use_safetensors=False).save_pretrained({name!r})"
        )
    processor = AutoProcessor.from_pretrained(name)
    if without_weights:
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(name))
        return processor, model.eval(), True
    model = AutoModelForImageTextToText.from_pretrained(name, dtype="auto", device_map="auto")
    return processor, model.eval(), False


def encode(processor, media: list[dict], prompt: str, videos: dict[str, Any]) -> Any:
    """
    The model's inputs for one question.

    Args:
        processor (`OV2Processor`): of the model.
        media (`list[dict]`): parts of the message, as `{"type": "video", "video": "clip.mp4"}`.
        prompt (`str`): the question.
        videos (`dict`): options of the video processor.

    Returns:
        `BatchFeature`: of one sample.
    """
    return processor.apply_chat_template(
        [{"role": "user", "content": [*media, {"type": "text", "text": prompt}]}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"videos_kwargs": videos},
    )


def token_account(processor, inputs) -> dict[str, int]:
    """Where the tokens of a prompt go. Visual tokens stand for blocks of patches, timestamps are text between them."""
    input_ids = inputs["input_ids"]
    images = int((input_ids == processor.image_token_id).sum())
    videos = int((input_ids == processor.video_token_id).sum())
    total = input_ids.shape[1]
    return {"prompt": total, "images": images, "videos": videos, "text": total - images - videos}


def generate(model, processor, inputs, max_new_tokens: int, streamer=None) -> tuple[str, int]:
    """The answer, and its number of tokens; `streamer` gets the words as they come."""
    import torch

    inputs = {name: value.to(model.device) for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    output = model.generate(**inputs, max_new_tokens=max_new_tokens, streamer=streamer)
    answer = output[0, inputs["input_ids"].shape[1] :]
    return processor.decode(answer, skip_special_tokens=True), len(answer)
