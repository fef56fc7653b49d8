# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""`Trainer.evaluate` and `predict` with metrics, over rows of every kind."""

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments

from transformers_ov2.training import OV2DataCollator, to_sft_dataset


def token_accuracy(prediction):
    tokens, labels = prediction.predictions, prediction.label_ids
    kept = labels[:, 1:] != -100
    return {"accuracy": float((tokens[:, :-1] == labels[:, 1:])[kept].mean()), "tokens": int(kept.sum())}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_metrics_over_mixed_rows(model, processor, mixed_rows, tmp_path, batch_size):
    dataset, collator = to_sft_dataset(mixed_rows), OV2DataCollator(processor)
    trainer = Trainer(
        model,
        TrainingArguments(
            str(tmp_path),
            per_device_eval_batch_size=batch_size,
            use_cpu=True,
            report_to="none",
            remove_unused_columns=False,
        ),
        data_collator=collator,
        eval_dataset=dataset,
        compute_metrics=token_accuracy,
        # The vocabulary is large: keep the answer, not the scores. Fails unless the logits come alone.
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
    )
    metrics = trainer.evaluate()

    right, losses = [], []
    model.eval()
    for row in dataset:
        sample = collator([row])
        with torch.no_grad():
            output = model(**sample)
        labels = sample["labels"][0, 1:]
        right.append((output.logits[0, :-1].argmax(-1) == labels)[labels != -100])
        losses.append(output.loss.item())
    right = torch.cat(right)
    assert metrics["eval_tokens"] == len(right)
    assert metrics["eval_accuracy"] == pytest.approx(right.float().mean().item())
    if batch_size == 1:
        assert metrics["eval_loss"] == pytest.approx(np.mean(losses), abs=1e-5)

    prediction = trainer.predict(dataset)
    assert isinstance(prediction.predictions, np.ndarray) and len(prediction.predictions) == len(dataset)
    assert prediction.metrics["test_accuracy"] == metrics["eval_accuracy"]
