# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Pre-tokenize a data set once: codec streams into a cache, real token counts and bad samples into columns.
"""

import os
from typing import Any

import torch
from datasets import Dataset, Value

from .collator import OV2DataCollator


_FEATURES = {"length": Value("int64"), "error": Value("string")}


def pretokenize(dataset: Dataset, collator: OV2DataCollator, num_proc: int | None = None) -> Dataset:
    """
    Run every sample through a collator, which fills its cache of codec streams.

    Can be stopped and started again at any time: streams that are in the cache are not made again. The order and
    the number of samples stay; drop the bad ones with `dataset.filter(lambda error: error is None, "error")`.

    Args:
        dataset (`Dataset`): rows of [`to_sft_dataset`].
        collator (`OV2DataCollator`): the collator that training will use.
        num_proc (`int`, *optional*): number of processes.

    Returns:
        `Dataset` with two more columns: `length`, the tokens of the sample (0 for a bad one), for
        `SFTConfig(train_sampling_strategy="group_by_length", remove_unused_columns=False)`, and `error`, what is wrong
        with a bad sample, or `None`.
    """
    features = dataset.features.copy()
    features.update(_FEATURES)
    return dataset.map(
        _measure,
        fn_kwargs={"collator": collator, "main_process": os.getpid()},
        features=features,
        num_proc=num_proc,
        desc="Tokenizing samples",
        # The files behind the paths may have changed; unchanged ones are in the cache of streams.
        load_from_cache_file=False,
    )


def _measure(row: dict[str, Any], collator: OV2DataCollator, main_process: int) -> dict[str, Any]:
    if os.getpid() != main_process:
        # One thread per worker, as in a data loader's: the OpenMP threads that torch started in the main process do
        # not exist in its forks, which would wait for them forever.
        torch.set_num_threads(1)
    try:
        return {"length": collator.encode(row)["input_ids"].shape[1], "error": None}
    # As in the collator: damaged media make their decoders raise anything.
    except Exception as error:
        return {"length": 0, "error": f"{type(error).__name__}: {error}"}
