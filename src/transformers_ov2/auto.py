# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Registration with the AutoClasses of transformers and with PEFT. Nothing else in the package touches a registry."""

from importlib.util import find_spec

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
    AutoTokenizer,
    AutoVideoProcessor,
    PreTrainedConfig,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLImageProcessorPil,
)

from .configuration_ov2 import OV2Config, OV2VisionConfig
from .modeling_ov2 import OV2ForConditionalGeneration, OV2Model
from .modeling_ov2_vision import OV2VisionModel
from .processing_ov2 import OV2Processor
from .video_processing_ov2 import OV2VideoProcessor


# Released repositories name the classes of their remote code. transformers resolves processors by these names, not by
# model type, and runs the remote file (or asks whether to) when a name is unknown. Each alias hands over to the OV2
# class, so neither the name nor the remote file survives loading. The registries are keyed by configuration class;
# the keys of the aliases only have to be distinct.


class LlavaOnevision2Processor(OV2Processor):
    @classmethod
    def from_pretrained(cls, *args, **kwargs) -> OV2Processor:
        return OV2Processor.from_pretrained(*args, **kwargs)


class Llava_Onevision2Processor(LlavaOnevision2Processor):
    """The spelling of early revisions."""


class LlavaOnevision2VideoProcessor(OV2VideoProcessor):
    @classmethod
    def from_pretrained(cls, *args, **kwargs) -> OV2VideoProcessor:
        return OV2VideoProcessor.from_pretrained(*args, **kwargs)


class _LlavaOnevision2Key(PreTrainedConfig):
    """Key of the aliases in the registries."""


class _Llava_Onevision2Key(PreTrainedConfig):
    """Key of the alias of early revisions."""


# Every projection of the decoder's layers, none of the vision tower's: its names differ, the prefix makes it certain.
LORA_TARGET_MODULES = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


def register() -> None:
    """Makes `Auto*.from_pretrained` find the OV2 classes. Importing `transformers_ov2` calls it; twice is harmless."""
    AutoConfig.register("llava_onevision2", OV2Config, exist_ok=True)
    AutoConfig.register("onevision_encoder", OV2VisionConfig, exist_ok=True)
    AutoModel.register(OV2Config, OV2Model, exist_ok=True)
    AutoModel.register(OV2VisionConfig, OV2VisionModel, exist_ok=True)
    for auto_class in (AutoModelForImageTextToText, AutoModelForMultimodalLM, AutoModelForCausalLM):
        auto_class.register(OV2Config, OV2ForConditionalGeneration, exist_ok=True)

    AutoTokenizer.register(OV2Config, tokenizer_class=Qwen2Tokenizer, exist_ok=True)
    AutoImageProcessor.register(
        OV2Config,
        image_processor_classes={"torchvision": Qwen2VLImageProcessor, "pil": Qwen2VLImageProcessorPil},
        exist_ok=True,
    )
    for config_class, processor_class, video_processor_class in (
        (OV2Config, OV2Processor, OV2VideoProcessor),
        (_LlavaOnevision2Key, LlavaOnevision2Processor, LlavaOnevision2VideoProcessor),
        (_Llava_Onevision2Key, Llava_Onevision2Processor, None),
    ):
        AutoProcessor.register(config_class, processor_class, exist_ok=True)
        if video_processor_class is not None:
            AutoVideoProcessor.register(
                config_class, video_processor_classes={"torchvision": video_processor_class}, exist_ok=True
            )

    if find_spec("peft") is not None:
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

        TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING["llava_onevision2"] = LORA_TARGET_MODULES
