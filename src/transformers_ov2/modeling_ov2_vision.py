# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The OneVision encoder of LLaVA-OneVision-2: packed patches, 3D RoPE, attention windows, MLP merger."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import PrefixChange
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import (
    TransformersKwargs,
    auto_docstring,
    is_torchdynamo_compiling,
    torch_compilable_check,
)
from transformers.utils.generic import is_flash_attention_requested, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_ov2 import OV2Config, OV2VisionConfig


def get_grid_positions(grid_thw: torch.Tensor, spatial_merge_size: int, num_patches: int) -> torch.Tensor:
    """
    Positions of the patches of whole images and frames, in merge-block order.

    Args:
        grid_thw (`torch.LongTensor` of shape `(num_images_or_videos, 3)`):
            Frames, patch rows and patch columns.
        spatial_merge_size (`int`):
            Side of a merge block in patches.
        num_patches (`int`):
            Sum of the products of `grid_thw`, given so that nothing has to be read back from the device.

    Returns:
        `torch.LongTensor` of shape `(num_patches, 3)`: frame index inside its row, patch row, patch column.
    """
    device = grid_thw.device
    sizes = grid_thw.prod(-1)
    row = torch.repeat_interleave(torch.arange(len(grid_thw), device=device), sizes, output_size=num_patches)
    index = torch.arange(num_patches, device=device) - (sizes.cumsum(0) - sizes)[row]
    height, width = grid_thw[row, 1], grid_thw[row, 2]
    frame, index = index // (height * width), index % (height * width)
    block, inner = index // spatial_merge_size**2, index % spatial_merge_size**2
    blocks_per_row = width // spatial_merge_size
    return torch.stack(
        (
            frame,
            block // blocks_per_row * spatial_merge_size + inner // spatial_merge_size,
            block % blocks_per_row * spatial_merge_size + inner % spatial_merge_size,
        ),
        dim=-1,
    )


def check_packed_inputs(
    config: OV2VisionConfig,
    pixel_values: torch.Tensor,
    grid: torch.Tensor,
    patch_positions: torch.Tensor | None,
):
    """Raises a `ValueError` when packed patches, their positions and the `grid`, which lives on the CPU, disagree."""
    if grid.ndim != 2 or grid.shape[1] != 3 or len(grid) == 0 or (grid < 1).any():
        raise ValueError(
            f"A grid must hold rows of positive (frames, patch rows, patch columns), got {grid.tolist()}."
        )
    if (grid[:, 1:] % config.spatial_merge_size).any():
        raise ValueError(
            f"Patch rows and columns of every grid must be multiples of the merge size {config.spatial_merge_size}, "
            f"got {grid.tolist()}."
        )
    num_patches = int(grid.prod(-1).sum())
    if pixel_values.shape[0] != num_patches:
        raise ValueError(
            f"Pixel values and grid do not match: {pixel_values.shape[0]} rows of pixel values, but the grid "
            f"{grid.tolist()} describes {num_patches} patches."
        )
    if pixel_values.shape[1:] != (config.num_channels * config.patch_size**2,):
        raise ValueError(
            f"Rows of pixel values must hold {config.num_channels} x {config.patch_size} x {config.patch_size} "
            f"numbers, got the shape {tuple(pixel_values.shape)}. Give the processor the `patch_size` of the model."
        )
    if patch_positions is not None and patch_positions.shape != (num_patches, 3):
        raise ValueError(
            f"Patch positions must have the shape ({num_patches}, 3), one row per patch of the grid, got "
            f"{tuple(patch_positions.shape)}."
        )


