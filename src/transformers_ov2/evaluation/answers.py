# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""A model's answers to a batch of conversations, as evaluation asks for them."""

from collections.abc import Sequence
from typing import Any

import torch


@torch.inference_mode()
def answer(
    model, processor, conversations: Sequence[list[dict]], *, processor_kwargs=None, **generation: Any
) -> list[str]:
    """
    Generate an answer to each conversation, all in one batch.

    Args:
        model ([`OV2ForConditionalGeneration`]): a model, a PEFT one included.
        processor ([`OV2Processor`]): its processor.
        conversations (sequence of `list[dict]`): messages as `apply_chat_template` takes them; the last one asks.
        processor_kwargs (`dict`, *optional*): options of the processor, such as `video_backend` and `codec`.
        generation: arguments of `generate`. Greedy decoding unless they say otherwise.

    Returns:
        `list[str]`: the answers, without special tokens and surrounding white space.
    """
    inputs = processor.apply_chat_template(
        list(conversations),
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left", **(processor_kwargs or {})},
    ).to(model.device)
    output = model.generate(**inputs, **{"do_sample": False, **generation})
    texts = processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]
