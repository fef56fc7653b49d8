# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""A model with its processor, and questions to it: what `ask`, `demo` and the playground share."""

from pathlib import Path
from typing import Any


def has_weights(name: str) -> bool:
    """
    Whether a model's folder holds weights; a repository is taken to.

    Raises:
        ValueError: the weights of the folder are pickled.
    """
    if not Path(name).is_dir() or any(Path(name).glob("*.safetensors")):
        return True
    if pickled := sorted(Path(name).glob("pytorch_model*.bin")):
        raise ValueError(
            f"{name} has its weights in pickled files alone ({pickled[0].name}), only safetensors are read. "
            "If you trust them, write them anew: "
            f"AutoModelForImageTextToText.from_pretrained({name!r}, use_safetensors=False).save_pretrained({name!r})"
        )
    return False


def load_processor(name: str) -> Any:
    """The processor of a folder or repository."""
    from transformers import AutoProcessor

    import transformers_ov2  # noqa: F401  registers OV2 with the AutoClasses

    return AutoProcessor.from_pretrained(name)


def load_model(name: str) -> Any:
    """The model of a folder or repository; a random one where [`has_weights`] is `False`."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    import transformers_ov2  # noqa: F401  registers OV2 with the AutoClasses

    if has_weights(name):
        return AutoModelForImageTextToText.from_pretrained(name, dtype="auto", device_map="auto").eval()
    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(name)).eval()


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


def codec_stream(processor, video: Any, options: dict[str, Any], **evidence: bool) -> Any:
    """
    The stream that the processor makes of a video, so that pictures show what a model gets.

    Args:
        processor (`OV2Processor`): of the model.
        video: as [`OV2VideoProcessor.open_video`] returns it.
        options (`dict`): of the video processor.
        evidence: `return_evidence` of [`~transformers_ov2.codec.tokenize_video`].

    Returns:
        `CodecStream`: which stands wherever a video may.
    """
    from ..codec import tokenize_video

    config = processor.video_processor._resolve_options({**options, "video_backend": "codec"})["codec"]
    return tokenize_video(video, config, timestamp_tokens=processor._timestamp_tokens({}), **evidence)


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