@dataclass
class OV2VisionWindows:
    """
    Attention windows of a packed sequence: full attention inside a window, none across.

    Args:
        cu_seqlens (`torch.IntTensor` of shape `(num_windows + 1,)`):
            Cumulative window lengths in patches, for kernels with variable lengths.
        max_seqlen (`int`):
            Patches of the longest window.
        shapes (`list[tuple[int, int]]`):
            `(windows, patches per window)` for each distinct length: each group is one dense attention call.
        order (`torch.LongTensor` of shape `(num_patches,)` or `(num_windows * max_seqlen,)`, *optional*):
            Patch indices sorted by group, or laid out in padded windows; `None` when all windows are equally long and
            nothing has to move.
        inverse (`torch.LongTensor` of shape `(num_patches,)`, *optional*):
            Undoes `order`.
        mask (`torch.BoolTensor` of shape `(num_windows, max_seqlen)`, *optional*):
            False where windows are padded.
    """

    cu_seqlens: torch.Tensor
    max_seqlen: int
    shapes: list[tuple[int, int]]
    order: torch.Tensor | None = None
    inverse: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    @classmethod
    def from_grid(cls, grid_thw: torch.Tensor, window_sizes: torch.Tensor, device: torch.device) -> "OV2VisionWindows":
        """
        Cuts every row of `grid_thw` into windows of `window_sizes` frames and a remainder. Both arguments live on the
        CPU: the lengths decide shapes, so they are read once per forward and never inside a layer.
        """
        frames, patches_per_frame = grid_thw[:, 0], grid_thw[:, 1] * grid_thw[:, 2]
        num_windows = (frames + window_sizes - 1) // window_sizes
        lengths = torch.repeat_interleave(window_sizes * patches_per_frame, num_windows)
        last = num_windows.cumsum(0) - 1
        lengths[last] = (frames - (num_windows - 1) * window_sizes) * patches_per_frame

        cu_seqlens = F.pad(lengths.cumsum(0), (1, 0)).to(device=device, dtype=torch.int32)
        distinct, counts = lengths.unique(return_counts=True)
        shapes = list(zip(counts.tolist(), distinct.tolist()))
        if len(shapes) == 1:
            return cls(cu_seqlens, shapes[0][1], shapes)
        order = torch.repeat_interleave(lengths, lengths).argsort(stable=True)
        inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
        return cls(cu_seqlens, shapes[-1][1], shapes, order.to(device), inverse.to(device))

    @classmethod
    def from_cu_seqlens(cls, cu_seqlens: torch.Tensor, max_seqlen: int | None, num_patches: int) -> "OV2VisionWindows":
        """
        Windows given by their boundaries, laid out without reading a value of a tensor, so that graphs can be
        captured: shorter windows are padded to `max_seqlen`. Without it, all must be equally long in a graph.

        Raises:
            ValueError: `cu_seqlens` does not end at `num_patches`, or a window is longer than `max_seqlen` (a failed
                assertion of torch in a graph).
        """
        num_windows = len(cu_seqlens) - 1
        starts, ends = cu_seqlens[:-1], cu_seqlens[1:]
        lengths = ends - starts
        if max_seqlen is None:
            max_seqlen = num_patches // num_windows if is_torchdynamo_compiling() else int(lengths.max())

        def explain() -> str:
            if ends[-1] != num_patches:
                return f"`cu_seqlens` ends at {int(ends[-1])}, there are {num_patches} patches."
            return f"`max_seqlen` is {max_seqlen}, but a window of `cu_seqlens` has {int(lengths.max())} patches."

        # One check, hence one wait for the device.
        torch_compilable_check((ends[-1] == num_patches) & (lengths <= max_seqlen).all(), explain)
        shapes = [(num_windows, max_seqlen)]
        if num_windows * max_seqlen == num_patches:
            return cls(cu_seqlens, max_seqlen, shapes)
        device = cu_seqlens.device
        order = starts.unsqueeze(1) + torch.arange(max_seqlen, device=device)
        mask = order < ends.unsqueeze(1)
        patch = torch.arange(num_patches, device=device)
        window = torch.searchsorted(ends, patch, right=True)
        inverse = window * max_seqlen + patch - starts[window]
        return cls(cu_seqlens, max_seqlen, shapes, order.clamp(max=num_patches - 1).flatten(), inverse, mask)


