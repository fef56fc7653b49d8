# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration of LLaVA-OneVision-2. Every number of a released checkpoint is read from its json files."""

import copy
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import auto_docstring, logging


logger = logging.get_logger(__name__)


@auto_docstring(checkpoint="lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct")
@strict
class OV2VisionConfig(PreTrainedConfig):
    r"""
    image_size (`int`, *optional*, defaults to 448):
        Side of the training images in pixels. Kept for the file; the forward pass takes any size.
    temporal_patch_size (`int`, *optional*, defaults to 1):
        Frames per patch. The architecture knows only 1.
    spatial_merge_size (`int`, *optional*, defaults to 2):
        The merger joins `spatial_merge_size`² patches into one token of the language model.
    frame_windows_size (`int`, *optional*, defaults to 4):
        Frames (or canvases) that attend to each other. A longer video is cut into windows of this many.
    layer_norm_type (`str`, *optional*, defaults to `"layer_norm"`):
        Norm of the encoder: `"layer_norm"` or `"rms_norm"`. The merger always uses a layer norm.
    out_hidden_size (`int`, *optional*):
        Width of the merged tokens. [`OV2Config`] sets it to the hidden size of its text config when it is missing;
        a vision model used alone then keeps its own `hidden_size`.
    use_head (`bool`, *optional*, defaults to `False`):
        Whether the encoder ends in a norm and has an attention pooling head. The merger then joins normed patches; the
        pooled vector belongs to the stand-alone [`OneVisionEncoderModel`], the language model never reads it.

    Example:

    ```python
    >>> from transformers_ov2 import OV2VisionConfig, OV2VisionModel

    >>> configuration = OV2VisionConfig(num_hidden_layers=2)
    >>> model = OV2VisionModel(configuration)
    ```"""

    model_type = "onevision_encoder"
    base_config_key = "vision_config"
    default_rope_type = "axial"
    base_model_fsdp_plan: ClassVar[dict[Any, str]] = {"encoder.layers.*": "free_full_weight"}

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 448
    patch_size: int = 14
    temporal_patch_size: int = 1
    spatial_merge_size: int = 2
    frame_windows_size: int = 4
    out_hidden_size: int | None = None
    hidden_act: str = "gelu"
    layer_norm_type: str = "layer_norm"
    layer_norm_eps: float = 1e-6
    attention_dropout: float | int = 0.0
    initializer_range: float = 0.02
    rope_parameters: dict | None = None
    use_head: bool = False

    def __post_init__(self, **kwargs):
        kwargs.pop("auto_map", None)
        if kwargs.pop("use_patch_position_encoding", False):
            raise ValueError(
                "`use_patch_position_encoding=True` is not supported: released checkpoints encode positions with "
                "rotary embeddings only."
            )
        # Written by earlier releases and read by nobody; dropped so that a re-saved file does not carry them on.
        for legacy in (
            "text_hidden_size",
            "max_position_embeddings",
            "patch_position_encoding_type",
            "tokens_per_second",
            "rope_temporal_size",
        ):
            kwargs.pop(legacy, None)
        # The caller's dict is completed below.
        self.rope_parameters = copy.copy(self.rope_parameters)
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Part of `@strict`-powered validation. Refuses values the architecture cannot be built with."""
        for name in (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_channels",
            "patch_size",
            "spatial_merge_size",
            "frame_windows_size",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.temporal_patch_size != 1:
            raise ValueError(f"`temporal_patch_size` must be 1, got {self.temporal_patch_size}.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"`hidden_size` ({self.hidden_size}) must be a multiple of `num_attention_heads` "
                f"({self.num_attention_heads})."
            )
        head_dim = self.hidden_size // self.num_attention_heads
        if head_dim % 32:
            raise ValueError(
                f"The head size `hidden_size / num_attention_heads` ({head_dim}) must be a multiple of 32: the rotary "
                "frequencies, half of it, are split 4:6:6 over time, height and width."
            )
        if self.layer_norm_type not in ("layer_norm", "rms_norm"):
            raise ValueError(f"`layer_norm_type` must be 'layer_norm' or 'rms_norm', got {self.layer_norm_type!r}.")


@auto_docstring(checkpoint="lmms-lab-encoder/onevision-encoder-large")
@strict
class OneVisionEncoderConfig(OV2VisionConfig):
    r"""
    spatial_merge_size (`int`, *optional*, defaults to 2):
        Side of the blocks in which processors order the rows of packed patches. The encoder joins nothing.
    image_size (`int`, *optional*, defaults to 448):
        Side of the training images in pixels. Kept for the file; the forward pass takes any size.
    temporal_patch_size (`int`, *optional*, defaults to 1):
        Frames per patch. The architecture knows only 1.
    frame_windows_size (`int`, *optional*, defaults to 4):
        Belongs to the vision tower of a full model. The stand-alone encoder attends over whole samples.
    layer_norm_type (`str`, *optional*, defaults to `"layer_norm"`):
        Norm of the encoder: `"layer_norm"` or `"rms_norm"`. The pooling head always uses an RMS norm.
    out_hidden_size (`int`, *optional*):
        Belongs to the vision tower of a full model.
    use_head (`bool`, *optional*, defaults to `True`):
        Whether the encoder ends in a norm and has an attention pooling head.
    rope_temporal_size (`int`, *optional*, defaults to 64):
        Length of the original code's table of frame positions. Kept for the file; any number of frames works.

    Example:

    ```python
    >>> from transformers_ov2 import OneVisionEncoderConfig, OneVisionEncoderModel

    >>> configuration = OneVisionEncoderConfig(num_hidden_layers=2)
    >>> model = OneVisionEncoderModel(configuration)
    ```"""

    base_config_key = ""

    use_head: bool = True
    rope_temporal_size: int | None = 64

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs):
        # One model type names the stand-alone encoder and the vision tower; a tower saved alone says which it is.
        if "OV2VisionModel" in (config_dict.get("architectures") or []):
            return OV2VisionConfig.from_dict(config_dict, **kwargs)
        return super().from_dict(config_dict, **kwargs)


@auto_docstring(checkpoint="lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct")
@strict
class OV2Config(PreTrainedConfig):
    r"""
    tie_word_embeddings (`bool`, *optional*):
        Whether the language modeling head shares the weights of the embeddings. That of the text config when missing;
        the two always agree.

    Example:

    ```python
    >>> from transformers_ov2 import OV2Config, OV2ForConditionalGeneration

    >>> configuration = OV2Config(
    ...     text_config={"model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2},
    ...     vision_config={"hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2},
    ... )
    >>> model = OV2ForConditionalGeneration(configuration)
    ```"""

    model_type = "llava_onevision2"
    sub_configs_defaults = {
        # transformers 5.22 takes no bare class here.
        "vision_config": SubConfigSpec(config_class=OV2VisionConfig),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen3"),
    }
    keys_to_ignore_at_inference = [
        "past_key_values",
        "image_hidden_states",
        "video_hidden_states",
        "aux_loss",
        "router_logits",
    ]
    # The plans of the vision tower and of the decoder are all there is.
    base_model_fsdp_plan: ClassVar[dict[Any, str]] = {}
    # A repository's remote-code map must not survive a save. TRL 1.16 reads the attribute
    # (`create_model_from_path`), so it exists and is empty.
    auto_map: ClassVar[dict] = {}

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    image_token_id: int = 151655
    video_token_id: int = 151656
    vision_start_token_id: int = 151652
    vision_end_token_id: int = 151653
    tie_word_embeddings: bool | None = None
    # The decoder's own, repeated here because generation and trainers look at the top level.
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs):
        kwargs.pop("auto_map", None)
        # What the caller gave is completed below.
        self.text_config, self.vision_config = copy.deepcopy((self.text_config, self.vision_config))
        super().__post_init__(**kwargs)
        self.text_config.__dict__.pop("auto_map", None)
        if self.vision_config.out_hidden_size is None:
            self.vision_config.out_hidden_size = self.text_config.hidden_size
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(self.text_config, name, None))
        # Weight tying reads the top level, libraries that take the decoder out of the model read its own config.
        # Checkpoints with tied embeddings may say so only there.
        if self.text_config.tie_word_embeddings and self.tie_word_embeddings is False:
            logger.warning_once(
                "`tie_word_embeddings` is true in the text config and false beside it: the embeddings are tied. To "
                "untie them, set both to false."
            )
        self.tie_word_embeddings = bool(self.tie_word_embeddings or self.text_config.tie_word_embeddings)

    def __setattr__(self, name: str, value: Any):
        super().__setattr__(name, value)
        if name == "tie_word_embeddings" and isinstance(value, bool) and "_post_init_done" in self.__dict__:
            self.text_config.tie_word_embeddings = value

    def validate_architecture(self):
        """Part of `@strict`-powered validation. Refuses sub-configs that do not fit each other."""
        if self.vision_config.out_hidden_size != self.text_config.hidden_size:
            raise ValueError(
                f"`vision_config.out_hidden_size` ({self.vision_config.out_hidden_size}) must equal "
                f"`text_config.hidden_size` ({self.text_config.hidden_size}): merged vision tokens replace embeddings."
            )


@auto_docstring(checkpoint="lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct")
@strict
class OV2MoeConfig(OV2Config):
    r"""
    tie_word_embeddings (`bool`, *optional*):
        Whether the language modeling head shares the weights of the embeddings. That of the text config when missing;
        the two always agree.
    output_router_logits (`bool`, *optional*):
        Whether the experts' routers return their logits, and training adds their load balancing loss. Kept in
        `text_config`.
    router_aux_loss_coef (`float`, *optional*):
        Weight of the load balancing loss. Kept in `text_config`.

    Example:

    ```python
    >>> from transformers_ov2 import OV2MoeConfig, OV2MoeForConditionalGeneration

    >>> configuration = OV2MoeConfig(
    ...     text_config={"hidden_size": 64, "num_hidden_layers": 2, "num_experts": 8},
    ...     vision_config={"hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2},
    ... )
    >>> model = OV2MoeForConditionalGeneration(configuration)
    ```"""

    model_type = "llava_onevision2_moe"
    sub_configs_defaults = {
        **OV2Config.sub_configs_defaults,
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen3_moe"),
    }

    # Files may have both at the top level; one place holds them, the one that the decoder and trainers read.
    @property
    def output_router_logits(self) -> bool:
        return self.text_config.output_router_logits

    @output_router_logits.setter
    def output_router_logits(self, value: bool):
        self.text_config.output_router_logits = value

    @property
    def router_aux_loss_coef(self) -> float:
        return self.text_config.router_aux_loss_coef

    @router_aux_loss_coef.setter
    def router_aux_loss_coef(self, value: float):
        self.text_config.router_aux_loss_coef = value


__all__ = ["OV2Config", "OV2MoeConfig", "OV2VisionConfig", "OneVisionEncoderConfig"]
