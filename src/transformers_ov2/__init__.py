# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
LLaVA-OneVision-2 for transformers.

Importing the package registers its classes with the AutoClasses: afterwards `AutoProcessor`,
`AutoModelForImageTextToText`, `pipeline` and the trainers load OV2 checkpoints without remote code.
"""

from .auto import register
from .configuration_ov2 import OV2Config, OV2VisionConfig
from .model_card import push_adapter_to_hub
from .modeling_ov2 import OV2ForConditionalGeneration, OV2Model
from .modeling_ov2_vision import OV2PreTrainedModel, OV2VisionModel
from .processing_ov2 import OV2Processor
from .video_processing_ov2 import OV2VideoProcessor


__version__ = "0.1.0"

register()

__all__ = [
    "OV2Config",
    "OV2ForConditionalGeneration",
    "OV2Model",
    "OV2PreTrainedModel",
    "OV2Processor",
    "OV2VideoProcessor",
    "OV2VisionConfig",
    "OV2VisionModel",
    "push_adapter_to_hub",
]