class OV2VisionRotaryEmbedding(nn.Module):
    """3D rotary embedding: the frequencies of half a head are split 4:6:6 over time, height and width."""

    def __init__(self, config: OV2VisionConfig):
        super().__init__()
        self.config = config
        self.rope_type = config.rope_parameters["rope_type"]
        if self.rope_type != "axial":
            raise ValueError(f"{self.__class__.__name__} supports only axial rope, but requested {self.rope_type}")
        inv_freq, _ = self.compute_axial_rope_parameters(config)
        self.inv_freq = nn.Buffer(inv_freq, persistent=False)
        self.original_inv_freq = nn.Buffer(inv_freq.clone(), persistent=False)

    @staticmethod
    def compute_axial_rope_parameters(
        config: OV2VisionConfig, device: torch.device | None = None, **kwargs
    ) -> tuple[torch.Tensor, float]:
        """Returns the inverse frequencies, `(head_dim / 2,)` float32, time first, and the (unused) scaling factor."""
        half = config.hidden_size // config.num_attention_heads // 2
        theta = config.rope_parameters["rope_theta"]
        inv_freq = torch.cat(
            [
                1.0 / theta ** (torch.arange(count, dtype=torch.float, device=device) / count)
                for count in (half * 4 // 16, half * 6 // 16, half * 6 // 16)
            ]
        )
        return inv_freq, 1.0

    def _apply(self, fn: Callable, recurse: bool = True) -> nn.Module:
        # `model.to(torch.bfloat16)` rounds buffers too. Frame numbers reach thousands, where rounded frequencies turn
        # by a wrong angle.
        super()._apply(fn, recurse)
        if self.inv_freq.dtype != torch.float32:
            inv_freq, _ = self.compute_axial_rope_parameters(self.config, self.inv_freq.device)
            self.inv_freq, self.original_inv_freq = inv_freq, inv_freq.clone()
        return self

    @torch.no_grad()
    def forward(self, patch_positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Cosines and sines, float32 `(..., num_patches, head_dim)`, of the (frame, row, column) in `patch_positions`,
        int64 `(..., num_patches, 3)`.
        """
        t, h, w = patch_positions.to(device=self.inv_freq.device, dtype=torch.float).unsqueeze(-1).unbind(-2)
        eighth = self.inv_freq.shape[0] // 8
        inv_freq_t, inv_freq_h, inv_freq_w = self.inv_freq.split((2 * eighth, 3 * eighth, 3 * eighth))
        freqs = torch.cat((t * inv_freq_t, h * inv_freq_h, w * inv_freq_w), dim=-1)
        freqs = torch.cat((freqs, freqs), dim=-1)
        return freqs.cos(), freqs.sin()


def rotate_interleaved(x: torch.Tensor) -> torch.Tensor:
    """Maps neighbouring pairs (x1, x2) of the last dimension to (-x2, x1)."""
    return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)


def apply_rotary_pos_emb_vision(
    query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Rotates `(num_patches, num_heads, head_dim)` queries and keys in float32.

    The pairs are interleaved while `cos` and `sin` repeat the frequencies half by half. A textbook rotation would
    match the two; the released weights were trained with exactly this combination.
    """
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    query_float, key_float = query.float(), key.float()
    query_rotated = query_float * cos + rotate_interleaved(query_float) * sin
    key_rotated = key_float * cos + rotate_interleaved(key_float) * sin
    return query_rotated.to(query.dtype), key_rotated.to(key.dtype)


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    attn_weights = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask
    attn_weights = F.softmax(attn_weights, dim=-1, dtype=torch.float32).to(query.dtype)
    attn_weights = F.dropout(attn_weights, p=dropout, training=module.training)
    return torch.matmul(attn_weights, value).transpose(1, 2).contiguous(), attn_weights


class OV2VisionEmbeddings(nn.Module):
    def __init__(self, config: OV2VisionConfig):
        super().__init__()
        self.config = config
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, config.patch_size, stride=config.patch_size, bias=False
        )

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        patch_size = self.config.patch_size
        pixel_values = pixel_values.view(-1, self.config.num_channels, patch_size, patch_size)
        # The weight's dtype: a quantized model keeps its convolution in floating point.
        return self.patch_embedding(pixel_values.to(self.patch_embedding.weight.dtype)).flatten(1)


class OV2VisionAttention(nn.Module):
    def __init__(self, config: OV2VisionConfig):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = False
        self.num_key_value_groups = 1
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        windows: OV2VisionWindows | None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | tuple[torch.Tensor, ...] | None]:
        """
        Attends inside `windows` of packed `(num_patches, hidden_size)` states, or, without windows, inside each sample
        of `(batch_size, num_patches, hidden_size)` states.
        """
        # (..., 3 * hidden_size) -> 3 x (..., num_heads, head_dim)
        qkv = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, self.head_dim))
        query, key, value = qkv.unbind(-3)
        query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        kwargs = {
            **kwargs,
            "attention_mask": None,
            "scaling": self.scaling,
            "dropout": self.attention_dropout if self.training else 0.0,
            "is_causal": False,
        }
        if windows is None:
            states = (x.transpose(1, 2) for x in (query, key, value))
            attn_output, attn_weights = attention_interface(self, *states, **kwargs)
            attn_output = attn_output.flatten(2)
        elif is_flash_attention_requested(self.config):
            query, key, value = (x.transpose(0, 1).unsqueeze(0) for x in (query, key, value))
            attn_output, attn_weights = attention_interface(
                self,
                query,
                key,
                value,
                cu_seq_lens_q=windows.cu_seqlens,
                cu_seq_lens_k=windows.cu_seqlens,
                max_length_q=windows.max_seqlen,
                max_length_k=windows.max_seqlen,
                **kwargs,
            )
            attn_output = attn_output.reshape(len(hidden_states), -1)
        else:
            attn_output, attn_weights = self._grouped_attention(
                attention_interface, query, key, value, windows, **kwargs
            )
        return self.proj(attn_output), attn_weights

    def _grouped_attention(
        self,
        attention_interface: Callable,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        windows: OV2VisionWindows,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | tuple[torch.Tensor, ...] | None]:
        """
        Attends with `query`, `key` and `value` `(num_patches, num_heads, head_dim)` inside each window: one dense
        batched call for each distinct window length, a single call when all are equally long or padded.

        Returns `(num_patches, hidden_size)`, and attention weights `(windows, num_heads, patches per window, patches
        per window)`, a tuple with one tensor per call when patches had to move.
        """
        if windows.mask is not None:
            mask = torch.zeros(windows.mask.shape, dtype=query.dtype, device=query.device)
            mask = mask.masked_fill(~windows.mask, torch.finfo(query.dtype).min)
            kwargs["attention_mask"] = mask[:, None, None].expand(-1, -1, windows.max_seqlen, -1)
        if windows.order is not None:
            query, key, value = (x[windows.order] for x in (query, key, value))
        sizes = [count * length for count, length in windows.shapes]
        outputs, weights = [], []
        for (count, length), *states in zip(windows.shapes, query.split(sizes), key.split(sizes), value.split(sizes)):
            # (count * length, num_heads, head_dim) -> (count, num_heads, length, head_dim)
            states = (x.reshape(count, length, self.num_heads, self.head_dim).transpose(1, 2) for x in states)
            attn_output, attn_weights = attention_interface(self, *states, **kwargs)
            outputs.append(attn_output.reshape(count * length, -1))
            weights.append(attn_weights)
        if windows.order is None:
            return outputs[0], weights[0]
        return torch.cat(outputs)[windows.inverse], None if weights[0] is None else tuple(weights)


