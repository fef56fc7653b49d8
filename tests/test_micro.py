# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The micro checkpoint: what it answers about clips whose look it was not trained on."""

import json
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import transformers_ov2  # noqa: F401
from transformers_ov2.evaluation.metrics import jump_score
from transformers_ov2.evaluation.parsers import parse_interval, parse_number, parse_seconds


EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))
from synthetic import encode_clip, make_image, make_video  # noqa: E402
from synthetic.tasks import QUESTIONS, describe_blocks, format_contents  # noqa: E402


MICRO = EXAMPLES / "assets" / "ov2-micro"
NUM_FRAMES = 6  # as many whole frames as the checkpoint's budget holds
CLIP = EXAMPLES / "assets" / "jumps.mp4"
TRUTH = {
    row["task"]: row for row in map(json.loads, (EXAMPLES / "assets" / "questions.jsonl").read_text().splitlines())
}


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(MICRO)


@pytest.fixture(scope="module")
def model():
    return AutoModelForImageTextToText.from_pretrained(MICRO, dtype=torch.float32).eval()


def encode(processor, question, media, **options):
    content = [media, {"type": "text", "text": question}]
    return processor.apply_chat_template(
        [[{"role": "user", "content": content}]],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=options,
    )


def answer(model, processor, inputs, max_new_tokens=48):
    output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    return processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize(
    "task, parse", [("jumps", parse_seconds), ("count", parse_number), ("grounding", parse_interval)]
)
def test_questions_about_the_bundled_clip_are_answered_exactly(model, processor, task, parse):
    truth = TRUTH[task]
    found = answer(model, processor, encode(processor, truth["question"], {"type": "video", "video": str(CLIP)}))
    np.testing.assert_array_equal(parse(found), truth["answer"])


def shuffle(pixels):
    return pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))]


def test_pictures_are_named_exactly(model, processor):
    """Colour, shape and place; another order of the patches shows another picture."""
    right = []
    for seed in range(12):
        sample = make_image("test", 1, seed)
        inputs = encode(processor, sample.question, {"type": "image", "image": PIL.Image.fromarray(sample.picture)})
        right.append(answer(model, processor, inputs) == sample.answer)
        if seed == 0:
            inputs["pixel_values"] = shuffle(inputs["pixel_values"])
            assert right[0] and answer(model, processor, inputs) != sample.answer
    assert sum(right) >= 11, right


def test_what_sampled_frames_show_is_said_exactly(model, processor):
    """What stands in each of six whole frames, whether the figure jumps in it and the lamp is on."""
    right = []
    for seed in range(1, 7):
        scene = make_video("test", 1, "jumps", seed).scene
        frames = np.linspace(0, scene.num_frames - 1, NUM_FRAMES).round().astype(int)
        contents = [describe_blocks(set(scene.blocks(frame).flat)) for frame in frames]
        truth = format_contents(map(scene.seconds, frames), contents)
        video = {"type": "video", "video": encode_clip(scene)}
        inputs = encode(processor, QUESTIONS["contents"], video, num_frames=NUM_FRAMES)
        right.append(answer(model, processor, inputs, max_new_tokens=96) == truth)
        if seed == 1:
            inputs["pixel_values_videos"] = shuffle(inputs["pixel_values_videos"])
            assert right[0] and answer(model, processor, inputs, max_new_tokens=96) != truth
    assert sum(right) >= 4, right


def test_other_pixels_give_another_answer(model, processor):
    """The timestamps alone do not tell: the same prompt with its patches shuffled, and in reverse order."""
    truth = TRUTH["jumps"]
    inputs = encode(processor, truth["question"], {"type": "video", "video": str(CLIP)})
    pixels = inputs["pixel_values_videos"]
    for changed in (shuffle(pixels), pixels.flip(0)):
        assert parse_seconds(answer(model, processor, {**inputs, "pixel_values_videos": changed})) != truth["answer"]


def test_metrics_on_test_clips(model, processor):
    """50 clips in a look that was not trained on, as codec streams and as evenly sampled frames."""
    samples = [make_video("test", 1, "jumps", seed) for seed in range(50)]
    clips = [encode_clip(sample.scene) for sample in samples]
    means = {}
    for backend, options in (("codec", {}), ("frames", {"num_frames": NUM_FRAMES})):
        scores = []
        for sample, clip in zip(samples, clips):
            inputs = encode(processor, sample.question, {"type": "video", "video": clip}, **options)
            scores.append(jump_score(parse_seconds(answer(model, processor, inputs)), sample.truth))
        means[backend] = float(np.mean(scores))
    assert 0.81 < means["codec"] < 0.91, means
    assert means["frames"] < means["codec"] - 0.6, means
