# Copyright 2026 The transformers_ov2 authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
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
