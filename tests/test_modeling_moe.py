# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The mixture-of-experts member of the family and the other sizes."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
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
)

from transformers_ov2 import (
    OV2Config,
    OV2ForConditionalGeneration,
    OV2MoeConfig,
    OV2MoeForConditionalGeneration,
    OV2MoeModel,
    OV2Processor,
    OV2VideoProcessor,
)


NUM_EXPERTS = 4
PROMPT = [11, 12, 992, 990, 990, 990, 990, 993, 13]


@pytest.fixture
def moe_config(tiny_config):
    text = {
        "model_type": "qwen3_moe",
        "num_experts": NUM_EXPERTS,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
    }
    config = tiny_config(text=text).to_dict()
    del config["model_type"]
    return OV2MoeConfig(**config)


@pytest.fixture
def checkpoint(moe_config, tmp_path):
    OV2MoeForConditionalGeneration(moe_config).save_pretrained(tmp_path / "moe")
    return tmp_path / "moe"


def inputs():
    return {
        "input_ids": torch.tensor([PROMPT]),
        "pixel_values": torch.randn(16, 588),
        "image_grid_thw": torch.tensor([[1, 4, 4]]),
    }


def test_decoder_defaults_to_qwen3_moe():
    config = OV2MoeConfig(text_config={"hidden_size": 64})
    assert config.text_config.model_type == "qwen3_moe"
    assert (config.text_config.num_experts, config.text_config.num_experts_per_tok) == (128, 8)


@pytest.mark.parametrize("place", ["top level", "text_config"])
def test_router_options_are_read_in_either_place(moe_config, tmp_path, place):
    raw = moe_config.to_dict()
    options = {"output_router_logits": True, "router_aux_loss_coef": 0.25}
    (raw if place == "top level" else raw["text_config"]).update(options)
    config = OV2MoeConfig(**raw)
    for read in (config, config.text_config):
        assert read.output_router_logits is True and read.router_aux_loss_coef == 0.25
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).text_config.router_aux_loss_coef == 0.25


def test_experts_are_stored_one_by_one(checkpoint, tmp_path):
    """As in released files; reading and writing again changes neither names nor numbers."""
    original = load_file(checkpoint / "model.safetensors")
    for layer in range(2):
        for expert in range(NUM_EXPERTS):
            for projection in ("gate_proj", "up_proj", "down_proj"):
                name = f"model.language_model.layers.{layer}.mlp.experts.{expert}.{projection}.weight"
                assert original[name].ndim == 2
    model, report = AutoModelForImageTextToText.from_pretrained(checkpoint, output_loading_info=True)
    assert not any(report.values())
    model.save_pretrained(tmp_path / "again")
    saved = load_file(tmp_path / "again" / "model.safetensors")
    assert saved.keys() == original.keys()
    assert all(torch.equal(saved[name], original[name]) for name in original)


def test_every_auto_class_knows_it(checkpoint, fixtures):
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "chat_template.jinja"):
        shutil.copy(fixtures / "hub_layout" / name, checkpoint)
    assert type(AutoConfig.from_pretrained(checkpoint)) is OV2MoeConfig
    assert type(AutoModel.from_pretrained(checkpoint)) is OV2MoeModel
    for auto_class in (AutoModelForImageTextToText, AutoModelForMultimodalLM, AutoModelForCausalLM):
        assert type(auto_class.from_pretrained(checkpoint)) is OV2MoeForConditionalGeneration
    assert type(AutoProcessor.from_pretrained(checkpoint)) is OV2Processor
    assert AutoTokenizer.from_pretrained(checkpoint).eos_token == "<|im_end|>"
    assert AutoImageProcessor.from_pretrained(checkpoint).patch_size == 14
    path = checkpoint / "preprocessor_config.json"
    path.write_text(json.dumps({"patch_size": 14}))
    assert type(AutoVideoProcessor.from_pretrained(checkpoint)) is OV2VideoProcessor


def test_one_training_step_with_the_balancing_loss(checkpoint, tmp_path):
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, output_router_logits=True).train()
    model.config.router_aux_loss_coef = 0.5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = inputs()
    batch["labels"] = torch.where(batch["input_ids"] >= 990, -100, batch["input_ids"])
    output = model(**batch)
    without = model(**batch, output_router_logits=False)
    assert output.aux_loss > 0.5 and len(output.router_logits) == 2
    torch.testing.assert_close(output.loss, without.loss + 0.5 * output.aux_loss)
    output.loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    gates = [name for name, _ in model.named_parameters() if name.endswith("mlp.gate.weight")]
    assert len(gates) == 2
    optimizer.step()
    assert model(**batch).loss < output.loss

    model.save_pretrained(tmp_path / "trained")
    names = load_file(tmp_path / "trained" / "model.safetensors").keys()
    assert names == load_file(checkpoint / "model.safetensors").keys()


def test_generation(checkpoint):
    model = AutoModelForImageTextToText.from_pretrained(checkpoint).eval()
    batch = inputs()
    generated = model.generate(**batch, max_new_tokens=4, do_sample=False, eos_token_id=None)
    with torch.no_grad():
        batch["input_ids"] = generated[:, :-1]
        expected = model(**batch).logits[0, len(PROMPT) - 1 :].argmax(-1)
    assert generated[0, len(PROMPT) :].tolist() == expected.tolist()


# Other sizes

# hidden, intermediate, layers, heads, key-value heads, tied embeddings of Qwen3
QWEN3 = {
    "0.6B": (1024, 3072, 28, 16, 8, True),
    "1.7B": (2048, 6144, 28, 16, 8, True),
    "4B": (2560, 9728, 36, 32, 8, True),
    "8B": (4096, 12288, 36, 32, 8, False),
    "14B": (5120, 17408, 40, 40, 8, False),
    "32B": (5120, 25600, 64, 64, 8, False),
}


@pytest.mark.parametrize("size", QWEN3)
def test_qwen3_sizes_build(size):
    hidden, intermediate, layers, heads, key_value_heads, tied = QWEN3[size]
    config = OV2Config(
        text_config={
            "model_type": "qwen3",
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": key_value_heads,
            "head_dim": 128,
            "vocab_size": 151936,
            "tie_word_embeddings": tied,
        },
    )
    with torch.device("meta"):
        model = OV2ForConditionalGeneration(config)
    assert model.model.visual.merger.mlp[2].weight.shape == (hidden, 4096)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied
    decoder = sum(p.numel() for p in model.model.language_model.parameters())
    if not tied:
        decoder += model.lm_head.weight.numel()
    assert decoder / 1e9 == pytest.approx(float(size.removesuffix("B")), rel=0.06)


@pytest.mark.parametrize(
    "vision",
    [
        {"patch_size": 16},
        {"spatial_merge_size": 3},
        {"patch_size": 16, "spatial_merge_size": 3, "layer_norm_type": "rms_norm"},
    ],
    ids=str,
)
@pytest.mark.parametrize("tied", [False, True])
def test_relatives_round_trip(tiny_config, tmp_path, vision, tied):
    model = OV2ForConditionalGeneration(tiny_config(text={"tie_word_embeddings": tied}, vision=vision)).eval()
    model.save_pretrained(tmp_path)
    reloaded, report = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    merge, patch = model.config.vision_config.spatial_merge_size, model.config.vision_config.patch_size
    batch = inputs()
    batch["pixel_values"] = torch.randn(4 * merge**2, 3 * patch**2)
    batch["image_grid_thw"] = torch.tensor([[1, 2 * merge, 2 * merge]])
    with torch.no_grad():
        assert torch.equal(reloaded.eval()(**batch).logits, model(**batch).logits)
