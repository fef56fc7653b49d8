# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind for people: a plot of the loss, answers of the trained model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from .collator import OV2DataCollator


def plot_loss(log_history: list[dict[str, float]], path: str | Path, title: str | None = None) -> None:
    """
    Draw the losses of a run.

    Args:
        log_history (`list[dict[str, float]]`): `trainer.state.log_history`.
        path (`str` or `Path`): where the picture goes; its suffix says which kind.
        title (`str`, *optional*): above the picture.

    Raises:
        ImportError: matplotlib is not installed (`pip install "transformers-ov2[viz]"`).
    """
    # A canvas of its own: pyplot would choose a backend for the whole process, and may look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, label, style in (("loss", "training", "-"), ("eval_loss", "evaluation", "o--")):
        points = [(entry["step"], entry[name]) for entry in log_history if name in entry]
        if points:
            axes.plot(*zip(*points), style, label=label, linewidth=1.5, markersize=4)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per answer token)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    if title is not None:
        axes.set_title(title)
    figure.savefig(path, dpi=120)


def generate_answers(
    model: PreTrainedModel, collator: OV2DataCollator, rows: Iterable[dict[str, Any]], max_new_tokens: int = 64
) -> list[tuple[str, str]]:
    """
    Let a model answer the last question of some samples, greedily.

    Args:
        model (`OV2ForConditionalGeneration`): the model, bare or in PEFT; it is left in evaluation mode.
        collator (`OV2DataCollator`): reads the samples.
        rows (`Iterable[dict]`): rows of [`to_sft_dataset`].
        max_new_tokens (`int`, defaults to 64): longest answer.

    Returns:
        `list[tuple[str, str]]`: the answer in the data and that of the model, for each row.
    """
    model.eval()
    answers = []
    for row in rows:
        inputs = {name: tensor.to(model.device) for name, tensor in collator.encode_prompt(row).items()}
        with torch.no_grad():
            output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, use_cache=True)
        text = collator.processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        answers.append((_answer(row), text))
    return answers


def _answer(row: dict[str, Any]) -> str:
    content = [message["content"] for message in row["messages"] if message["role"] == "assistant"][-1]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)
