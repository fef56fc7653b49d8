# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny model, its processor and clips, all on disk, for the training tests."""

import json

import PIL.Image
import pytest
import torch
from tiny_clips import answer_row, draw, write_clip

from transformers_ov2 import OV2ForConditionalGeneration, OV2Processor
from transformers_ov2.training import set_training_chat_template


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """A folder with clips `0.mp4` … `7.mp4` and images `0.png` … `7.png`, all different."""
    folder = tmp_path_factory.mktemp("media")
    for index in range(8):
        write_clip(folder / f"{index}.mp4", draw(index))
        PIL.Image.fromarray(draw(100 + index)[0]).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def processor(fixtures) -> OV2Processor:
    processor = OV2Processor.from_pretrained(fixtures / "hub_layout")
    set_training_chat_template(processor)
    processor.image_processor.size = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    processor.video_processor.size = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    processor.video_processor.num_frames = 3
    processor.video_processor.codec = {"target_canvas": 4}
    return processor


@pytest.fixture
def model(tiny_config) -> OV2ForConditionalGeneration:
    torch.manual_seed(0)
    model = OV2ForConditionalGeneration(tiny_config(text={"initializer_range": 0.1}))
    # A frozen head must be able to tell tokens apart, as a trained one does.
    torch.nn.init.normal_(model.lm_head.weight, std=0.3)
    return model


@pytest.fixture
def checkpoint(tmp_path, model, processor):
    """A folder as users have it: weights, configuration and processor."""
    folder = tmp_path / "checkpoint"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def mixed_rows(media) -> list[dict]:
    """An image, a codec video, frames and text; image and video in one row."""
    both = answer_row("image", str(media / "3.png"), "both")
    both["messages"][0]["content"].insert(1, {"type": "video", "video": str(media / "3.mp4")})
    return [
        answer_row("image", str(media / "0.png"), "a red one"),
        answer_row("video", str(media / "1.mp4"), "it moves"),
        {"messages": [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi."}]},
        both,
    ]


@pytest.fixture
def write_jsonl():
    def write(path, rows):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write
