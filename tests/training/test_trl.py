# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""TRL's trainers on OV2 models, unmodified."""

import functools

import PIL.Image
import pytest
import torch
from datasets import Dataset, IterableDataset, load_dataset
from tiny_clips import answer_row
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from transformers_ov2.training import (
    BadSampleCallback,
    CodecStreamCache,
    OV2DataCollator,
    lora_config,
    pretokenize,
    to_sft_dataset,
)


CPU = {
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
    "per_device_train_batch_size": 2,
    "max_steps": 2,
}


def sft_config(folder, **kwargs) -> SFTConfig:
    return SFTConfig(str(folder), **{**CPU, "max_length": None, "learning_rate": 1e-2, **kwargs})


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def spy(trainer) -> set[str]:
    """Names of the tensors that the model's forward gets."""
    names, forward = set(), trainer.model.forward

    @functools.wraps(forward)
    def record(*args, **kwargs):
        names.update(name for name, value in kwargs.items() if torch.is_tensor(value))
        return forward(*args, **kwargs)

    trainer.model.forward = record
    return names


VIDEO_INPUTS = {"pixel_values_videos", "video_grid_thw", "video_patch_positions", "video_window_sizes"}
IMAGE_INPUTS = {"pixel_values", "image_grid_thw"}
TEXT_INPUTS = {"input_ids", "attention_mask", "labels"}


@pytest.mark.parametrize("kind", ["image", "codec", "frames", "text", "mixed"])
def test_sft_on_rows_of_every_kind(checkpoint, processor, mixed_rows, kind, tmp_path):
    rows = {"image": mixed_rows[:1], "text": mixed_rows[2:3], "mixed": mixed_rows}.get(kind, mixed_rows[1:2])
    if kind == "frames":
        processor.video_processor.video_backend = "frames"
    processor.save_pretrained(checkpoint)
    trainer = SFTTrainer(
        model=str(checkpoint),
        args=sft_config(tmp_path, per_device_train_batch_size=len(rows)),
        train_dataset=to_sft_dataset(rows),
    )
    names = spy(trainer)
    trainer.train()
    expected = set(TEXT_INPUTS)
    if kind in ("image", "mixed"):
        expected |= IMAGE_INPUTS
    if kind in ("codec", "frames", "mixed"):
        expected |= VIDEO_INPUTS
    assert names == expected
    assert losses(trainer)[1] < losses(trainer)[0]


@pytest.mark.parametrize("form", ["dataset", "iterable", "generator", "streamed file"])
def test_sft_on_every_form_of_dataset(model, processor, mixed_rows, form, tmp_path, write_jsonl):
    if form == "streamed file":
        rows = [{"video": row["messages"][0]["content"][0]["video"], "caption": "x"} for row in mixed_rows[1:2]] * 4
        path = write_jsonl(tmp_path / "rows.jsonl", rows)
        dataset = to_sft_dataset(load_dataset("json", data_files=str(path), split="train", streaming=True))
    else:
        dataset = to_sft_dataset(mixed_rows)
        if form == "iterable":
            dataset = dataset.to_iterable_dataset()
        elif form == "generator":
            rows = list(dataset)
            dataset = IterableDataset.from_generator(lambda: iter(rows))
    trainer = SFTTrainer(model, sft_config(tmp_path), train_dataset=dataset, processing_class=processor)
    names = spy(trainer)
    trainer.train()
    assert names >= VIDEO_INPUTS
    assert len(losses(trainer)) == 2


def test_sft_on_the_answers_alone(model, processor, mixed_rows, tmp_path):
    dataset = to_sft_dataset(mixed_rows)
    args = sft_config(tmp_path, assistant_only_loss=True, per_device_train_batch_size=4, max_steps=1)
    trainer = SFTTrainer(model, args, train_dataset=dataset, processing_class=processor)
    with torch.no_grad():
        expected = model.eval()(**OV2DataCollator(processor)(list(dataset))).loss.item()
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(expected, abs=1e-4)


