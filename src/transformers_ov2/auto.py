# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Registration with the AutoClasses of transformers and with PEFT. Nothing else in the package touches a registry.

transformers keeps tables "model type → class name" and imports the module of a model type when one of its classes is
asked for. `register` puts OV2 into the same tables, as a pull request to transformers would, so that nothing is loaded
before it is needed. A table that is loaded already gets its entries at once, any other when its module gets imported:
this file imports neither transformers nor PEFT. `AutoModel.register` and its like take classes instead of names and so
would load torch and the model with every `import transformers_ov2`.
"""

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType


CONFIGS = {
    "llava_onevision2": "OV2Config",
    "llava_onevision2_moe": "OV2MoeConfig",
    "onevision_encoder": "OneVisionEncoderConfig",
    # The vision tower has the model type of the stand-alone encoder and a config class of its own. A key that no file
    # has: the encoder's config class hands a tower's file over.
    "onevision_encoder tower": "OV2VisionConfig",
}
GENERATION = {
    "llava_onevision2": "OV2ForConditionalGeneration",
    "llava_onevision2_moe": "OV2MoeForConditionalGeneration",
}
IMAGE_PROCESSORS = {"torchvision": "Qwen2VLImageProcessor", "pil": "Qwen2VLImageProcessorPil"}
# Module → table in it → model type → class name (or class names by backend), as transformers writes them.
TABLES = {
    "transformers.models.auto.configuration_auto": {"CONFIG_MAPPING": CONFIGS},
    "transformers.models.auto.modeling_auto": {
        "MODEL_MAPPING": {
            "llava_onevision2": "OV2Model",
            "llava_onevision2_moe": "OV2MoeModel",
            "onevision_encoder": "OneVisionEncoderModel",
            "onevision_encoder tower": "OV2VisionModel",
        },
        "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING": GENERATION,
        "MODEL_FOR_MULTIMODAL_LM_MAPPING": GENERATION,
        # OV2 is no text-only model, but released repositories map `AutoModelForCausalLM` to remote code, which would
        # run where no local class is known; TRL loads a model given by its path with this class, and so does PEFT's
        # `AutoPeftModelForCausalLM`.
        "MODEL_FOR_CAUSAL_LM_MAPPING": GENERATION,
    },
    "transformers.models.auto.processing_auto": {
        "PROCESSOR_MAPPING": {
            "llava_onevision2": "OV2Processor",
            "llava_onevision2_moe": "OV2Processor",
            # A key that no config has: found by class name only.
            "llava_onevision2 alias": "LlavaOnevision2Processor",
            "llava_onevision2 alias of early revisions": "Llava_Onevision2Processor",
        }
    },
    "transformers.models.auto.video_processing_auto": {
        "VIDEO_PROCESSOR_MAPPING": {
            "llava_onevision2": {"torchvision": "OV2VideoProcessor"},
            "llava_onevision2_moe": {"torchvision": "OV2VideoProcessor"},
            "onevision_encoder": {"torchvision": "OV2VideoProcessor"},
            "llava_onevision2 alias": {"torchvision": "LlavaOnevision2VideoProcessor"},
        }
    },
    "transformers.models.auto.image_processing_auto": {
        "IMAGE_PROCESSOR_MAPPING": {
            "llava_onevision2": IMAGE_PROCESSORS,
            "llava_onevision2_moe": IMAGE_PROCESSORS,
            "onevision_encoder": {"torchvision": "CLIPImageProcessor", "pil": "CLIPImageProcessorPil"},
        }
    },
    "transformers.models.auto.tokenization_auto": {
        "TOKENIZER_MAPPING": {"llava_onevision2": "Qwen2Tokenizer", "llava_onevision2_moe": "Qwen2Tokenizer"}
    },
}
ALIASES = ("LlavaOnevision2Processor", "Llava_Onevision2Processor", "LlavaOnevision2VideoProcessor")
# Where transformers looks for the classes of all these model types.
MODEL_MODULE = "transformers.models.llava_onevision2"
PEFT_CONSTANTS = "peft.utils.constants"
# Every projection of the decoder's layers, none of the vision tower's: its names differ, the prefix makes it certain.
LORA_TARGET_MODULES = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


class _ModelModule(ModuleType):
    """Stands for `MODEL_MODULE`: the names of this package, and the aliases, which are not public."""

    def __getattr__(self, name: str):
        return getattr(importlib.import_module(".aliases" if name in ALIASES else ".", __package__), name)


def _extend(module: ModuleType) -> None:
    """Put the entries of OV2 into the tables of an imported `module`."""
    if module.__name__ == PEFT_CONSTANTS:
        # So that a `LoraConfig` without `target_modules` works on OV2 as it does on Qwen3 alone.
        for model_type in GENERATION:
            module.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING[model_type] = LORA_TARGET_MODULES
        return
    for table, entries in TABLES[module.__name__].items():
        getattr(module, f"{table}_NAMES").update(entries)
        if table == "CONFIG_MAPPING":
            module_name = MODEL_MODULE.rpartition(".")[2]
            module.SPECIAL_MODEL_TYPE_TO_MODULE_NAME.update(dict.fromkeys(_model_types(), module_name))
        else:
            # Made from the config table when the module was imported, perhaps before OV2 was in it.
            reverse = getattr(module, table)._reverse_config_mapping
            reverse.update({CONFIGS[model_type]: model_type for model_type in entries if model_type in CONFIGS})


def _model_types() -> set[str]:
    return {model_type for tables in TABLES.values() for entries in tables.values() for model_type in entries}


class _ExtendingLoader(Loader):
    """Imports a module with its own loader and extends its tables."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        _extend(module)


class _ExtendingFinder(MetaPathFinder):
    """Finds the modules that hold the tables, as the other finders do, and has them extended."""

    def find_spec(self, fullname, path, target=None):
        if fullname not in TABLES and fullname != PEFT_CONSTANTS:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)) is not None:
                spec.loader = _ExtendingLoader(spec.loader)
                return spec
        return None


_finder = _ExtendingFinder()


def register() -> None:
    """Makes `Auto*.from_pretrained` find the OV2 classes. Importing `transformers_ov2` calls it; twice is harmless."""
    sys.modules.setdefault(MODEL_MODULE, _ModelModule(MODEL_MODULE))
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    for name in (*TABLES, PEFT_CONSTANTS):
        if name in sys.modules:
            # Waits for a thread that is importing it.
            _extend(importlib.import_module(name))
