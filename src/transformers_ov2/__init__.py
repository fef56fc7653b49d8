# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
LLaVA-OneVision-2 for transformers.

Importing the package makes its classes known to the AutoClasses: afterwards `AutoProcessor`,
`AutoModelForImageTextToText`, `pipeline` and the trainers load OV2 checkpoints without remote code. The import itself
loads neither transformers nor torch: every name below is imported when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING

from .auto import register


__version__ = "0.1.0"

# Public name → module that defines it.
_MODULES = {
    "OV2Config": "configuration_ov2",
    "OV2ForConditionalGeneration": "modeling_ov2",
    "OV2Model": "modeling_ov2",
    "OV2MoeConfig": "configuration_ov2",
    "OV2MoeForConditionalGeneration": "modeling_ov2",
    "OV2MoeModel": "modeling_ov2",
    "OV2PreTrainedModel": "modeling_ov2_vision",
    "OV2Processor": "processing_ov2",
    "OV2VideoProcessor": "video_processing_ov2",
    "OV2VisionConfig": "configuration_ov2",
    "OV2VisionModel": "modeling_ov2_vision",
    "OneVisionEncoderConfig": "configuration_ov2",
    "OneVisionEncoderModel": "modeling_onevision_encoder",
    "push_to_hub": "model_card",
}
_SUBPACKAGES = ("codec", "evaluation", "training")

if TYPE_CHECKING:
    from .configuration_ov2 import OneVisionEncoderConfig, OV2Config, OV2MoeConfig, OV2VisionConfig
    from .model_card import push_to_hub
    from .modeling_onevision_encoder import OneVisionEncoderModel
    from .modeling_ov2 import (
        OV2ForConditionalGeneration,
        OV2Model,
        OV2MoeForConditionalGeneration,
        OV2MoeModel,
    )
    from .modeling_ov2_vision import OV2PreTrainedModel, OV2VisionModel
    from .processing_ov2 import OV2Processor
    from .video_processing_ov2 import OV2VideoProcessor


def __getattr__(name: str):
    if name in _MODULES:
        value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in _SUBPACKAGES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_SUBPACKAGES})


register()

__all__ = [
    "OV2Config",
    "OV2ForConditionalGeneration",
    "OV2Model",
    "OV2MoeConfig",
    "OV2MoeForConditionalGeneration",
    "OV2MoeModel",
    "OV2PreTrainedModel",
    "OV2Processor",
    "OV2VideoProcessor",
    "OV2VisionConfig",
    "OV2VisionModel",
    "OneVisionEncoderConfig",
    "OneVisionEncoderModel",
    "push_to_hub",
]
