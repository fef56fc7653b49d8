# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Trains a tiny model and writes its losses as JSON, in as many processes as it is launched in.

    accelerate launch ... tests/training/train_tiny.py CHECKPOINT ROWS.jsonl OUTPUT [--every-modality]
"""

import argparse
import json
from pathlib import Path

from accelerate import PartialState
from trl import SFTConfig, SFTTrainer

from transformers_ov2 import OV2ForConditionalGeneration, OV2Processor
from transformers_ov2.training import OV2DataCollator, to_sft_dataset


def train(checkpoint, rows, output, every_modality=False, **kwargs) -> list[float]:
    """Losses of each step, and of an evaluation at the end."""
    processor = OV2Processor.from_pretrained(checkpoint)
    args = SFTConfig(
        str(output),
        **{
            "per_device_train_batch_size": 2,
            "per_device_eval_batch_size": 2,
            "max_steps": 4,
            "learning_rate": 3e-3,
            "lr_scheduler_type": "constant",
            "assistant_only_loss": True,
            "max_length": None,
            "use_cpu": True,
            "bf16": False,
            "logging_steps": 1,
            "eval_strategy": "steps",
            "eval_steps": 4,
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": True,
            **kwargs,
        },
    )
    dataset = to_sft_dataset(rows)
    trainer = SFTTrainer(
        OV2ForConditionalGeneration.from_pretrained(checkpoint),
        args,
        train_dataset=dataset,
        eval_dataset=dataset,
        processing_class=processor,
        data_collator=OV2DataCollator(processor, every_modality=every_modality),
    )
    trainer.train()
    return [
        entry[name]
        for entry in trainer.state.log_history
        for name in ("loss", "grad_norm", "eval_loss")
        if name in entry
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("rows")
    parser.add_argument("output", type=Path)
    parser.add_argument("--every-modality", action="store_true")
    arguments = parser.parse_args()
    losses = train(arguments.checkpoint, arguments.rows, arguments.output, arguments.every_modality)
    if PartialState().is_main_process:
        (arguments.output / "losses.json").write_text(json.dumps(losses))
