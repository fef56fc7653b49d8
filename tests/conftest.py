# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from transformers_ov2 import OV2Config, OV2ForConditionalGeneration, OV2Processor


FIXTURES = Path(__file__).parent / "fixtures"
EXAMPLES = Path(__file__).parents[1] / "examples"


if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    return FIXTURES


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A folder with a tiny random model and its processor, to be left as it is."""
    assets = EXAMPLES / "assets" / "tiny-ov2"
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    OV2ForConditionalGeneration(OV2Config.from_pretrained(assets)).save_pretrained(folder)
    OV2Processor.from_pretrained(assets).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def load_example() -> Callable[[str], ModuleType]:
    """Imports a script of `examples/` into this process, which spares the imports of a new one."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"example_{Path(name).stem}", EXAMPLES / name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def tiny_config():
    """Builds a small config; keyword arguments override fields of the text or vision config."""

    def build(text=None, vision=None, **kwargs) -> OV2Config:
        text_config = {
            "model_type": "qwen3",
            "vocab_size": 1000,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 4096,
            "pad_token_id": 980,
            "eos_token_id": 982,
            **(text or {}),
        }
        vision_config = {
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "initializer_range": 0.2,
            **(vision or {}),
        }
        token_ids = {
            "image_token_id": 990,
            "video_token_id": 991,
            "vision_start_token_id": 992,
            "vision_end_token_id": 993,
        }
        return OV2Config(**{"text_config": text_config, "vision_config": vision_config, **token_ids, **kwargs})

    return build
