# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The stand-alone OneVision-Encoder: features of every patch and one pooled vector for each image or video."""

import torch
from torch import nn
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Concatenate, WeightConverter, WeightRenaming
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, auto_docstring
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_ov2 import OneVisionEncoderConfig
from .modeling_ov2_vision import (
    OV2PreTrainedModel,
    OV2VisionAttention,
    OV2VisionEmbeddings,
    OV2VisionEncoder,
    OV2VisionLayer,
    OV2VisionPoolingHead,
    OV2VisionRotaryEmbedding,
    OV2VisionWindows,
    build_norm,
    check_packed_inputs,
    get_grid_positions,
)


@auto_docstring(
    custom_intro="""
    The stand-alone OneVision-Encoder. Takes images, frames and codec canvases; every patch attends to all patches of
    its own image or video.
    """
)
class OneVisionEncoderModel(OV2PreTrainedModel):
    config: OneVisionEncoderConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    input_modalities = ("image", "video")
    _can_compile_fullgraph = False
    _can_record_outputs = {"hidden_states": OV2VisionLayer, "attentions": OV2VisionAttention}

    def __init__(self, config: OneVisionEncoderConfig):
        super().__init__(config)
        self.embeddings = OV2VisionEmbeddings(config)
        self.rotary_pos_emb = OV2VisionRotaryEmbedding(config)
        self.layernorm_pre = build_norm(config)
        self.encoder = OV2VisionEncoder(config)
        if config.use_head:
            self.layernorm_post = build_norm(config)
            self.head = OV2VisionPoolingHead(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.patch_embedding

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        patch_positions: torch.LongTensor | None = None,
        visible_indices: torch.LongTensor | None = None,
        image_grid_thw: torch.LongTensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        video_grid_thw: torch.LongTensor | None = None,
        video_patch_positions: torch.LongTensor | None = None,
        video_window_sizes: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        r"""
        pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, [num_frames,] height, width)`, *optional*):
            Images or videos of one size, sides multiples of `patch_size`. Or, together with `image_grid_thw`, packed
            patches of images of any size, of shape `(num_patches, num_channels * patch_size * patch_size)`.
        patch_positions (`torch.LongTensor` of shape `(batch_size, num_patches, 3)` or `(num_patches, 3)`, *optional*):
            (frame, row, column) of every patch of `pixel_values`: frame after frame in raster order, or in the order
            of packed patches. The places in the image or video when missing.
        visible_indices (`torch.LongTensor` of shape `(batch_size, num_visible_patches)`, *optional*):
            Patches to encode, counted frame after frame in raster order; the others are left out. All when missing.
        image_grid_thw (`torch.LongTensor` of shape `(num_images, 3)`, *optional*):
            Frames (1), patch rows and patch columns of every image, when `pixel_values` are packed patches.
        pixel_values_videos (`torch.Tensor` of shape `(num_patches, channels * patch_size * patch_size)`, *optional*):
            Packed patches of videos, instead of `pixel_values`.
        video_grid_thw (`torch.LongTensor` of shape `(num_videos, 3)`, *optional*):
            Frames (or canvases), patch rows and patch columns of every video.
        video_patch_positions (`torch.LongTensor` of shape `(num_patches, 3)`, *optional*):
            (source frame, row, column) of every row of `pixel_values_videos`.
        video_window_sizes (`torch.LongTensor` of shape `(num_videos,)`, *optional*):
            Accepted because the video processor returns it for language models. The encoder attends over whole videos.

        Returns:
            `last_hidden_state` of shape `(batch_size, num_patches, hidden_size)`, or `(num_patches, hidden_size)` in
            the order of packed patches, normed when the encoder has a head; `pooler_output` of shape
            `(batch_size, hidden_size)`, one row per image or video, `None` without a head.

        Raises:
            ValueError: When inputs are missing or contradict each other.

        Example:

        ```python
        >>> import transformers_ov2
        >>> from transformers import AutoModel, AutoVideoProcessor

        >>> checkpoint = "lmms-lab-encoder/onevision-encoder-large"
        >>> encoder = AutoModel.from_pretrained(checkpoint)
        >>> video_processor = AutoVideoProcessor.from_pretrained(checkpoint)
        >>> vector = encoder(**video_processor("clip.mp4", return_tensors="pt")).pooler_output  # (1, hidden_size)
        ```"""
        if (pixel_values is None) == (pixel_values_videos is None):
            raise ValueError("Pass either `pixel_values` or `pixel_values_videos`.")
        if visible_indices is not None and (pixel_values_videos is not None or pixel_values.ndim == 2):
            raise ValueError("`visible_indices` choose from images or videos of one size, not from packed patches.")
        if patch_positions is not None and pixel_values_videos is not None:
            raise ValueError("The positions of `pixel_values_videos` are `video_patch_positions`.")
        if pixel_values_videos is not None:
            return self._encode_packed(pixel_values_videos, video_grid_thw, video_patch_positions, **kwargs)
        if pixel_values.ndim == 2:
            return self._encode_packed(pixel_values, image_grid_thw, patch_positions, **kwargs)
        return self._encode_batch(pixel_values, patch_positions, visible_indices, **kwargs)

    def _encode_batch(
        self,
        pixel_values: torch.Tensor,
        patch_positions: torch.LongTensor | None,
        visible_indices: torch.LongTensor | None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Images `(batch_size, num_channels, height, width)` or videos with `num_frames` before `height`."""
        patch_size = self.config.patch_size
        if pixel_values.ndim == 4:
            pixel_values = pixel_values.unsqueeze(2)
        if pixel_values.ndim != 5 or pixel_values.shape[1] != self.config.num_channels:
            raise ValueError(
                f"`pixel_values` must be images (batch, {self.config.num_channels}, height, width), videos (batch, "
                f"{self.config.num_channels}, frames, height, width) or packed patches with their grid, got the shape "
                f"{tuple(pixel_values.shape)}."
            )
        batch_size, num_channels, frames, height, width = pixel_values.shape
        if height % patch_size or width % patch_size:
            raise ValueError(f"Sides must be multiples of {patch_size} pixels, got {height}x{width}.")
        rows, columns = height // patch_size, width // patch_size
        num_patches = frames * rows * columns

        patches = pixel_values.unflatten(4, (columns, patch_size)).unflatten(3, (rows, patch_size))
        patches = patches.permute(0, 2, 3, 5, 1, 4, 6).reshape(batch_size, num_patches, -1)
        if patch_positions is None:
            axes = (torch.arange(size, device=pixel_values.device) for size in (frames, rows, columns))
            patch_positions = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
            patch_positions = patch_positions.expand(batch_size, -1, -1)
        elif patch_positions.shape != (batch_size, num_patches, 3):
            raise ValueError(
                f"Patch positions must have the shape {(batch_size, num_patches, 3)}, one row per patch of every "
                f"sample, got {tuple(patch_positions.shape)}."
            )
        if visible_indices is not None:
            if visible_indices.ndim != 2 or len(visible_indices) != batch_size:
                raise ValueError(
                    f"Visible indices must have the shape ({batch_size}, num_visible_patches), got "
                    f"{tuple(visible_indices.shape)}."
                )
            index = visible_indices.to(patches.device).unsqueeze(-1)
            patches = patches.take_along_dim(index, dim=1)
            patch_positions = patch_positions.to(patches.device).take_along_dim(index, dim=1)

        # (batch_size, num_patches, hidden_size)
        hidden_states = self.embeddings(patches).unflatten(0, patches.shape[:2])
        hidden_states = self.encoder(
            self.layernorm_pre(hidden_states),
            windows=None,
            position_embeddings=self.rotary_pos_emb(patch_positions),
            **kwargs,
        )
        if not self.config.use_head:
            return BaseModelOutputWithPooling(last_hidden_state=hidden_states)
        hidden_states = self.layernorm_post(hidden_states)
        return BaseModelOutputWithPooling(last_hidden_state=hidden_states, pooler_output=self.head(hidden_states))

    def _encode_packed(
        self,
        pixel_values: torch.Tensor,
        grid_thw: torch.LongTensor | None,
        patch_positions: torch.LongTensor | None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Rows `(num_patches, num_channels * patch_size * patch_size)` of several images or videos of any size."""
        if grid_thw is None:
            raise ValueError("Packed patches need their grid: pass `image_grid_thw` or `video_grid_thw` with them.")
        grid = grid_thw.to("cpu", torch.long)
        check_packed_inputs(self.config, pixel_values, grid, patch_positions)
        if patch_positions is None:
            patch_positions = get_grid_positions(
                grid_thw.to(pixel_values.device, torch.long), self.config.spatial_merge_size, len(pixel_values)
            )
        hidden_states = self.layernorm_pre(self.embeddings(pixel_values))  # (num_patches, hidden_size)
        hidden_states = self.encoder(
            hidden_states,
            windows=OV2VisionWindows.from_grid(grid, grid[:, 0], hidden_states.device),
            position_embeddings=self.rotary_pos_emb(patch_positions),
            **kwargs,
        )
        if not self.config.use_head:
            return BaseModelOutputWithPooling(last_hidden_state=hidden_states)
        hidden_states = self.layernorm_post(hidden_states)
        samples = hidden_states.split(grid.prod(-1).tolist())
        pooled = torch.cat([self.head(sample.unsqueeze(0)) for sample in samples])
        return BaseModelOutputWithPooling(last_hidden_state=hidden_states, pooler_output=pooled)


# Checkpoints keep three projections where the layers, shared with the vision tower, have one.
register_checkpoint_conversion_mapping(
    "OneVisionEncoderModel",
    [
        WeightRenaming(r"self_attn\.out_proj\.", "self_attn.proj."),
        WeightConverter(
            ["self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"],
            "self_attn.qkv.weight",
            operations=[Concatenate(dim=0)],
        ),
        WeightConverter(
            ["self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"],
            "self_attn.qkv.bias",
            operations=[Concatenate(dim=0)],
        ),
    ],
    overwrite=True,
)

__all__ = ["OneVisionEncoderModel"]
