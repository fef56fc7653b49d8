# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""LLaVA-OneVision-2: vision features in the place of their placeholders, any causal decoder of transformers behind."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModel
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)
from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func
from transformers.processing_utils import Unpack
from transformers.utils import (
    TransformersKwargs,
    auto_docstring,
    can_return_tuple,
    is_torchdynamo_compiling,
    torch_compilable_check,
)
from transformers.utils.generic import accepts_precomputed_kwargs

from .configuration_ov2 import OV2Config, OV2MoeConfig
from .modeling_ov2_vision import OV2PreTrainedModel, OV2VisionModel


@auto_docstring(custom_intro="Base class for OV2 outputs, with hidden states and attentions.")
@dataclass
class OV2ModelOutputWithPast(BaseModelOutputWithPast):
    r"""
    past_key_values (`Cache`, *optional*, returned when `use_cache=True` is passed or when `config.use_cache=True`):
        Keys and values of the decoder's attention, see the `past_key_values` input.
    image_hidden_states (`torch.Tensor` of shape `(num_image_tokens, hidden_size)`, *optional*):
        Merged image tokens, as they replaced the image placeholders.
    video_hidden_states (`torch.Tensor` of shape `(num_video_tokens, hidden_size)`, *optional*):
        Merged video tokens, as they replaced the video placeholders.
    router_logits (`tuple[torch.Tensor, ...]`, *optional*, with `output_router_logits=True`):
        Logits of the experts' routers, one tensor of shape `(batch_size * sequence_length, num_experts)` per layer of
        a mixture-of-experts decoder.
    """

    image_hidden_states: torch.Tensor | None = None
    video_hidden_states: torch.Tensor | None = None
    router_logits: tuple[torch.Tensor, ...] | None = None


@auto_docstring(custom_intro="Base class for OV2 causal language model outputs.")
@dataclass
class OV2CausalLMOutputWithPast(CausalLMOutputWithPast):
    r"""
    loss (`torch.Tensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
        Language modeling loss (for next-token prediction).
    logits (`torch.Tensor` of shape `(batch_size, sequence_length, vocab_size)`):
        Scores of each vocabulary token before the softmax.
    past_key_values (`Cache`, *optional*, returned when `use_cache=True` is passed or when `config.use_cache=True`):
        Keys and values of the decoder's attention, see the `past_key_values` input.
    image_hidden_states (`torch.Tensor` of shape `(num_image_tokens, hidden_size)`, *optional*):
        Merged image tokens, as they replaced the image placeholders.
    video_hidden_states (`torch.Tensor` of shape `(num_video_tokens, hidden_size)`, *optional*):
        Merged video tokens, as they replaced the video placeholders.
    aux_loss (`torch.Tensor` of shape `(1,)`, *optional*, with `output_router_logits=True` and `labels`):
        Load balancing loss of a mixture-of-experts decoder. `loss` contains it, weighted by its config's
        `router_aux_loss_coef`.
    router_logits (`tuple[torch.Tensor, ...]`, *optional*, with `output_router_logits=True`):
        Logits of the experts' routers, one tensor of shape `(batch_size * sequence_length, num_experts)` per layer of
        a mixture-of-experts decoder.
    """

    image_hidden_states: torch.Tensor | None = None
    video_hidden_states: torch.Tensor | None = None
    aux_loss: torch.Tensor | None = None
    router_logits: tuple[torch.Tensor, ...] | None = None


