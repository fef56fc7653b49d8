# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch

from transformers_ov2 import OV2Config, OV2ForConditionalGeneration, OV2Processor


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A folder with a tiny random model and its processor."""
    assets = Path(__file__).parents[2] / "examples" / "assets" / "tiny-ov2"
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    OV2ForConditionalGeneration(OV2Config.from_pretrained(assets)).save_pretrained(folder)
    OV2Processor.from_pretrained(assets).save_pretrained(folder)
    return folder