def test_sft_evaluates(model, processor, mixed_rows, tmp_path):
    dataset = to_sft_dataset(mixed_rows)
    args = sft_config(tmp_path, eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=2)
    trainer = SFTTrainer(model, args, train_dataset=dataset, eval_dataset=dataset, processing_class=processor)
    trainer.train()
    evaluated = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(evaluated) == 2 and evaluated[1] < evaluated[0]


def test_sft_resumes_from_a_checkpoint(checkpoint, mixed_rows, tmp_path):
    dataset = to_sft_dataset(mixed_rows * 3)

    def run(folder, resume=None, **kwargs):
        args = sft_config(tmp_path / folder, max_steps=4, lr_scheduler_type="linear", **kwargs)
        trainer = SFTTrainer(str(checkpoint), args, train_dataset=dataset)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run("whole", save_strategy="steps", save_steps=2)
    resumed = run("resumed", resume=f"{tmp_path}/whole/checkpoint-2")
    assert losses(resumed) == losses(whole)
    for (name, first), second in zip(whole.model.named_parameters(), resumed.model.parameters()):
        torch.testing.assert_close(first, second, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("recipe", [None, "language_model+merger"])
def test_what_sft_saves_reloads_and_generates(checkpoint, mixed_rows, media, recipe, tmp_path):
    peft_config = None if recipe is None else lora_config(recipe)
    trainer = SFTTrainer(
        str(checkpoint),
        sft_config(tmp_path / "run"),
        train_dataset=to_sft_dataset(mixed_rows),
        peft_config=peft_config,
    )
    trainer.train()
    trainer.save_model(tmp_path / "saved")
    assert ((tmp_path / "saved" / "adapter_model.safetensors").exists()) == (recipe is not None)

    reloaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved")
    saved_processor = AutoProcessor.from_pretrained(tmp_path / "saved")
    messages = answer_row("video", str(media / "1.mp4"), "")["messages"][:1]
    inputs = saved_processor.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    expected = trainer.model.eval().generate(**inputs, max_new_tokens=5, do_sample=False)
    assert reloaded.generate(**inputs, max_new_tokens=5, do_sample=False).tolist() == expected.tolist()


def test_sft_with_the_collator_leaves_bad_clips_out_and_says_so(model, processor, mixed_rows, tmp_path):
    bad = tmp_path / "bad.jsonl"
    rows = to_sft_dataset([answer_row("video", "missing.mp4", "x"), *mixed_rows[:3]])
    trainer = SFTTrainer(
        model,
        sft_config(tmp_path, assistant_only_loss=True, max_steps=4, dataloader_num_workers=1),
        train_dataset=rows,
        processing_class=processor,
        data_collator=OV2DataCollator(processor, cache=CodecStreamCache(tmp_path / "cache"), bad_samples=bad),
        callbacks=[BadSampleCallback(bad)],
    )
    trainer.train()
    assert trainer.state.global_step == 4
    assert max(entry.get("bad_samples", 0) for entry in trainer.state.log_history) == 2
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())


def test_sft_groups_samples_by_their_tokens(model, processor, media, tmp_path):
    rows = [
        answer_row("video", str(media / f"{index}.mp4"), "x", video_backend="frames", num_frames=1 + 5 * (index % 2))
        for index in range(8)
    ]
    collator = OV2DataCollator(processor)
    dataset = pretokenize(to_sft_dataset(rows * 4), collator)
    assert len(set(dataset["length"])) == 2

    def padding(strategy):
        args = sft_config(
            tmp_path,
            assistant_only_loss=True,
            train_sampling_strategy=strategy,
            length_column_name="length",
            remove_unused_columns=False,
        )
        trainer = SFTTrainer(model, args, train_dataset=dataset, processing_class=processor, data_collator=collator)
        masks = [batch["attention_mask"] for batch in trainer.get_train_dataloader()]
        assert sum(len(mask) for mask in masks) == 32
        return sum(int((mask == 0).sum()) for mask in masks)

    assert padding("group_by_length") < padding("random") / 2


# What is silent elsewhere


