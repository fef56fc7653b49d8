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
from transformers_ov2.evaluation.parsers import parse_number, parse_seconds


EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))
from synthetic import encode_clip, make_image, make_video  # noqa: E402


MICRO = EXAMPLES / "assets" / "ov2-micro"
PICTURE = 28  # the seed of a picture that is named exactly
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


def answer(model, processor, inputs):
    output = model.generate(**inputs, max_new_tokens=48, do_sample=False)
    return processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("task, parse", [("jumps", parse_seconds), ("count", parse_number)])
def test_questions_about_the_bundled_clip_are_answered_exactly(model, processor, task, parse):
    truth = TRUTH[task]
    found = answer(model, processor, encode(processor, truth["question"], {"type": "video", "video": str(CLIP)}))
    np.testing.assert_array_equal(parse(found), truth["answer"])


def test_pictures(model, processor):
    """The colour of most pictures is named rightly, and one picture exactly; most places and shapes are not."""
    colors = []
    for seed in (*range(12), PICTURE):
        sample = make_image("test", 1, seed)
        image = {"type": "image", "image": PIL.Image.fromarray(sample.picture)}
        found = answer(model, processor, encode(processor, sample.question, image))
        colors.append(found.split()[1] == sample.answer.split()[1])
    assert found == sample.answer
    assert sum(colors) >= 10, colors


def test_other_pixels_give_another_answer(model, processor):
    """The timestamps alone do not tell: the same prompt with its patches shuffled, and in reverse order."""
    truth = TRUTH["jumps"]
    inputs = encode(processor, truth["question"], {"type": "video", "video": str(CLIP)})
    pixels = inputs["pixel_values_videos"]
    for changed in (pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))], pixels.flip(0)):
        assert parse_seconds(answer(model, processor, {**inputs, "pixel_values_videos": changed})) != truth["answer"]


def test_metrics_on_test_clips(model, processor):
    """50 clips in a look that was not trained on, as codec streams and as evenly sampled frames."""
    samples = [make_video("test", 1, "jumps", seed) for seed in range(50)]
    clips = [encode_clip(sample.scene) for sample in samples]
    means = {}
    for backend in ("codec", "frames"):
        scores = []
        for sample, clip in zip(samples, clips):
            inputs = encode(processor, sample.question, {"type": "video", "video": clip}, video_backend=backend)
            scores.append(jump_score(parse_seconds(answer(model, processor, inputs)), sample.truth))
        means[backend] = float(np.mean(scores))
    assert 0.68 < means["codec"] < 0.79, means
    assert means["frames"] < means["codec"] - 0.3, means
