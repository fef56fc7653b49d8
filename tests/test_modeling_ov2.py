# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import copy
import re
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText

from transformers_ov2 import OV2Config, OV2ForConditionalGeneration, OV2Model, OV2VisionConfig, OV2VisionModel
from transformers_ov2.modeling_ov2_vision import (
    OV2VisionWindows,
    apply_rotary_pos_emb_vision,
    get_grid_positions,
)


CASES = ("codec_canvases", "two_images", "video_frames")
TOLERANCE = {"atol": 1e-4, "rtol": 0}


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def reference_model(request, fixtures):
    return OV2ForConditionalGeneration.from_pretrained(
        fixtures / "model", attn_implementation=request.param, dtype=torch.float32
    ).eval()


@pytest.fixture
def model(tiny_config):
    return OV2ForConditionalGeneration(tiny_config()).eval()


def load_case(fixtures, name):
    case = load_file(fixtures / "model" / f"{name}.safetensors")
    inputs = {key: case[key] for key in ("input_ids", "pixel_values", "image_grid_thw", "patch_positions")}
    return case, inputs


def image_inputs(*grids, modality="image", config=None, text=((11, 12), (13,))):
    """One prompt with `len(grids)` images (or videos) of the given grids, random pixels, merge size 2, patch 14."""
    token_id = 990 if modality == "image" else 991
    ids = list(text[0])
    for t, h, w in grids:
        ids += [992, *[token_id] * (t * h * w // 4), 993]
    ids += list(text[1])
    num_patches = sum(t * h * w for t, h, w in grids)
    suffix = "" if modality == "image" else "_videos"
    return {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        f"pixel_values{suffix}": torch.randn(num_patches, 588),
        f"{modality}_grid_thw": torch.tensor(grids),
    }


# Parity with the reference


@pytest.mark.parametrize("name", CASES)
def test_encoder_matches_reference(reference_model, fixtures, name):
    case, _ = load_case(fixtures, name)
    with torch.no_grad():
        outputs = reference_model.model.visual(case["pixel_values"], case["image_grid_thw"], case["patch_positions"])
    torch.testing.assert_close(outputs.last_hidden_state, case["vision_encoder_output"], **TOLERANCE)
    torch.testing.assert_close(outputs.pooler_output, case["vision_merged"], **TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_logits_and_loss_match_reference(reference_model, fixtures, name):
    case, inputs = load_case(fixtures, name)
    with torch.no_grad():
        outputs = reference_model(**inputs, labels=case["labels"])
    torch.testing.assert_close(outputs.logits, case["logits"], **TOLERANCE)
    torch.testing.assert_close(outputs.loss, case["loss"].squeeze(), **TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_generation_matches_reference(reference_model, fixtures, name):
    case, inputs = load_case(fixtures, name)
    generated = reference_model.generate(**inputs, max_new_tokens=12, do_sample=False, eos_token_id=None)
    assert generated[:, inputs["input_ids"].shape[1] :].tolist() == case["generated_ids"].tolist()


def test_video_row_equals_reference_frame_rows(reference_model, fixtures):
    """One [T, H, W] row of isolated frames says the same as the reference's T rows of [1, H, W]."""
    case, inputs = load_case(fixtures, "video_frames")
    frames, height, width = len(case["image_grid_thw"]), *case["image_grid_thw"][0, 1:].tolist()
    with torch.no_grad():
        logits = reference_model(
            input_ids=torch.where(inputs["input_ids"] == 990, 991, inputs["input_ids"]),
            pixel_values_videos=inputs["pixel_values"],
            video_grid_thw=torch.tensor([[frames, height, width]]),
            video_patch_positions=inputs["patch_positions"],
            video_window_sizes=torch.tensor([1]),
        ).logits
    torch.testing.assert_close(logits, case["logits"], **TOLERANCE)


def test_codec_video_equals_reference_canvases(reference_model, fixtures):
    case, inputs = load_case(fixtures, "codec_canvases")
    with torch.no_grad():
        logits = reference_model(
            input_ids=torch.where(inputs["input_ids"] == 990, 991, inputs["input_ids"]),
            pixel_values_videos=inputs["pixel_values"],
            video_grid_thw=inputs["image_grid_thw"],
            video_patch_positions=inputs["patch_positions"],
        ).logits
    torch.testing.assert_close(logits, case["logits"], **TOLERANCE)


def test_positions_matter(reference_model, fixtures):
    case, inputs = load_case(fixtures, "codec_canvases")
    inputs["patch_positions"] = torch.zeros_like(inputs["patch_positions"])
    with torch.no_grad():
        logits = reference_model(**inputs).logits
    assert (logits - case["logits"]).abs().max() > 1e-2


# Loading


def test_no_key_is_missing_or_unexpected(fixtures):
    for auto_class in (AutoModel, AutoModelForImageTextToText):
        _, report = auto_class.from_pretrained(fixtures / "model", output_loading_info=True)
        assert not report["missing_keys"] and not report["mismatched_keys"]
        unexpected = set() if auto_class is AutoModelForImageTextToText else {"lm_head.weight"}
        assert set(report["unexpected_keys"]) <= unexpected


def test_saved_names_are_the_checkpoint_names(fixtures, tmp_path):
    model = OV2ForConditionalGeneration.from_pretrained(fixtures / "model")
    model.save_pretrained(tmp_path)
    original = load_file(fixtures / "model" / "model.safetensors")
    saved = load_file(tmp_path / "model.safetensors")
    assert original.keys() == saved.keys()
    assert all(torch.equal(original[key], saved[key]) for key in original)


def test_rotary_buffers_are_filled_after_loading(fixtures):
    """Non-persistent buffers start on the meta device and are no part of a checkpoint."""
    model = OV2ForConditionalGeneration.from_pretrained(fixtures / "model", device_map="cpu", dtype=torch.bfloat16)
    rotary = model.model.visual.rotary_pos_emb
    expected, _ = rotary.compute_axial_rope_parameters(model.config.vision_config)
    torch.testing.assert_close(rotary.inv_freq, expected, rtol=0, atol=0)
    assert rotary.inv_freq.dtype == torch.float32


def test_sharded_weights_load(fixtures, tmp_path):
    model = OV2ForConditionalGeneration.from_pretrained(fixtures / "model")
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 5
    reloaded = OV2ForConditionalGeneration.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), reloaded.state_dict().values()))


def test_vision_model_alone(tmp_path):
    model = OV2VisionModel(
        OV2VisionConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2)
    ).eval()
    model.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path).eval()
    assert type(reloaded) is OV2VisionModel
    pixel_values, grid = torch.randn(16, 588), torch.tensor([[1, 4, 4]])
    with torch.no_grad():
        outputs, expected = reloaded(pixel_values, grid), model(pixel_values, grid)
    assert outputs.last_hidden_state.shape == (16, 64) and outputs.pooler_output.shape == (4, 64)
    assert torch.equal(outputs.pooler_output, expected.pooler_output)