def test_a_dataset_without_images_column_is_an_error(model, processor, mixed_rows, tmp_path):
    dataset = to_sft_dataset(mixed_rows[1:2]).remove_columns("images")
    trainer = SFTTrainer(model, sft_config(tmp_path), train_dataset=dataset, processing_class=processor)
    with pytest.raises(ValueError, match="needs an `images` column"):
        trainer.train()


def test_a_truncated_sample_is_an_error(model, processor, mixed_rows, tmp_path):
    args = sft_config(tmp_path, max_length=40)
    dataset = to_sft_dataset(mixed_rows[1:2])
    trainer = SFTTrainer(model, args, train_dataset=dataset, processing_class=processor)
    with pytest.raises(ValueError, match="(?i)video features and video tokens do not match|mismatch in `video` token"):
        trainer.train()


# What TRL refuses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"packing": True, "max_length": 64}, "Packing is not supported for vision datasets."),
        ({"padding_free": True}, "Padding-free training is yet not supported for vision datasets."),
        (
            {"max_length": 64, "truncation_mode": "keep_end"},
            "truncation_mode='keep_end' is not supported for vision datasets.",
        ),
    ],
)
def test_options_that_trl_refuses(model, processor, mixed_rows, options, message, tmp_path):
    args = sft_config(tmp_path, **options)
    with pytest.raises(ValueError, match=message):
        SFTTrainer(model, args, train_dataset=to_sft_dataset(mixed_rows), processing_class=processor)


def test_trl_refuses_prompt_completion_rows_with_video(model, processor, media, tmp_path):
    prompt, completion = answer_row("video", str(media / "0.mp4"), "x")["messages"]
    rows = [{"prompt": [prompt], "completion": [completion], "images": []}]
    dataset = IterableDataset.from_generator(lambda: iter(rows))
    trainer = SFTTrainer(model, sft_config(tmp_path), train_dataset=dataset, processing_class=processor)
    with pytest.raises(ValueError, match="Found 1 <.video_pad.> tokens in the text but no videos were passed."):
        trainer.train()
    # The same rows as a conversation.
    converted = to_sft_dataset([{"prompt": [prompt], "completion": [completion]}])
    SFTTrainer(model, sft_config(tmp_path), train_dataset=converted, processing_class=processor).train()


def test_trl_refuses_a_videos_column(model, processor, media, tmp_path):
    message = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "?"}]}
    rows = [{"messages": [message], "images": [], "videos": [str(media / "0.mp4")]}]
    dataset = IterableDataset.from_generator(lambda: iter(rows))
    trainer = SFTTrainer(model, sft_config(tmp_path), train_dataset=dataset, processing_class=processor)
    with pytest.raises(ValueError, match="Found 1 <.video_pad.> tokens in the text but no videos were passed."):
        trainer.train()


def test_trl_refuses_adapters_on_the_head(model, processor, mixed_rows, tmp_path):
    with pytest.raises(ValueError, match="Applying a PEFT adapter to `lm_head` is not supported"):
        SFTTrainer(
            model,
            sft_config(tmp_path),
            train_dataset=to_sft_dataset(mixed_rows),
            processing_class=processor,
            peft_config=lora_config(target_modules=["lm_head"]),
        )


@pytest.mark.parametrize("options", [{"padding_free": True}, {"packing": True, "max_length": 256}])
def test_text_alone_may_be_packed(checkpoint, options, tmp_path):
    """Samples of one row of tokens do not see each other: the loss is that of padded samples."""
    texts = ("Hi.", "fine, thank you very much", "a square", "one of several squares")
    dataset = to_sft_dataset([answer_row("text", "Hello", text) for text in texts]).remove_columns("images")

    def first_loss(**kwargs):
        args = sft_config(tmp_path, max_steps=1, per_device_train_batch_size=4, assistant_only_loss=True, **kwargs)
        trainer = SFTTrainer(str(checkpoint), args, train_dataset=dataset)
        trainer.train()
        return losses(trainer)[0]

    assert first_loss(**options) == pytest.approx(first_loss(), abs=1e-4)


