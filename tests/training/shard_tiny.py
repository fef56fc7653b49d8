# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Shards a tiny model over processes (FSDP2 on CPU), of which each gets a batch of another kind, and writes the losses.

    accelerate launch ... tests/training/shard_tiny.py CHECKPOINT ROWS.jsonl OUTPUT
"""

import json
import sys
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from transformers_ov2 import OV2ForConditionalGeneration, OV2Processor
from transformers_ov2.training import OV2DataCollator, to_sft_dataset


def main(checkpoint: str, rows: str, output: str):
    distributed.init_process_group("gloo")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    mesh = distributed.init_device_mesh("cpu", (size,))
    model = OV2ForConditionalGeneration.from_pretrained(checkpoint)
    for module in reversed(list(model.modules())):
        if type(module).__name__ in model._no_split_modules:
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert isinstance(model.model.visual.encoder.layers[0].mlp.fc1.weight, DTensor)

    collator = OV2DataCollator(OV2Processor.from_pretrained(checkpoint), every_modality=True)
    dataset = to_sft_dataset(rows)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for step in range(len(dataset) // size):
        batch = collator([dataset[step * size + rank]])
        tokens = (batch["labels"] != -100).sum()
        distributed.all_reduce(tokens)
        # Gradients are averaged over processes, so each counts its share of all tokens `size` times.
        loss = model(**batch, num_items_in_batch=tokens).loss
        (loss * size).backward()
        optimizer.step()
        optimizer.zero_grad()
        loss = loss.detach()
        distributed.all_reduce(loss)
        losses.append(loss.item())
    if rank == 0:
        (Path(output) / "losses.json").write_text(json.dumps(losses))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