@auto_docstring
class OV2Model(OV2PreTrainedModel):
    def __init__(self, config: OV2Config):
        super().__init__(config)
        self.visual = OV2VisionModel._from_config(config.vision_config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    @accepts_precomputed_kwargs(modality="image")
    @can_return_tuple
    @auto_docstring
    def get_image_features(
        self,
        pixel_values: torch.Tensor,
        image_grid_thw: torch.LongTensor,
        patch_positions: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        r"""
        pixel_values (`torch.Tensor` of shape `(num_patches, num_channels * patch_size * patch_size)`):
            Patches of all images in merge-block order.
        image_grid_thw (`torch.LongTensor` of shape `(num_images, 3)`):
            Frames (1 for an image), patch rows and patch columns of each image.
        patch_positions (`torch.LongTensor` of shape `(num_patches, 3)`, *optional*):
            (frame, row, column) of every patch. Given by batches in the original contract of the checkpoint, which
            carry video frames and canvases as images; derived from the grid otherwise.

        Returns:
            `pooler_output` holds one tensor of shape `(num_tokens, hidden_size)` per image.
        """
        return self._encode(pixel_values, image_grid_thw, patch_positions, None, **kwargs)

    @accepts_precomputed_kwargs(modality="video")
    @can_return_tuple
    @auto_docstring
    def get_video_features(
        self,
        pixel_values_videos: torch.Tensor,
        video_grid_thw: torch.LongTensor,
        video_patch_positions: torch.LongTensor | None = None,
        video_window_sizes: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        r"""
        pixel_values_videos (`torch.Tensor` of shape `(num_patches, num_channels * patch_size * patch_size)`):
            Patches of all videos in merge-block order.
        video_grid_thw (`torch.LongTensor` of shape `(num_videos, 3)`):
            Frames (or canvases), patch rows and patch columns of each video.
        video_patch_positions (`torch.LongTensor` of shape `(num_patches, 3)`, *optional*):
            (source frame, row, column) of every patch. Derived from the grid, counting frames from 0, when missing.
        video_window_sizes (`torch.LongTensor` of shape `(num_videos,)`, *optional*):
            Frames that attend to each other, for each video: 1 isolates the frames.

        Returns:
            `pooler_output` holds one tensor of shape `(num_tokens, hidden_size)` per video.
        """
        return self._encode(pixel_values_videos, video_grid_thw, video_patch_positions, video_window_sizes, **kwargs)

    def _encode(
        self,
        pixel_values: torch.Tensor,
        grid_thw: torch.LongTensor,
        patch_positions: torch.LongTensor | None,
        window_sizes: torch.LongTensor | None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        if grid_thw is None:
            raise ValueError("Pixel values need their grid: pass `image_grid_thw` or `video_grid_thw` with them.")
        kwargs["return_dict"] = True
        outputs = self.visual(pixel_values, grid_thw, patch_positions, window_sizes, **kwargs)
        split_sizes = (grid_thw.prod(-1) // self.config.vision_config.spatial_merge_size**2).tolist()
        outputs.pooler_output = torch.split(outputs.pooler_output, split_sizes)
        return outputs

    def get_placeholder_mask(
        self, input_ids: torch.LongTensor | None, inputs_embeds: torch.Tensor, token_id: int
    ) -> torch.BoolTensor:
        """Where `token_id` stands: bool, `(batch_size, sequence_length)`. Compares embeddings without `input_ids`."""
        if input_ids is not None:
            return input_ids == token_id
        token = torch.full((), token_id, dtype=torch.long, device=inputs_embeds.device)
        return (inputs_embeds == self.get_input_embeddings()(token)).all(-1)

    def _merge_features(
        self,
        modality: str,
        features: tuple[torch.Tensor, ...],
        input_ids: torch.LongTensor | None,
        inputs_embeds: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes the features of one modality over its placeholders, which must be exactly as many."""
        features = torch.cat(tuple(features)).to(inputs_embeds.device, inputs_embeds.dtype)
        token_id = self.config.image_token_id if modality == "Image" else self.config.video_token_id
        mask = self.get_placeholder_mask(input_ids, inputs_embeds, token_id)
        num_tokens = mask.sum()
        # TRL recognizes a truncated multimodal sequence by the first words.
        torch_compilable_check(
            num_tokens == len(features),
            lambda: (
                f"{modality} features and {modality.lower()} tokens do not match: {int(num_tokens)} placeholder "
                f"tokens, but {len(features)} features."
            ),
        )
        return inputs_embeds.masked_scatter(mask.to(inputs_embeds.device).unsqueeze(-1), features), features

    def _check_no_bare_placeholders(self, input_ids: torch.LongTensor, modalities: dict[str, int]):
        for modality, token_id in modalities.items():
            num_tokens = int((input_ids == token_id).sum())
            if num_tokens:
                raise ValueError(
                    f"{modality} features and {modality.lower()} tokens do not match: {num_tokens} placeholder "
                    f"tokens, but no {modality.lower()} pixels came with them. Pass the pixel values and the grid "
                    "that the processor returned. A dataset for TRL needs an `images` column (an empty list where "
                    "the videos stand in the messages): without it TRL drops the pixels."
                )

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        pixel_values: torch.Tensor | None = None,
        image_grid_thw: torch.LongTensor | None = None,
        patch_positions: torch.LongTensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        video_grid_thw: torch.LongTensor | None = None,
        video_patch_positions: torch.LongTensor | None = None,
        video_window_sizes: torch.LongTensor | None = None,
        mm_token_type_ids: torch.IntTensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | OV2ModelOutputWithPast:
        r"""
        patch_positions (`torch.LongTensor` of shape `(num_patches, 3)`, *optional*):
            (frame, row, column) of every row of `pixel_values`. Derived from `image_grid_thw` when missing.
        video_patch_positions (`torch.LongTensor` of shape `(num_patches, 3)`, *optional*):
            (source frame, row, column) of every row of `pixel_values_videos`.
        video_window_sizes (`torch.LongTensor` of shape `(num_videos,)`, *optional*):
            Frames that attend to each other, for each video: 1 isolates the frames.
        mm_token_type_ids (`torch.IntTensor` of shape `(batch_size, sequence_length)`, *optional*):
            Accepted because processors and trainers may pass it; positions are one-dimensional and do not need it.

        Raises:
            ValueError: When placeholders and features differ in number, or when only one of the two is there.
        """
        if input_ids is None and inputs_embeds is None:
            raise ValueError("You must specify `input_ids` or `inputs_embeds`.")
        if (pixel_values is not None or pixel_values_videos is not None) and mm_encoder_outputs:
            raise ValueError("You cannot specify both pixel values and `mm_encoder_outputs`.")
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)

        encoded = dict(mm_encoder_outputs or {})
        if pixel_values is not None:
            encoded["image"] = self.get_image_features(
                pixel_values, image_grid_thw, patch_positions, return_dict=True, **kwargs
            )
        if pixel_values_videos is not None:
            encoded["video"] = self.get_video_features(
                pixel_values_videos,
                video_grid_thw,
                video_patch_positions,
                video_window_sizes,
                return_dict=True,
                **kwargs,
            )
        bare = {"Image": self.config.image_token_id, "Video": self.config.video_token_id}
        image_hidden_states = video_hidden_states = None
        if encoded.get("image") is not None:
            inputs_embeds, image_hidden_states = self._merge_features(
                "Image", encoded["image"].pooler_output, input_ids, inputs_embeds
            )
            del bare["Image"]
        if encoded.get("video") is not None:
            inputs_embeds, video_hidden_states = self._merge_features(
                "Video", encoded["video"].pooler_output, input_ids, inputs_embeds
            )
            del bare["Video"]
        # Only the prompt can hold placeholders. Later tokens are the model's own and may be anything.
        if (
            input_ids is not None
            and not is_torchdynamo_compiling()
            and (past_key_values is None or past_key_values.get_seq_length() == 0)
        ):
            self._check_no_bare_placeholders(input_ids, bare)

        outputs = self.language_model(
            input_ids=None,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        return OV2ModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=image_hidden_states,
            video_hidden_states=video_hidden_states,
            router_logits=outputs.get("router_logits"),
        )


@auto_docstring(custom_intro="The OV2 model with a language modeling head.")
class OV2ForConditionalGeneration(OV2PreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}
    _fsdp_plan = {"lm_head": "keep_full_weight"}

    def __init__(self, config: OV2Config):
        super().__init__(config)
        self.model = OV2Model(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @auto_docstring
    def get_image_features(
        self,
        pixel_values: torch.Tensor,
        image_grid_thw: torch.LongTensor,
        patch_positions: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        r"""
        patch_positions (`torch.LongTensor` of shape `(num_patches, 3)`, *optional*):
            (frame, row, column) of every patch. Derived from `image_grid_thw` when missing.
        """
        return self.model.get_image_features(pixel_values, image_grid_thw, patch_positions, **kwargs)

    @auto_docstring
    def get_video_features(
        self,
        pixel_values_videos: torch.Tensor,
        video_grid_thw: torch.LongTensor,
        video_patch_positions: torch.LongTensor | None = None,
        video_window_sizes: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        r"""
        video_patch_positions (`torch.LongTensor` of shape `(num_patches, 3)`, *optional*):
            (source frame, row, column) of every patch.
        video_window_sizes (`torch.LongTensor` of shape `(num_videos,)`, *optional*):
            Frames that attend to each other, for each video: 1 isolates the frames.
        """
        return self.model.get_video_features(
            pixel_values_videos, video_grid_thw, video_patch_positions, video_window_sizes, **kwargs
        )

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        pixel_values: torch.Tensor | None = None,
        image_grid_thw: torch.LongTensor | None = None,
        patch_positions: torch.LongTensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        video_grid_thw: torch.LongTensor | None = None,
        video_patch_positions: torch.LongTensor | None = None,
        video_window_sizes: torch.LongTensor | None = None,
        mm_token_type_ids: torch.IntTensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | OV2CausalLMOutputWithPast:
        r"""
        patch_positions (`torch.LongTensor` of shape `(num_patches, 3)`, *optional*):
            (frame, row, column) of every row of `pixel_values`. Derived from `image_grid_thw` when missing.
        video_patch_positions (`torch.LongTensor` of shape `(num_patches, 3)`, *optional*):
            (source frame, row, column) of every row of `pixel_values_videos`.
        video_window_sizes (`torch.LongTensor` of shape `(num_videos,)`, *optional*):
            Frames that attend to each other, for each video: 1 isolates the frames.
        mm_token_type_ids (`torch.IntTensor` of shape `(batch_size, sequence_length)`, *optional*):
            Accepted because processors and trainers may pass it; positions are one-dimensional and do not need it.

        Example:

        ```python
        >>> import transformers_ov2
        >>> from transformers import AutoModelForImageTextToText, AutoProcessor

        >>> checkpoint = "lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct"
        >>> processor = AutoProcessor.from_pretrained(checkpoint)
        >>> model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype="auto", device_map="auto")

        >>> content = [{"type": "video", "video": "clip.mp4"}, {"type": "text", "text": "When does she jump?"}]
        >>> inputs = processor.apply_chat_template(
        ...     [{"role": "user", "content": content}],
        ...     tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt",
        ... ).to(model.device)
        >>> output = model.generate(**inputs, max_new_tokens=64)
        >>> print(processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
        ```"""
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            pixel_values=pixel_values,
            image_grid_thw=image_grid_thw,
            patch_positions=patch_positions,
            pixel_values_videos=pixel_values_videos,
            video_grid_thw=video_grid_thw,
            video_patch_positions=video_patch_positions,
            video_window_sizes=video_window_sizes,
            mm_encoder_outputs=mm_encoder_outputs,
            return_dict=True,
            **kwargs,
        )
        # Only the logits that are asked for: the vocabulary is large and generation needs one position.
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.text_config.vocab_size, **kwargs
            )
        aux_loss = None
        if labels is not None and outputs.router_logits is not None:
            text_config = self.config.text_config
            aux_loss = load_balancing_loss_func(
                outputs.router_logits, text_config.num_experts, text_config.num_experts_per_tok, attention_mask
            )
            loss = loss + text_config.router_aux_loss_coef * aux_loss.to(loss.device)
        return OV2CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
            video_hidden_states=outputs.video_hidden_states,
            aux_loss=aux_loss,
            router_logits=outputs.router_logits,
        )


@auto_docstring(custom_intro="The OV2 model with a mixture-of-experts decoder.")
class OV2MoeModel(OV2Model):
    config: OV2MoeConfig


@auto_docstring(custom_intro="The OV2 model with a mixture-of-experts decoder and a language modeling head.")
class OV2MoeForConditionalGeneration(OV2ForConditionalGeneration):
    config: OV2MoeConfig


__all__ = ["OV2ForConditionalGeneration", "OV2Model", "OV2MoeForConditionalGeneration", "OV2MoeModel"]
