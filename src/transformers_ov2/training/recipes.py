# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Training recipes: what is trained, on which mix of sources, for how long. One YAML file per run."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset, IterableDataset, interleave_datasets

from .collator import VIDEO_OPTIONS
from .data import SFT_FEATURES, to_sft_dataset
from .lora import PARTS


@dataclass
class Source:
    """
    A data set of a recipe.

    Attributes:
        data (`str`): jsonl file of rows, see [`to_sft_row`].
        weight (`float`): share of the samples, relative to the other sources.
        video (`dict`): options of the video processor for the videos of this source.
    """

    data: str
    weight: float
    video: dict[str, Any]


@dataclass
class Recipe:
    """
    A training run.

    Attributes:
        train (`list[str]`): parts that are trained, see [`set_trainable`].
        sources (`dict[str, Source]`): the data.
        trainer (`dict`): arguments of `trl.SFTConfig`.
        global_batch (`int`): samples per step, over all processes and accumulation steps.
        max_length (`int`, *optional*): longest sample in tokens; longer ones are left out.
    """

    train: list[str]
    sources: dict[str, Source]
    trainer: dict[str, Any]
    global_batch: int
    max_length: int | None = None


def read_recipe(path: str | Path) -> Recipe:
    """
    Read a recipe from a YAML file.

    Raises:
        ValueError: a key is missing or unknown, a part, an option or a weight is wrong.
    """
    path = Path(path)
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    _check_keys(path.name, values, required={"train", "sources", "trainer", "global_batch"}, allowed=_names(Recipe))
    sources = {}
    for name, source in values["sources"].items():
        _check_keys(f"{path.name}, source {name}", source, required={"data", "weight"}, allowed=_names(Source))
        sources[name] = Source(data=source["data"], weight=float(source["weight"]), video=source.get("video") or {})
        if unknown := sorted(sources[name].video.keys() - VIDEO_OPTIONS):
            raise ValueError(f"{path.name}: `{unknown[0]}` of source {name} is none of {sorted(VIDEO_OPTIONS)}.")
        if not sources[name].weight > 0:
            raise ValueError(f"{path.name}: the weight of source {name} must be positive.")
    if unknown := sorted(set(values["train"]) - PARTS.keys()):
        raise ValueError(f"{path.name}: `train` names {unknown}, the parts are {tuple(PARTS)}.")
    return Recipe(**{**values, "sources": sources})


def load_sources(recipe: Recipe, root: str | Path) -> dict[str, Dataset]:
    """The data of every source, with its options in every video block. Relative paths start from `root`."""
    return {
        name: with_video_options(to_sft_dataset(Path(root) / source.data), source.video)
        for name, source in recipe.sources.items()
    }


def with_video_options(dataset: Dataset | IterableDataset, options: Mapping[str, Any]) -> Dataset | IterableDataset:
    """Lay options of the video processor under those of every video block; see [`OV2DataCollator`]."""
    if not options:
        return dataset
    return dataset.map(_add_options, fn_kwargs={"options": dict(options)}, features=SFT_FEATURES)


def _add_options(row: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    messages = [
        {
            **message,
            "content": [
                {**options, **block} if block["type"] == "video" and "canvases" not in block else block
                for block in message["content"]
            ],
        }
        for message in row["messages"]
    ]
    return {**row, "messages": messages}


def mix(
    sources: Mapping[str, Dataset] | Mapping[str, IterableDataset], weights: Mapping[str, float], seed: int = 0
) -> Dataset | IterableDataset:
    """
    Interleave data sets at random, until each has been seen at least once.

    Args:
        sources (`Mapping[str, Dataset]`): the data sets by name.
        weights (`Mapping[str, float]`): their shares of the samples; they need not add up to 1.
        seed (`int`): of the order.

    Raises:
        ValueError: the names differ.
    """
    if sources.keys() != weights.keys():
        raise ValueError(f"The sources are {sorted(sources)}, but the weights those of {sorted(weights)}.")
    total = sum(weights.values())
    return interleave_datasets(
        list(sources.values()),
        probabilities=[weights[name] / total for name in sources],
        seed=seed,
        stopping_strategy="all_exhausted",
    )


def _names(cls) -> set[str]:
    return {field.name for field in fields(cls)}


def _check_keys(where: str, values: Mapping[str, Any], required: set[str], allowed: set[str]):
    if missing := sorted(required - values.keys()):
        raise ValueError(f"{where}: `{missing[0]}` is missing.")
    if unknown := sorted(values.keys() - allowed):
        raise ValueError(f"{where}: `{unknown[0]}` is none of {sorted(allowed)}.")