@pytest.mark.parametrize(
    "text",
    [
        {"model_type": "qwen2"},
        {
            "model_type": "qwen3_moe",
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "decoder_sparse_step": 1,
        },
    ],
    ids=lambda text: text["model_type"],
)
def test_other_decoders(tiny_config, tmp_path, text):
    model = OV2ForConditionalGeneration(tiny_config(text=text)).eval()
    assert model.model.language_model.config.model_type == text["model_type"]
    model.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    if text["model_type"] == "qwen3_moe":
        # The released mixture-of-experts checkpoints store one tensor per expert.
        assert "model.language_model.layers.0.mlp.experts.3.gate_proj.weight" in names
    reloaded, report = OV2ForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    inputs = image_inputs((1, 4, 4))
    with torch.no_grad():
        torch.testing.assert_close(reloaded.eval()(**inputs).logits, model(**inputs).logits)


def test_load_balancing_loss_of_experts(tiny_config):
    text = {
        "model_type": "qwen3_moe",
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "output_router_logits": True,
        "router_aux_loss_coef": 0.5,
    }
    model = OV2ForConditionalGeneration(tiny_config(text=text)).eval()
    decoder = AutoModelForCausalLM.from_config(model.config.text_config).eval()
    decoder.model.load_state_dict(model.model.language_model.state_dict())
    decoder.lm_head.load_state_dict(model.lm_head.state_dict())
    inputs = {"input_ids": torch.randint(5, 900, (2, 8)), "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    inputs["attention_mask"][1, :3] = 0
    inputs["labels"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    with torch.no_grad():
        output, expected = model(**inputs), decoder(**inputs)
        without = model(**inputs, output_router_logits=False)
    assert expected.aux_loss > 0.5
    torch.testing.assert_close(output.aux_loss, expected.aux_loss)
    torch.testing.assert_close(output.loss, expected.loss)
    torch.testing.assert_close(without.loss, expected.loss - 0.5 * expected.aux_loss)
    assert without.aux_loss is None


@pytest.mark.parametrize(("patch_size", "merge"), [(14, 3), (16, 2), (16, 3)])
def test_other_patch_and_merge_sizes(tiny_config, patch_size, merge):
    config = tiny_config(vision={"patch_size": patch_size, "spatial_merge_size": merge})
    model = OV2ForConditionalGeneration(config).eval()
    assert model.model.visual.merger.mlp[0].in_features == 64 * merge**2
    height = width = 2 * merge
    inputs = {
        "input_ids": torch.tensor([[1, *[990] * 4, 2]]),
        "pixel_values": torch.randn(height * width, 3 * patch_size**2),
        "image_grid_thw": torch.tensor([[1, height, width]]),
    }
    with torch.no_grad():
        assert model(**inputs).logits.shape == (1, 6, 1000)


def test_rms_norm_encoder(tiny_config):
    model = OV2ForConditionalGeneration(tiny_config(vision={"layer_norm_type": "rms_norm"}))
    names = {name for name, _ in model.model.visual.named_parameters()}
    assert "layernorm_pre.weight" in names and "layernorm_pre.bias" not in names
    assert "merger.ln_q.bias" in names
    model(**image_inputs((1, 4, 4)))


# Positions and windows


def test_grid_positions_follow_merge_block_order():
    grid = torch.tensor([[1, 4, 6], [2, 2, 2]])
    positions = get_grid_positions(grid, 2, 32).tolist()
    expected = [
        [frame, 2 * block_row + row, 2 * block_column + column]
        for t, h, w in grid.tolist()
        for frame, block_row, block_column, row, column in product(
            range(t), range(h // 2), range(w // 2), range(2), range(2)
        )
    ]
    assert positions == expected


def test_windows_have_a_remainder():
    windows = OV2VisionWindows.from_grid(
        torch.tensor([[6, 2, 4], [1, 4, 4], [3, 2, 2]]), torch.tensor([4, 4, 1]), "cpu"
    )
    assert windows.cu_seqlens.tolist() == [0, 32, 48, 64, 68, 72, 76]
    assert windows.max_seqlen == 32
    assert windows.shapes == [(3, 4), (2, 16), (1, 32)]
    assert windows.order[windows.inverse].tolist() == list(range(76))


def test_equal_windows_are_one_dense_call():
    windows = OV2VisionWindows.from_grid(torch.tensor([[8, 2, 4], [4, 4, 2]]), torch.tensor([4, 4]), "cpu")
    assert windows.shapes == [(3, 32)]
    assert windows.order is None


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("grid", [[[8, 4, 4]], [[6, 4, 4], [1, 2, 6], [5, 4, 4]]])
def test_windows_equal_a_block_mask(implementation, grid):
    """Grouped dense calls give what full attention under a block-diagonal mask gives."""
    config = OV2VisionConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2)
    config._attn_implementation = implementation
    model = OV2VisionModel(config).eval()
    grid = torch.tensor(grid)
    num_patches = int(grid.prod(-1).sum())
    pixel_values = torch.randn(num_patches, 588)
    with torch.no_grad():
        actual = model(pixel_values, grid).last_hidden_state

        cu_seqlens = OV2VisionWindows.from_grid(grid, torch.full((len(grid),), 4), "cpu").cu_seqlens
        window = torch.searchsorted(cu_seqlens, torch.arange(num_patches), right=True)
        mask = window[:, None] == window[None]
        cos, sin = model.rotary_pos_emb(get_grid_positions(grid, 2, num_patches))
        hidden_states = model.layernorm_pre(model.embeddings(pixel_values))
        for layer in model.encoder.layers:
            qkv = layer.self_attn.qkv(layer.layer_norm1(hidden_states)).view(-1, 3, 2, 32)
            query, key = apply_rotary_pos_emb_vision(qkv[:, 0], qkv[:, 1], cos, sin)
            query, key, value = (x.transpose(0, 1) for x in (query, key, qkv[:, 2]))
            attention = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            hidden_states = hidden_states + layer.self_attn.proj(attention.transpose(0, 1).flatten(1))
            hidden_states = hidden_states + layer.mlp(layer.layer_norm2(hidden_states))
    torch.testing.assert_close(actual, hidden_states, atol=1e-5, rtol=1e-5)


def test_layers_never_read_a_value_back():
    """A read-back (`.item()`, `.tolist()`) inside a layer would stall a GPU once per layer."""

    class CountReadBacks(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func is torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    config = OV2VisionConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2)
    model = OV2VisionModel(config)
    forward = model.encoder.forward
    counter = CountReadBacks()

    def counted(*args, **kwargs):
        with counter:
            return forward(*args, **kwargs)

    model.encoder.forward = counted
    model(torch.randn(96, 588), torch.tensor([[5, 4, 4], [1, 4, 4]]))
    assert counter.count == 0


def test_one_batch_holds_isolated_and_windowed_videos(model):
    isolated, windowed = image_inputs((5, 4, 4), modality="video"), image_inputs((5, 4, 4), modality="video")
    alone = []
    with torch.no_grad():
        for inputs, size in ((isolated, 1), (windowed, 4)):
            alone.append(model(**inputs, video_window_sizes=torch.tensor([size])).logits)
        batch = {
            key: torch.cat([isolated[key], windowed[key]])
            for key in ("input_ids", "attention_mask", "pixel_values_videos", "video_grid_thw")
        }
        logits = model(**batch, video_window_sizes=torch.tensor([1, 4])).logits
        other = model(**batch, video_window_sizes=torch.tensor([4, 4])).logits
    torch.testing.assert_close(logits, torch.cat(alone), atol=1e-5, rtol=1e-5)
    assert (other[0] - logits[0]).abs().max() > 1e-4


# Batches and generation


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(model, side):
    long, short = image_inputs((1, 4, 4), (1, 2, 4)), image_inputs((1, 2, 2))
    pad = long["input_ids"].shape[1] - short["input_ids"].shape[1]
    padding = (pad, 0) if side == "left" else (0, pad)
    batch = {
        "input_ids": torch.cat([long["input_ids"], F.pad(short["input_ids"], padding, value=980)]),
        "attention_mask": torch.cat([long["attention_mask"], F.pad(short["attention_mask"], padding)]),
        "pixel_values": torch.cat([long["pixel_values"], short["pixel_values"]]),
        "image_grid_thw": torch.cat([long["image_grid_thw"], short["image_grid_thw"]]),
    }
    with torch.no_grad():
        position_ids = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        logits = model(**batch, position_ids=position_ids).logits
        expected = model(**short).logits
    torch.testing.assert_close(logits[1][batch["attention_mask"][1].bool()], expected[0], atol=1e-5, rtol=1e-5)


def test_left_padded_generation_equals_single(model):
    long, short = image_inputs((1, 4, 4), (1, 2, 4)), image_inputs((1, 2, 2))
    pad = long["input_ids"].shape[1] - short["input_ids"].shape[1]
    batch = {
        "input_ids": torch.cat([long["input_ids"], F.pad(short["input_ids"], (pad, 0), value=980)]),
        "attention_mask": torch.cat([long["attention_mask"], F.pad(short["attention_mask"], (pad, 0))]),
        "pixel_values": torch.cat([long["pixel_values"], short["pixel_values"]]),
        "image_grid_thw": torch.cat([long["image_grid_thw"], short["image_grid_thw"]]),
    }
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    generated = model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
    for row, inputs in zip(generated, (long, short)):
        assert row.tolist() == model.generate(**inputs, **options)[0, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize(
    "options",
    [{"num_beams": 3, "num_return_sequences": 2}, {"do_sample": True, "num_return_sequences": 3}],
    ids=["beams", "samples"],
)
def test_vision_tower_runs_once_per_generation(model, options):
    calls = []
    handle = model.model.visual.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    inputs = image_inputs((5, 4, 4), modality="video")
    model.generate(**inputs, video_window_sizes=torch.tensor([1]), max_new_tokens=5, eos_token_id=None, **options)
    handle.remove()
    assert calls == [80]


def test_beams_see_their_own_video(model):
    """Beam search over a batch of two videos gives each prompt what it gets alone."""
    first, second = image_inputs((3, 4, 4), modality="video"), image_inputs((3, 4, 4), modality="video")
    options = {"num_beams": 3, "max_new_tokens": 5, "eos_token_id": None, "do_sample": False}
    batch = {key: torch.cat([first[key], second[key]]) for key in first}
    windows = torch.tensor([1, 4])
    generated = model.generate(**batch, video_window_sizes=windows, **options)
    for row, inputs, window in zip(generated, (first, second), windows):
        assert row.tolist() == model.generate(**inputs, video_window_sizes=window[None], **options)[0].tolist()


def test_inputs_embeds_equal_input_ids(model):
    inputs = image_inputs((1, 4, 4))
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    with torch.no_grad():
        expected = model(**inputs).logits
        inputs.pop("input_ids")
        torch.testing.assert_close(model(**inputs, inputs_embeds=embeds).logits, expected)


def test_static_cache(model):
    inputs = image_inputs((1, 4, 4))
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    expected = model.generate(**inputs, **options)
    assert model.generate(**inputs, **options, cache_implementation="static").tolist() == expected.tolist()


def test_placeholder_mask(model):
    """The signature of transformers: masks of both modalities, counted when features are given."""
    ids = torch.tensor([[1, 990, 991, 990]])
    embeds = model.get_input_embeddings()(ids)
    for input_ids in (ids, None):
        image, video = model.model.get_placeholder_mask(input_ids, embeds, torch.zeros(2, 64), torch.zeros(1, 64))
        assert image.tolist() == [[[False], [True], [False], [True]]]
        assert video.tolist() == [[[False], [False], [True], [False]]]
        with pytest.raises(ValueError, match="Video features and video tokens do not match: 1 placeholder tokens"):
            model.model.get_placeholder_mask(input_ids, embeds, video_features=torch.zeros(2, 64))


def test_fsdp_plan_covers_both_towers(model):
    """Every rule names modules, and every layer is named."""
    names = {re.sub(r"\.\d+$", ".*", name) for name, _ in model.named_modules()}
    assert model.fsdp_plan.keys() <= names
    assert {"model.visual.encoder.layers.*", "model.language_model.layers.*", "lm_head"} <= model.fsdp_plan.keys()


def test_logits_to_keep(model):
    inputs = image_inputs((1, 4, 4))
    with torch.no_grad():
        full = model(**inputs).logits
        mask = torch.zeros(full.shape[:2], dtype=torch.bool)
        mask[0, [1, 3]] = True
        torch.testing.assert_close(model(**inputs, logits_to_keep=mask).logits, full[mask])
        torch.testing.assert_close(model(**inputs, logits_to_keep=3).logits, full[:, -3:])
        kept = torch.tensor([0, 4])
        torch.testing.assert_close(model(**inputs, logits_to_keep=kept).logits, full[:, kept])


def test_hidden_states_and_attentions(tiny_config):
    model = OV2ForConditionalGeneration(tiny_config())
    model.set_attn_implementation("eager")
    model.eval()
    inputs = image_inputs((1, 4, 4), (1, 2, 2))
    with torch.no_grad():
        outputs = model(**inputs, output_hidden_states=True, output_attentions=True)
        length = inputs["input_ids"].shape[1]
        assert [h.shape for h in outputs.hidden_states] == [(1, length, 64)] * 3
        assert [a.shape for a in outputs.attentions] == [(1, 4, length, length)] * 2
        vision = model.get_image_features(
            inputs["pixel_values"], inputs["image_grid_thw"], output_hidden_states=True, output_attentions=True
        )
    assert [h.shape for h in vision.hidden_states] == [(20, 64)] * 3
    assert torch.equal(vision.hidden_states[-1], vision.last_hidden_state)
    # One tensor per distinct window length.
    assert [[a.shape for a in layer] for layer in vision.attentions] == [[(1, 2, 4, 4), (1, 2, 16, 16)]] * 2


def test_features_are_split_per_image(model):
    inputs = image_inputs((1, 4, 4), (1, 2, 4))
    features = model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"]).pooler_output
    assert [f.shape for f in features] == [(4, 64), (2, 64)]


def test_gradient_checkpointing_changes_no_gradient(tiny_config):
    inputs = image_inputs((1, 4, 4))
    inputs["labels"] = inputs["input_ids"].masked_fill(inputs["input_ids"] >= 990, -100)
    model = OV2ForConditionalGeneration(tiny_config()).train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        model(**inputs).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert "model.visual.embeddings.patch_embedding.weight" in gradients[0]
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.slow
def test_compiled_language_model(model):
    inputs = image_inputs((1, 4, 4))
    with torch.no_grad():
        expected = model(**inputs).logits
        model.model.language_model.compile(fullgraph=True)
        torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(model, dtype):
    inputs = image_inputs((1, 4, 4))
    with torch.no_grad():
        expected = model(**inputs).logits
        outputs = copy.deepcopy(model).to(dtype)(**inputs)
    assert outputs.logits.dtype == dtype
    error = (outputs.logits.float() - expected).norm() / expected.norm()
    assert error < 0.05


@pytest.mark.parametrize("cast", ["bfloat16", "half"])
def test_rotary_frequencies_survive_a_cast(model, cast):
    """Frame numbers reach thousands: rounded frequencies would turn frame 7000 by a wrong angle."""
    rotary = model.model.visual.rotary_pos_emb
    positions = torch.tensor([[7000, 3, 5]])
    expected = rotary(positions)
    getattr(model, cast)()
    assert model.dtype != torch.float32
    for actual, exact in zip(rotary(positions), expected):
        assert actual.dtype == torch.float32 and torch.equal(actual, exact)


def test_device_map_auto(fixtures, tmp_path):
    case, inputs = load_case(fixtures, "two_images")
    model = OV2ForConditionalGeneration.from_pretrained(fixtures / "model", device_map="auto", dtype=torch.float32)
    with torch.no_grad():
        logits = model(**{key: value.to(model.device) for key, value in inputs.items()}).logits.cpu()
    torch.testing.assert_close(logits, case["logits"], **TOLERANCE)


def test_disk_offload(fixtures, tmp_path):
    """Half of the model on disk: every module must cope with weights that arrive just before they are used."""
    case, inputs = load_case(fixtures, "two_images")
    model = OV2ForConditionalGeneration.from_pretrained(
        fixtures / "model",
        device_map={"model.visual": "cpu", "model.language_model": "disk", "lm_head": "cpu"},
        offload_folder=tmp_path,
        dtype=torch.float32,
    )
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits.cpu(), case["logits"], **TOLERANCE)


def test_tied_embeddings(tiny_config, tmp_path):
    model = OV2ForConditionalGeneration(tiny_config(text={"tie_word_embeddings": True}))
    assert model.lm_head.weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    reloaded = OV2ForConditionalGeneration.from_pretrained(tmp_path)
    assert reloaded.lm_head.weight is reloaded.get_input_embeddings().weight


@pytest.mark.parametrize("tied", [False, True])
def test_resize_token_embeddings(tiny_config, tied):
    model = OV2ForConditionalGeneration(tiny_config(text={"tie_word_embeddings": tied})).eval()
    model.resize_token_embeddings(1010)
    assert model.config.text_config.vocab_size == 1010
    inputs = image_inputs((1, 4, 4))
    inputs["labels"] = inputs["input_ids"]
    outputs = model(**inputs)
    assert outputs.logits.shape[-1] == 1010 and torch.isfinite(outputs.loss)


# Errors


def test_placeholders_without_pixels(model):
    for modality, name in (("image", "Image"), ("video", "Video")):
        inputs = image_inputs((1, 4, 4), modality=modality)
        with pytest.raises(ValueError, match=f"{name} features and {modality} tokens do not match: 4 placeholder"):
            model(input_ids=inputs["input_ids"])
        with pytest.raises(ValueError, match=f"no {modality} pixels"):
            model.generate(input_ids=inputs["input_ids"], max_new_tokens=2)


def test_pixels_without_placeholders(model):
    inputs = image_inputs((1, 4, 4))
    inputs["input_ids"] = torch.full_like(inputs["input_ids"], 5)
    with pytest.raises(ValueError, match="Image features and image tokens do not match: 0 placeholder tokens, but 4"):
        model(**inputs)


def test_counts_that_differ(model):
    inputs = image_inputs((1, 4, 4))
    inputs["input_ids"][inputs["input_ids"] == 993] = 990
    with pytest.raises(ValueError, match="Image features and image tokens do not match: 5 placeholder tokens, but 4"):
        model(**inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_grid_thw": None}, "need their grid"),
        ({"image_grid_thw": torch.tensor([[1, 4, 6]])}, "16 rows of pixel values.*24 patches"),
        ({"image_grid_thw": torch.tensor([[1, 1, 16]])}, "multiples of the merge size 2"),
        ({"image_grid_thw": torch.tensor([[0, 4, 4]])}, "positive"),
        ({"patch_positions": torch.zeros(15, 3, dtype=torch.long)}, r"\(16, 3\).*\(15, 3\)"),
    ],
)
def test_inputs_that_contradict_each_other(model, change, message):
    with pytest.raises(ValueError, match=message):
        model(**{**image_inputs((1, 4, 4)), **change})


def test_window_sizes_of_the_wrong_length(model):
    inputs = image_inputs((2, 4, 4), modality="video")
    with pytest.raises(ValueError, match="Window sizes must be 1 positive"):
        model(**inputs, video_window_sizes=torch.tensor([1, 1]))


def test_generated_placeholder_ids_are_no_error(model):
    """Tokens after the prompt are the model's own: an image id among them needs no pixels."""
    inputs = image_inputs((1, 4, 4))
    bias = torch.zeros(1000)
    bias[990] = 1e4
    model.lm_head.bias = torch.nn.Parameter(bias)
    generated = model.generate(**inputs, max_new_tokens=4, do_sample=False, eos_token_id=None)
    assert generated[0, -4:].tolist() == [990] * 4


# Hardware


@pytest.mark.gpu
@pytest.mark.parametrize("implementation", ["flash_attention_2", "flex_attention", "sdpa"])
def test_attention_implementations_agree(fixtures, implementation):
    if implementation == "flash_attention_2":
        pytest.importorskip("flash_attn")
    case, inputs = load_case(fixtures, "codec_canvases")
    model = OV2ForConditionalGeneration.from_pretrained(
        fixtures / "model", attn_implementation=implementation, dtype=torch.bfloat16, device_map="cuda"
    ).eval()
    with torch.no_grad():
        logits = model(**{key: value.cuda() for key, value in inputs.items()}).logits.float().cpu()
    assert (logits - case["logits"]).norm() / case["logits"].norm() < 0.05


def test_base_model_takes_every_multimodal_argument(fixtures):
    """Trainers call the base model and the head separately."""
    case, inputs = load_case(fixtures, "codec_canvases")
    model = OV2ForConditionalGeneration.from_pretrained(fixtures / "model", dtype=torch.float32).eval()
    assert isinstance(model.base_model, OV2Model)
    with torch.no_grad():
        hidden_states = model.base_model(**inputs).last_hidden_state
        torch.testing.assert_close(model.get_output_embeddings()(hidden_states), case["logits"], **TOLERANCE)


def test_released_size_has_the_released_tensors():
    """The 8B checkpoint holds 696 tensors: 297 of the vision tower, 398 of the decoder, the head."""
    config = OV2Config(
        text_config={
            "model_type": "qwen3",
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
        }
    )
    with torch.device("meta"):
        model = OV2ForConditionalGeneration(config)
    names = list(model.state_dict())
    assert len(names) == 696
    assert sum(name.startswith("model.visual.") for name in names) == 297
    assert sum(name.startswith("model.language_model.") for name in names) == 398
