# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""LLaVA-OneVision-2: vision features in the place of their placeholders, any causal decoder of transformers behind."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, GenerationConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin, LogitsProcessorList, SuppressTokensLogitsProcessor
from transformers.generation.candidate_generator import CandidateGenerator
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)
from transformers.modeling_utils import slice_logits_to_keep
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
        """
        Runs the vision tower on packed patches `(num_patches, num_channels * patch_size * patch_size)` of the images
        or videos in `grid_thw` `(num_images_or_videos, 3)`. `pooler_output` of the result is a tuple with the merged
        tokens `(num_tokens, hidden_size)` of each, `last_hidden_state` has all patches `(num_patches, hidden_size of
        the vision tower)`.
        """
        if grid_thw is None:
            raise ValueError("Pixel values need their grid: pass `image_grid_thw` or `video_grid_thw` with them.")
        kwargs["return_dict"] = True
        outputs = self.visual(pixel_values, grid_thw, patch_positions, window_sizes, **kwargs)
        split_sizes = (grid_thw.prod(-1) // self.config.vision_config.spatial_merge_size**2).tolist()
        outputs.pooler_output = torch.split(outputs.pooler_output, split_sizes)
        return outputs

    def get_placeholder_mask(
        self,
        input_ids: torch.LongTensor | None,
        inputs_embeds: torch.Tensor,
        image_features: torch.Tensor | None = None,
        video_features: torch.Tensor | None = None,
    ) -> tuple[torch.BoolTensor, torch.BoolTensor]:
        """
        Where the placeholders of images and of videos stand. Compares embeddings without `input_ids`.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): tokens.
            inputs_embeds (`torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`): their embeddings.
            image_features (`torch.Tensor` of shape `(num_image_tokens, hidden_size)`, *optional*): to be counted.
            video_features (`torch.Tensor` of shape `(num_video_tokens, hidden_size)`, *optional*): to be counted.

        Returns:
            Two `torch.BoolTensor` of shape `(batch_size, sequence_length, 1)`: images, videos.

        Raises:
            ValueError: When features of a modality are given and its placeholders are not exactly as many.
        """
        masks = []
        for modality, token_id, features in (
            ("Image", self.config.image_token_id, image_features),
            ("Video", self.config.video_token_id, video_features),
        ):
            if input_ids is not None:
                mask = input_ids == token_id
            else:
                token = torch.full((), token_id, dtype=torch.long, device=inputs_embeds.device)
                mask = (inputs_embeds == self.get_input_embeddings()(token)).all(-1)
            if features is not None:
                self._check_num_features(modality, mask.sum(), len(features))
            masks.append(mask.unsqueeze(-1).to(inputs_embeds.device))
        return tuple(masks)

    @staticmethod
    def _check_num_features(modality: str, num_tokens: torch.Tensor, num_features: int):
        # TRL recognizes a truncated multimodal sequence by the first words.
        torch_compilable_check(
            num_tokens == num_features,
            lambda: (
                f"{modality} features and {modality.lower()} tokens do not match: {int(num_tokens)} placeholder "
                f"tokens, but {num_features} features."
            ),
        )

    def _check_no_bare_placeholders(self, modality: str, mask: torch.BoolTensor):
        """Raises a `ValueError` when the `mask` of placeholders without features is not empty."""
        message = (
            f"but no {modality.lower()} pixels came with them. Pass the pixel values and the grid that the processor "
            "returned."
        )
        if self.training:
            message += (
                " A dataset for TRL needs an `images` column (an empty list where the videos stand in the messages): "
                "without it TRL drops the pixels."
            )
        start = f"{modality} features and {modality.lower()} tokens do not match:"
        if self.training and mask.device.type != "cpu":
            # Reading the answer back would make every training step wait for the device.
            torch._assert_async(~mask.any(), f"{start} there are placeholder tokens, {message}")
        elif num_tokens := int(mask.sum()):
            raise ValueError(f"{start} {num_tokens} placeholder tokens, {message}")

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
        features = {}
        for modality in ("image", "video"):
            if encoded.get(modality) is not None:
                merged = torch.cat(tuple(encoded[modality].pooler_output))
                features[modality] = merged.to(inputs_embeds.device, inputs_embeds.dtype)
        image_hidden_states, video_hidden_states = features.get("image"), features.get("video")

        # Tokens after a prompt are the model's own and may be anything. `generate` says so with empty outputs.
        continues = past_key_values is not None and (mm_encoder_outputs == {} or past_key_values.get_seq_length() > 0)
        own = continues and (mm_encoder_outputs == {} or inputs_embeds.shape[1] == 1)
        check_bare = not own and len(features) < 2 and not is_torchdynamo_compiling()
        if features or check_bare:
            masks = self.get_placeholder_mask(input_ids, inputs_embeds, image_hidden_states, video_hidden_states)
            for modality, mask in zip(("image", "video"), masks):
                if modality in features:
                    inputs_embeds = inputs_embeds.masked_scatter(mask, features[modality])
                elif check_bare:
                    # The first token after a cache ended the turn before.
                    self._check_no_bare_placeholders(modality.capitalize(), mask[:, int(continues) :])

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


MEDIA_INPUTS = (
    "pixel_values",
    "image_grid_thw",
    "patch_positions",
    "pixel_values_videos",
    "video_grid_thw",
    "video_patch_positions",
    "video_window_sizes",
)


class _EncodedMedia(dict):
    """Features by modality, and the `media` they were made from, which a draft model encodes by itself."""

    def __init__(self, media: dict[str, torch.Tensor]):
        super().__init__()
        self.media = media


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
        pixel_values (`torch.Tensor` of shape `(num_patches, num_channels * patch_size * patch_size)`):
            Patches of all images in merge-block order.
        image_grid_thw (`torch.LongTensor` of shape `(num_images, 3)`):
            Frames (1 for an image), patch rows and patch columns of each image.
        patch_positions (`torch.LongTensor` of shape `(num_patches, 3)`, *optional*):
            (frame, row, column) of every patch. Derived from `image_grid_thw` when missing.

        Returns:
            `pooler_output` holds one tensor of shape `(num_tokens, hidden_size)` per image.
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
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
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

    # Generation

    def _maybe_prepare_encoder_kwargs_for_generation(
        self, inputs_tensor: torch.Tensor, model_kwargs: dict[str, Any], *args, **kwargs
    ) -> dict[str, Any]:
        cache = model_kwargs.get("past_key_values")
        if cache is not None and inputs_tensor is not None and inputs_tensor.ndim == 2:
            self._drop_cached_media(inputs_tensor, cache.get_seq_length(), model_kwargs)
        media = {name: model_kwargs[name] for name in MEDIA_INPUTS if model_kwargs.get(name) is not None}
        if media and model_kwargs.get("mm_encoder_outputs") is None:
            model_kwargs["mm_encoder_outputs"] = _EncodedMedia(media)
        return super()._maybe_prepare_encoder_kwargs_for_generation(inputs_tensor, model_kwargs, *args, **kwargs)

    def _drop_cached_media(self, input_ids: torch.LongTensor, past_length: int, model_kwargs: dict[str, Any]):
        """
        Leaves out the images and videos of earlier turns, whose tokens are in the cache, from inputs that hold the
        whole conversation. Inputs that hold only what is new stay as they are.
        """
        merge = self.config.vision_config.spatial_merge_size
        for names, token_id in (
            (("image_grid_thw", None, "pixel_values", "patch_positions"), self.config.image_token_id),
            (
                ("video_grid_thw", "video_window_sizes", "pixel_values_videos", "video_patch_positions"),
                self.config.video_token_id,
            ),
        ):
            grid, windows, *rows = (model_kwargs.get(name) for name in names)
            if grid is None or not past_length:
                continue
            mask = input_ids == token_id
            sizes = grid.prod(-1).cpu()
            # The last token of each, counted over the placeholders of the batch, decides whether it is cached.
            ends = (sizes // merge**2).cumsum(0)
            if int(ends[-1]) != int(mask.sum()):
                continue
            columns = mask.nonzero()[:, 1].cpu()
            new = columns[ends - 1] >= past_length
            model_kwargs[names[0]] = grid[new.to(grid.device)]
            if windows is not None:
                model_kwargs[names[1]] = windows[new.to(windows.device)]
            new_rows = new.repeat_interleave(sizes)
            for name, value in zip(names[2:], rows):
                if value is not None:
                    model_kwargs[name] = value[new_rows.to(value.device)]
            if not new.any():
                for name in names:
                    model_kwargs.pop(name, None)

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.LongTensor,
        next_sequence_length: int | None = None,
        past_key_values: Cache | None = None,
        attention_mask: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        is_first_iteration: bool | None = False,
        **kwargs,
    ) -> dict[str, Any]:
        # transformers drops features in all but the first iteration, and to it an assistant never has a first one.
        if isinstance(past_key_values, DynamicCache) and past_key_values.get_seq_length() == 0:
            is_first_iteration = True
        model_inputs = super().prepare_inputs_for_generation(
            input_ids,
            next_sequence_length,
            past_key_values,
            attention_mask,
            inputs_embeds,
            is_first_iteration,
            **kwargs,
        )
        if is_first_iteration:
            model_inputs["mm_encoder_outputs"] = model_inputs.get("mm_encoder_outputs") or None
        else:
            model_inputs.setdefault("mm_encoder_outputs", {})
        return model_inputs

    def _get_candidate_generator(
        self,
        generation_config: GenerationConfig,
        input_ids: torch.LongTensor,
        inputs_tensor: torch.Tensor,
        logits_processor: LogitsProcessorList,
        model_kwargs: dict[str, Any],
        assistant_model: PreTrainedModel | None = None,
        **kwargs,
    ) -> CandidateGenerator:
        # A proposed placeholder would have no features. The model itself may still choose one.
        suppress = SuppressTokensLogitsProcessor(
            [self.config.image_token_id, self.config.video_token_id], device=input_ids.device
        )
        encoded = model_kwargs.get("mm_encoder_outputs")
        if isinstance(encoded, _EncodedMedia) and isinstance(assistant_model, OV2ForConditionalGeneration):
            # A draft has a vision tower of its own, and mostly a smaller hidden size.
            media = {name: value.to(assistant_model.device) for name, value in encoded.media.items()}
            draft = assistant_model._prepare_multimodal_encoder_kwargs_for_generation(media)
            model_kwargs = {**model_kwargs, "mm_encoder_outputs": draft["mm_encoder_outputs"]}
        return super()._get_candidate_generator(
            generation_config=generation_config,
            input_ids=input_ids,
            inputs_tensor=inputs_tensor,
            logits_processor=LogitsProcessorList([*logits_processor, suppress]),
            model_kwargs=model_kwargs,
            assistant_model=assistant_model,
            **kwargs,
        )


@auto_docstring(custom_intro="The OV2 model with a mixture-of-experts decoder.")
class OV2MoeModel(OV2Model):
    config: OV2MoeConfig


@auto_docstring(custom_intro="The OV2 model with a mixture-of-experts decoder and a language modeling head.")
class OV2MoeForConditionalGeneration(OV2ForConditionalGeneration):
    config: OV2MoeConfig


__all__ = ["OV2ForConditionalGeneration", "OV2Model", "OV2MoeForConditionalGeneration", "OV2MoeModel"]
