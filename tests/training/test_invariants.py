# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""What must not change the losses: how a global batch is divided, and how activations are kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_clips import answer_row
from train_tiny import train
from transformers import Trainer, TrainingArguments

from transformers_ov2 import OV2ForConditionalGeneration, OV2Processor
from transformers_ov2.training import OV2DataCollator, to_sft_dataset


TOLERANCE = 1e-4
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--num_processes", "2"]


@pytest.fixture
def rows(mixed_rows, media, tmp_path, write_jsonl):
    """Samples of every kind, with answers of different lengths."""
    rows = [
        *mixed_rows,
        answer_row("video", str(media / "5.mp4"), "one of several squares", video_backend="frames"),
        answer_row("image", str(media / "6.png"), "x"),
        answer_row("video", str(media / "7.mp4"), "a square that moves over another colour"),
        answer_row("text", "How are you?", "fine, thank you very much"),
    ]
    return write_jsonl(tmp_path / "rows.jsonl", rows)


@pytest.fixture
def reference(checkpoint, rows, tmp_path):
    return train(checkpoint, rows, tmp_path / "reference", per_device_train_batch_size=4)


@pytest.mark.parametrize(
    "options",
    [
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
        {"per_device_train_batch_size": 4, "gradient_checkpointing": False},
        {"per_device_train_batch_size": 4, "dataloader_num_workers": 2},
    ],
    ids=["2 x 2", "1 x 4", "no checkpointing", "workers"],
)
def test_losses_do_not_depend_on(checkpoint, rows, reference, options, tmp_path):
    losses = train(checkpoint, rows, tmp_path / "run", **options)
    assert len(losses) == 9
    assert losses == pytest.approx(reference, abs=TOLERANCE)


def test_the_losses_of_transformers_trainer_do_not_depend_on_accumulation(model, processor, rows, tmp_path):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def run(batch_size, steps):
        model.load_state_dict(state)
        args = TrainingArguments(
            str(tmp_path),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=steps,
            max_steps=3,
            learning_rate=3e-3,
            use_cpu=True,
            logging_steps=1,
            report_to="none",
            save_strategy="no",
            remove_unused_columns=False,
            disable_tqdm=True,
        )
        trainer = Trainer(model, args, train_dataset=to_sft_dataset(rows), data_collator=OV2DataCollator(processor))
        trainer.train()
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    assert run(2, 2) == pytest.approx(run(4, 1), abs=TOLERANCE)


def launch(*arguments) -> None:
    here = Path(__file__).parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*LAUNCH, *map(str, arguments)], cwd=here, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(checkpoint, rows, reference, tmp_path):
    output = tmp_path / "two"
    output.mkdir()
    launch("--multi_gpu", "train_tiny.py", checkpoint, rows, output)
    losses = json.loads((output / "losses.json").read_text())
    assert losses == pytest.approx(reference, abs=TOLERANCE)


@pytest.mark.slow
def test_sharded_processes_with_batches_of_different_kinds(checkpoint, mixed_rows, tmp_path, write_jsonl):
    """An image on one process and a video on the other, then text and both: the vision tower's shards must meet."""
    rows = write_jsonl(tmp_path / "rows.jsonl", mixed_rows)
    launch("--multi_gpu", "shard_tiny.py", checkpoint, rows, tmp_path)

    model = OV2ForConditionalGeneration.from_pretrained(checkpoint)
    collator = OV2DataCollator(OV2Processor.from_pretrained(checkpoint))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = []
    for start in (0, 2):
        loss = model(**collator(list(to_sft_dataset(mixed_rows[start : start + 2])))).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        expected.append(loss.item())
    assert json.loads((tmp_path / "losses.json").read_text()) == pytest.approx(expected, abs=TOLERANCE)
