# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from peft import AutoPeftModel, PeftModel, get_peft_model
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig
from transformers.quantizers.quantizers_utils import should_convert_module

import transformers_ov2  # noqa: F401
from transformers_ov2.training import (
    QUANTIZATION_SKIP_MODULES,
    OV2DataCollator,
    lora_config,
    set_trainable,
    to_sft_dataset,
    trainable_table,
)
from transformers_ov2.training.lora import RECIPES, part_of


@pytest.fixture
def batch(processor, mixed_rows):
    return OV2DataCollator(processor)(list(to_sft_dataset(mixed_rows)))


def trained_parts(model):
    return {part_of(name) for name, parameter in model.named_parameters() if parameter.requires_grad}


def randomize_adapter(model):
    """As after training: LoRA's B matrices start at zero."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)


@pytest.mark.parametrize(
    ("recipe", "parts"),
    [
        ("language_model", {"language_model"}),
        ("language_model+merger", {"language_model", "merger"}),
        ("all", {"language_model", "merger", "vision"}),
    ],
)
def test_what_a_recipe_trains(model, batch, recipe, parts):
    peft_model = get_peft_model(model, lora_config(recipe))
    assert trained_parts(peft_model) == parts
    randomize_adapter(peft_model)
    peft_model(**batch).loss.backward()
    idle = [
        name for name, p in peft_model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert idle == []


def test_every_linear_layer_of_both_towers_has_an_adapter(model):
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    peft_model = get_peft_model(model, lora_config("all"))
    adapted = {
        name.removeprefix("base_model.model.")
        for name, module in peft_model.named_modules()
        if hasattr(module, "lora_A")
    }
    assert adapted == {name for name in linear if name != "lm_head" and ".merger." not in name}


def test_default_target_modules_are_those_of_the_language_model(model):
    from peft import LoraConfig

    assert trained_parts(get_peft_model(model, LoraConfig())) == {"language_model"}


def test_unknown_recipes_are_refused():
    with pytest.raises(ValueError, match="must be one of"):
        lora_config("head")


def assert_exact(logits, expected):
    assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("recipe", RECIPES)
def test_adapters_reload_and_merge_exactly(checkpoint, batch, recipe, tmp_path):
    labels = batch.pop("labels")
    base = AutoModelForImageTextToText.from_pretrained(checkpoint)
    peft_model = get_peft_model(base, lora_config(recipe)).eval()
    randomize_adapter(peft_model)
    with torch.no_grad():
        expected = peft_model(**batch).logits
        bare = AutoModelForImageTextToText.from_pretrained(checkpoint)(**batch).logits
    assert (expected - bare).abs().max() > 0.1
    peft_model.save_pretrained(tmp_path / "adapter")

    base = AutoModelForImageTextToText.from_pretrained(checkpoint)
    reloaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    direct = AutoModelForImageTextToText.from_pretrained(tmp_path / "adapter").eval()
    auto = AutoPeftModel.from_pretrained(tmp_path / "adapter", import_allowlist=["transformers_ov2"]).eval()
    with torch.no_grad():
        for other in (reloaded, direct, auto):
            assert_exact(other(**batch).logits, expected)

        merged = reloaded.merge_and_unload()
        assert_exact(merged(**batch).logits, expected)
        merged.save_pretrained(tmp_path / "merged")
        saved = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
        assert type(saved).__name__ == "OV2ForConditionalGeneration"
        assert_exact(saved(**batch, labels=labels).logits, expected)


@pytest.mark.parametrize("parts", [["merger"], ["vision", "merger"], ["vision", "merger", "language_model"]])
def test_parts_are_trained(model, parts):
    set_trainable(model, parts)
    assert trained_parts(model) == set(parts)


@pytest.mark.parametrize("parts", [[], ["head"]])
def test_unknown_parts_are_refused(model, parts):
    with pytest.raises(ValueError, match="`parts` must name"):
        set_trainable(model, parts)


def test_quantization_leaves_the_vision_tower_and_the_head_alone(model):
    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    quantized = {name for name in names if should_convert_module(name, QUANTIZATION_SKIP_MODULES)}
    assert quantized == {name for name in names if "language_model" in name}


def test_qlora(checkpoint, batch):
    pytest.importorskip("bitsandbytes")
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=QUANTIZATION_SKIP_MODULES,
    )
    model = AutoModelForImageTextToText.from_pretrained(
        checkpoint, quantization_config=quantization, dtype=torch.bfloat16, device_map={"": "cpu"}
    )
    kinds = {part_of(name): module.weight.dtype for name, module in model.named_modules() if name.endswith("_proj")}
    assert kinds == {"language_model": torch.uint8}
    assert model.model.visual.encoder.layers[0].mlp.fc1.weight.dtype == torch.bfloat16
    peft_model = get_peft_model(model, lora_config("language_model+merger"))
    peft_model(**batch).loss.backward()
    assert all(p.grad is not None for p in peft_model.parameters() if p.requires_grad)


def test_table_of_trained_parameters(model):
    set_trainable(model, ["merger"])
    lines = [line.split() for line in trainable_table(model).splitlines()]
    merger = sum(p.numel() for p in model.model.visual.merger.parameters())
    total = sum(p.numel() for p in model.parameters())
    assert [line[0] for line in lines] == ["part", "vision", "merger", "language_model", "all"]
    assert lines[1][1] == "0" and lines[3][1] == "0"
    assert lines[2][1:] == [f"{merger:,}", f"{merger:,}", "100.00%"]
    assert lines[4][1:] == [f"{merger:,}", f"{total:,}", f"{merger / total:.2%}"]