class OV2VisionMLP(nn.Module):
    def __init__(self, config: OV2VisionConfig):
        super().__init__()
        self.act_fn = ACT2FN[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act_fn(self.fc1(hidden_states)))


def build_norm(config: OV2VisionConfig) -> nn.Module:
    # CODEPATH: all released checkpoints use "layer_norm"; "rms_norm" is the other value their config class knows.
    norm_class = nn.RMSNorm if config.layer_norm_type == "rms_norm" else nn.LayerNorm
    return norm_class(config.hidden_size, eps=config.layer_norm_eps)


class OV2VisionLayer(GradientCheckpointingLayer):
    def __init__(self, config: OV2VisionConfig):
        super().__init__()
        self.layer_norm1 = build_norm(config)
        self.self_attn = OV2VisionAttention(config)
        self.layer_norm2 = build_norm(config)
        self.mlp = OV2VisionMLP(config)

    def forward(
        self,
        hidden_states: torch.Tensor,
        windows: OV2VisionWindows | None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        attn_output, _ = self.self_attn(self.layer_norm1(hidden_states), windows, position_embeddings, **kwargs)
        hidden_states = hidden_states + attn_output
        return hidden_states + self.mlp(self.layer_norm2(hidden_states))


class OV2VisionEncoder(nn.Module):
    def __init__(self, config: OV2VisionConfig):
        super().__init__()
        self.layers = nn.ModuleList([OV2VisionLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden_states: torch.Tensor, **kwargs) -> torch.Tensor:
        for layer in self.layers:
            hidden_states = layer(hidden_states, **kwargs)
        return hidden_states


class OV2VisionPoolingHead(nn.Module):
    """Pools the patches of a sample into one vector: attention with a learned query, then an MLP."""

    def __init__(self, config: OV2VisionConfig):
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.attention = nn.MultiheadAttention(config.hidden_size, config.num_attention_heads, batch_first=True)
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = OV2VisionMLP(config)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(batch_size, num_patches, hidden_size)` to `(batch_size, hidden_size)`."""
        probe = self.probe.expand(len(hidden_states), -1, -1)
        pooled = self.attention(probe, hidden_states, hidden_states, need_weights=False)[0]
        pooled = pooled + self.mlp(self.norm(pooled))
        return pooled.squeeze(1)


class OV2VisionMerger(nn.Module):
    """Joins `spatial_merge_size`² consecutive patches, one block of merge-block order, into one token."""

    def __init__(self, config: OV2VisionConfig):
        super().__init__()
        self.merged_size = config.hidden_size * config.spatial_merge_size**2
        self.ln_q = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        # A list, not three attributes: checkpoints name the weights `mlp.0` and `mlp.2`.
        self.mlp = nn.ModuleList(
            [
                nn.Linear(self.merged_size, self.merged_size),
                nn.GELU(),
                nn.Linear(self.merged_size, config.out_hidden_size or config.hidden_size),
            ]
        )

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.ln_q(hidden_states).view(-1, self.merged_size)  # (num_tokens, merge² * hidden_size)
        for module in self.mlp:
            hidden_states = module(hidden_states)
        return hidden_states  # (num_tokens, out_hidden_size)


@auto_docstring
class OV2PreTrainedModel(PreTrainedModel):
    config: OV2Config
    base_model_prefix = "model"
    input_modalities = ("image", "video", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ["OV2VisionLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, OV2VisionPoolingHead):
            init.normal_(module.probe, std=self.config.initializer_range)


@auto_docstring(custom_intro="The OneVision encoder with its merger, usable without a language model.")
class OV2VisionModel(OV2PreTrainedModel):
    config: OV2VisionConfig
    base_model_prefix = "visual"
    main_input_name = "pixel_values"
    input_modalities = ("image", "video")
    # The window shapes of a batch decide the graph, so a change of input recompiles. See `precompute_inputs`.
    _can_compile_fullgraph = False
    # What the exporters of transformers precompute: positions with their time, windows of all frames.
    include_temporal = merge_temporal = True
    _can_record_outputs = {"hidden_states": OV2VisionLayer, "attentions": OV2VisionAttention}
    # Loading from a full model, which also holds these.
    _keys_to_ignore_on_load_unexpected = [r"^model\.language_model\.", r"^lm_head\."]

    def __init__(self, config: OV2VisionConfig):
        super().__init__(config)
        self.embeddings = OV2VisionEmbeddings(config)
        self.rotary_pos_emb = OV2VisionRotaryEmbedding(config)
        self.layernorm_pre = build_norm(config)
        self.encoder = OV2VisionEncoder(config)
        if config.use_head:
            self.layernorm_post = build_norm(config)
            # Not read here; it keeps its place in the checkpoint.
            self.head = OV2VisionPoolingHead(config)
        self.merger = OV2VisionMerger(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.patch_embedding

    def precompute_inputs(
        self, grid_thw: torch.LongTensor, window_sizes: torch.LongTensor | None = None
    ) -> dict[str, torch.Tensor | int]:
        """
        What the forward pass reads from the values of `grid_thw` and `window_sizes`. With it, `torch.compile` with
        `fullgraph=True` and `torch.export` capture the whole tower: `model(pixel_values, **precomputed)`. A full model
        takes the same under the names `image_cu_seqlens`, `video_cu_seqlens` and so on.

        Returns:
            `cu_seqlens`, int32 `(num_windows + 1,)`: cumulative window lengths in patches; `max_seqlen`, `int`:
            patches of the longest; `position_ids`, int64 `(num_patches, 3)`: (frame, row, column).
        """
        grid = grid_thw.to("cpu", torch.long)
        windows = OV2VisionWindows.from_grid(grid, self._window_sizes(grid, window_sizes), grid_thw.device)
        num_patches = int(grid.prod(-1).sum())
        return {
            "cu_seqlens": windows.cu_seqlens,
            "max_seqlen": windows.max_seqlen,
            "position_ids": get_grid_positions(grid_thw.long(), self.config.spatial_merge_size, num_patches),
        }

    def _window_sizes(self, grid: torch.Tensor, window_sizes: torch.Tensor | None) -> torch.Tensor:
        if window_sizes is None:
            return torch.full((len(grid),), self.config.frame_windows_size)
        window_sizes = window_sizes.to("cpu", torch.long)
        if window_sizes.shape != (len(grid),) or (window_sizes < 1).any():
            raise ValueError(
                f"Window sizes must be {len(grid)} positive numbers of frames, one per row of the grid, got "
                f"{window_sizes.tolist()}."
            )
        return window_sizes

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.Tensor,
        grid_thw: torch.LongTensor | None = None,
        patch_positions: torch.LongTensor | None = None,
        window_sizes: torch.LongTensor | None = None,
        cu_seqlens: torch.IntTensor | None = None,
        max_seqlen: int | None = None,
        position_ids: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        r"""
        pixel_values (`torch.Tensor` of shape `(num_patches, num_channels * patch_size * patch_size)`):
            One row per patch, laid out (channel, y, x), in merge-block order: blocks of
            `spatial_merge_size` x `spatial_merge_size` patches in raster order, row-major inside a block.
        grid_thw (`torch.LongTensor` of shape `(num_images_or_videos, 3)`, *optional*):
            Frames (or canvases), patch rows and patch columns of each image or video. Needed without `cu_seqlens`.
        patch_positions (`torch.LongTensor` of shape `(num_patches, 3)`, *optional*):
            Frame index, patch row and patch column of every patch, in the order of `pixel_values`. Derived from
            `grid_thw` when missing.
        window_sizes (`torch.LongTensor` of shape `(num_images_or_videos,)`, *optional*):
            Frames that attend to each other, for each row of `grid_thw`: 1 isolates the frames. Defaults to
            `config.frame_windows_size` for all rows.
        cu_seqlens (`torch.IntTensor` of shape `(num_windows + 1,)`, *optional*):
            Cumulative lengths of the attention windows in patches, instead of `window_sizes`. See
            [`~OV2VisionModel.precompute_inputs`].
        max_seqlen (`int`, *optional*):
            Patches of the longest window of `cu_seqlens`.
        position_ids (`torch.LongTensor` of shape `(num_patches, 3)`, *optional*):
            `patch_positions` under the name of transformers' precomputed inputs. `patch_positions` goes first.

        Returns:
            `last_hidden_state` of shape `(num_patches, hidden_size)`, the encoder's output, and `pooler_output` of
            shape `(num_patches / spatial_merge_size², out_hidden_size)`, the merged tokens.

        Raises:
            ValueError: When the number of rows of an input contradicts `grid_thw`, when a grid side is no multiple of
                `spatial_merge_size`, or when windows are given twice.
        """
        if patch_positions is None:
            patch_positions = position_ids
        if cu_seqlens is None:
            if grid_thw is None:
                raise ValueError("Pass `grid_thw`, or `cu_seqlens` and `position_ids`.")
            grid = grid_thw.to("cpu", torch.long)
            check_packed_inputs(self.config, pixel_values, grid, patch_positions)
            windows = OV2VisionWindows.from_grid(grid, self._window_sizes(grid, window_sizes), pixel_values.device)
        else:
            if window_sizes is not None:
                raise ValueError(
                    "Pass either `window_sizes` or `cu_seqlens`: both say which patches attend to each other."
                )
            if patch_positions is None and grid_thw is None:
                raise ValueError("`cu_seqlens` need `position_ids` (or `patch_positions`, or `grid_thw`) with them.")
            windows = OV2VisionWindows.from_cu_seqlens(
                cu_seqlens.to(pixel_values.device), max_seqlen, len(pixel_values)
            )
        if patch_positions is None:
            patch_positions = get_grid_positions(
                grid_thw.to(pixel_values.device, torch.long), self.config.spatial_merge_size, len(pixel_values)
            )

        hidden_states = self.layernorm_pre(self.embeddings(pixel_values))  # (num_patches, hidden_size)
        hidden_states = self.encoder(
            hidden_states,
            windows=windows,
            position_embeddings=self.rotary_pos_emb(patch_positions),
            **kwargs,
        )
        if self.config.use_head:
            hidden_states = self.layernorm_post(hidden_states)
        return BaseModelOutputWithPooling(last_hidden_state=hidden_states, pooler_output=self.merger(hidden_states))


# `OV2VisionModel.from_pretrained` of a full model, whose vision tower has this prefix.
register_checkpoint_conversion_mapping(
    "OV2VisionModel", [PrefixChange(prefix_to_remove="model.visual")], overwrite=True
)

__all__ = ["OV2PreTrainedModel", "OV2VisionModel"]
