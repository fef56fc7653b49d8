# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny model learns eight samples by heart, and can tell them apart by what it sees alone."""

import numpy as np
import PIL.Image
import pytest
import torch
from peft import PeftModel
from tiny_clips import answer_row
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer

from transformers_ov2.codec import tokenize_video
from transformers_ov2.training import OV2DataCollator, lora_config, to_sft_dataset


pytestmark = pytest.mark.slow

ANSWERS = ("a red door", "two birds", "rain", "a slow train", "nobody", "the sea at night", "an old clock", "it falls")


def write_canvases(folder, clip, name, invert=False, turn=False) -> dict:
    """A codec stream as files. `invert` changes its pixels alone, `turn` the places of its blocks alone."""
    stream = tokenize_video(clip, target_canvas=4, max_pixels=56 * 56)
    positions = stream.patch_positions.copy()
    if turn:
        positions[..., 1:] ^= 2  # the 4 x 4 patches make 2 x 2 blocks: each goes to the opposite corner
    block = {"type": "video", "canvases": [], "patch_positions": [f"{folder}/{name}.npy"], "fps": stream.fps}
    np.save(block["patch_positions"][0], positions)
    for index, canvas in enumerate(stream.canvases):
        block["canvases"].append(f"{folder}/{name}-{index}.png")
        PIL.Image.fromarray(255 - canvas if invert else canvas).save(block["canvases"][-1])
    return block


@pytest.fixture
def rows(media, tmp_path):
    """
    Four pairs that only the vision tower can tell apart: images, frames, codec streams that differ in their pixels,
    codec streams that differ in the places of their blocks.
    """
    frames = {"video_backend": "frames", "num_frames": 2}
    rows = [
        answer_row("image", str(media / "0.png"), ANSWERS[0]),
        answer_row("image", str(media / "1.png"), ANSWERS[1]),
        answer_row("video", str(media / "2.mp4"), ANSWERS[2], **frames),
        answer_row("video", str(media / "3.mp4"), ANSWERS[3], **frames),
        answer_row("video", str(media / "4.mp4"), ANSWERS[4]),
    ]
    for index, clip, options in ((5, 4, {"invert": True}), (6, 6, {}), (7, 6, {"turn": True})):
        row = answer_row("text", "", ANSWERS[index])
        row["messages"][0]["content"][0] = write_canvases(tmp_path, media / f"{clip}.mp4", index, **options)
        rows.append(row)
    return rows


def prompts(rows, processor) -> list[dict[str, torch.Tensor]]:
    collator = OV2DataCollator(processor)
    return [collator.encode_prompt(row) for row in to_sft_dataset(rows)]


def generate(model, processor, prompts) -> tuple[str, ...]:
    model.eval()
    answers = []
    for inputs in prompts:
        output = model.generate(**inputs, max_new_tokens=24, do_sample=False)
        answers.append(processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return tuple(answers)


def exchange(prompts, names) -> list[dict[str, torch.Tensor]]:
    """Every prompt with the named tensors of the other one of its pair."""
    partners = [prompts[index ^ 1] for index in range(len(prompts))]
    return [{**own, **{name: other[name] for name in names if name in own}} for own, other in zip(prompts, partners)]


def shuffle(prompts, names) -> list[dict[str, torch.Tensor]]:
    """Every prompt with the values of the named tensors in random order."""

    def shuffled(values):
        return values.flatten()[torch.randperm(values.numel(), generator=generator)].reshape(values.shape)

    generator = torch.Generator().manual_seed(0)
    return [{**own, **{name: shuffled(own[name]) for name in names if name in own}} for own in prompts]


def zero(prompts, names) -> list[dict[str, torch.Tensor]]:
    return [{**own, **{name: torch.zeros_like(own[name]) for name in names if name in own}} for own in prompts]


def assert_it_sees(model, processor, rows):
    inputs = prompts(rows, processor)
    pixels, positions = ("pixel_values", "pixel_values_videos"), ("video_patch_positions",)
    assert generate(model, processor, inputs) == ANSWERS
    # Pixels decide between the samples of the first three pairs, positions between those of the last.
    others = tuple(ANSWERS[index ^ 1] for index in range(8))
    assert generate(model, processor, exchange(inputs, pixels)) == (*others[:6], *ANSWERS[6:])
    assert generate(model, processor, exchange(inputs, positions))[6:] == others[6:]
    assert generate(model, processor, shuffle(inputs, pixels)) != ANSWERS
    assert generate(model, processor, zero(inputs, positions)) != ANSWERS


def train(model, processor, rows, folder, **kwargs):
    args = SFTConfig(
        str(folder),
        per_device_train_batch_size=8,
        max_steps=60,
        learning_rate=4e-3,
        lr_scheduler_type="cosine",
        warmup_steps=10,
        max_grad_norm=1.0,
        assistant_only_loss=True,
        max_length=None,
        gradient_checkpointing=False,
        use_cpu=True,
        bf16=False,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model,
        args,
        train_dataset=to_sft_dataset(rows),
        processing_class=processor,
        data_collator=OV2DataCollator(processor),
        **kwargs,
    )
    trainer.train()
    return trainer, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-1]


def test_full_training_learns_by_heart_what_it_sees(model, processor, rows, tmp_path):
    trainer, loss = train(model, processor, rows, tmp_path / "run")
    assert loss < 0.1
    trainer.save_model(tmp_path / "saved")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved")
    processor = AutoProcessor.from_pretrained(tmp_path / "saved")
    assert_it_sees(model, processor, rows)


def test_lora_learns_by_heart_what_it_sees(checkpoint, processor, rows, tmp_path):
    def base():
        return AutoModelForImageTextToText.from_pretrained(checkpoint)

    peft_config = lora_config("all", r=32, lora_alpha=64, lora_dropout=0.0)
    trainer, loss = train(base(), processor, rows, tmp_path / "run", peft_config=peft_config)
    assert loss < 0.1
    trainer.save_model(tmp_path / "adapter")

    reloaded = PeftModel.from_pretrained(base(), tmp_path / "adapter")
    assert generate(reloaded, processor, prompts(rows, processor)) == ANSWERS
    batch = OV2DataCollator(processor)(list(to_sft_dataset(rows)))
    with torch.no_grad():
        expected = reloaded.eval()(**batch).logits
        merged = reloaded.merge_and_unload()
        error = (merged(**batch).logits - expected).abs().max()
        assert error < 1e-5 * expected.abs().max()
    merged.save_pretrained(tmp_path / "merged")
    assert_it_sees(AutoModelForImageTextToText.from_pretrained(tmp_path / "merged"), processor, rows)