def test_videos_from_archives_are_read_from_memory(model, processor, media, tmp_path):
    """As WebDataset gives them."""
    row = {"video": (media / "0.mp4").read_bytes(), "caption": "x"}
    dataset = to_sft_dataset(IterableDataset.from_generator(lambda: iter([row] * 4)))
    trainer = SFTTrainer(model, sft_config(tmp_path), train_dataset=dataset, processing_class=processor)
    names = spy(trainer)
    trainer.train()
    assert names >= VIDEO_INPUTS
    path_row = to_sft_dataset([{"video": str(media / "0.mp4"), "caption": "x"}])[0]
    collator = OV2DataCollator(processor)
    torch.testing.assert_close(collator([next(iter(dataset))]), collator([path_row]), rtol=0, atol=0)


# Preferences and rewards


def preference_rows(media, kind="image"):
    question = {"role": "user", "content": [{"type": kind}, {"type": "text", "text": "What is this?"}]}
    answers = [[{"role": "assistant", "content": [{"type": "text", "text": text}]}] for text in ("a square", "a cat")]
    return [
        {"prompt": [question], "chosen": answers[0], "rejected": answers[1], "images": [PIL.Image.open(media / name)]}
        for name in ("0.png", "1.png", "2.png", "3.png")
    ]


@pytest.mark.parametrize("peft", [False, True])
def test_dpo_with_images(checkpoint, media, peft, tmp_path):
    trainer = DPOTrainer(
        str(checkpoint),
        args=DPOConfig(str(tmp_path), **CPU, max_length=None, learning_rate=1e-2, beta=1.0),
        train_dataset=Dataset.from_list(preference_rows(media)),
        peft_config=lora_config() if peft else None,
    )
    names = spy(trainer)
    trainer.train()
    assert names >= IMAGE_INPUTS
    assert losses(trainer)[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses(trainer)[1] < losses(trainer)[0]


def test_trl_refuses_dpo_with_video(model, processor, media, tmp_path):
    rows = preference_rows(media)
    for row in rows:
        row["prompt"][0]["content"][0] = {"type": "video", "video": str(media / "0.mp4")}
        row["images"] = []
    trainer = DPOTrainer(
        model,
        args=DPOConfig(str(tmp_path), **CPU, max_length=None),
        train_dataset=IterableDataset.from_generator(lambda: iter(rows)),
        processing_class=processor,
        peft_config=lora_config(),
    )
    with pytest.raises(ValueError, match="<.video_pad.> tokens in the text but no videos were passed."):
        trainer.train()


def reward_length(completions, **kwargs):
    return [float(len(completion[0]["content"])) for completion in completions]


def grpo_trainer(model, processor, dataset, folder, **kwargs):
    return GRPOTrainer(
        model,
        reward_funcs=reward_length,
        args=GRPOConfig(str(folder), **{**CPU, "per_device_train_batch_size": 4}, num_generations=2, **kwargs),
        train_dataset=dataset,
        processing_class=processor,
    )


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_grpo_with_images(model, processor, media, num_iterations, tmp_path):
    rows = [{"prompt": row["prompt"], "images": row["images"]} for row in preference_rows(media)]
    trainer = grpo_trainer(
        model,
        processor,
        Dataset.from_list(rows),
        tmp_path,
        max_completion_length=4,
        num_iterations=num_iterations,
        learning_rate=1e-2,
    )
    before = model.lm_head.weight.clone()
    names = spy(trainer)
    trainer.train()
    assert names >= IMAGE_INPUTS
    assert not torch.equal(trainer.model.lm_head.weight, before)


def test_grpo_with_video_is_an_error(model, processor, media, tmp_path):
    content = [{"type": "video", "video": str(media / "0.mp4")}, {"type": "text", "text": "?"}]
    rows = [{"prompt": [{"role": "user", "content": content}]}] * 4
    dataset = IterableDataset.from_generator(lambda: iter(rows))
    trainer = grpo_trainer(model, processor, dataset, tmp_path, max_completion_length=4)
    with pytest.raises(ValueError, match="video pixels"):
        trainer.train()
