# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""What is trained: LoRA configurations, whole parts of the model, and a table of the result."""

from collections.abc import Iterable

from peft import LoraConfig
from torch import nn

from ..auto import LORA_TARGET_MODULES


# The linear layers of the vision tower's blocks; the merger is small and trained whole.
VISION_TARGET_MODULES = r".*visual\.encoder.*\.(qkv|proj|fc1|fc2)"
# For `BitsAndBytesConfig(llm_int8_skip_modules=...)`, which matches names from their start and replaces the defaults.
QUANTIZATION_SKIP_MODULES = ["model.visual", "lm_head"]
RECIPES = ("language_model", "language_model+merger", "all")
# Parts of the model in the order of the data, by their prefix (without that of wrappers).
PARTS = {
    "vision": ("model.visual.embeddings.", "model.visual.layernorm_", "model.visual.encoder."),
    "merger": ("model.visual.merger.",),
    "language_model": ("model.language_model.", "lm_head."),
}


def lora_config(recipe: str = "language_model", **kwargs) -> LoraConfig:
    """
    A LoRA configuration for an OV2 model.

    Args:
        recipe (`str`, defaults to `"language_model"`):
            `"language_model"`: adapters in the language model's linear layers. `"language_model+merger"`: the merger
            is trained as well, whole, and saved with the adapter. `"all"`: adapters in the vision tower, too.
        kwargs: arguments of `peft.LoraConfig`. Defaults: `r=16`, `lora_alpha=32`, `lora_dropout=0.05`.

    Returns:
        `peft.LoraConfig`, for `SFTTrainer(peft_config=...)` or `peft.get_peft_model`.

    Raises:
        ValueError: the recipe is unknown.
    """
    if recipe not in RECIPES:
        raise ValueError(f"`recipe` must be one of {RECIPES}, got {recipe!r}.")
    target_modules = LORA_TARGET_MODULES
    if recipe == "all":
        target_modules = f"{LORA_TARGET_MODULES}|{VISION_TARGET_MODULES}"
    defaults = {
        "r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "target_modules": target_modules,
        "modules_to_save": None if recipe == "language_model" else ["merger"],
    }
    return LoraConfig(**{**defaults, **kwargs})


def set_trainable(model: nn.Module, parts: Iterable[str]) -> None:
    """
    Train the named parts of an OV2 model and freeze the others.

    Args:
        model (`OV2ForConditionalGeneration`): the model, changed in place.
        parts (`Iterable[str]`): any of `"vision"`, `"merger"`, `"language_model"` (its embeddings and head included).

    Raises:
        ValueError: a part is unknown, or none is named.
    """
    parts = list(parts)
    if not parts or (unknown := sorted(set(parts) - PARTS.keys())):
        raise ValueError(f"`parts` must name some of {tuple(PARTS)}, got {parts if not parts else unknown}.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in parts)


def part_of(name: str) -> str:
    """The part (`"vision"`, `"merger"` or `"language_model"`) of a parameter of an OV2 model, bare or in PEFT."""
    name = name.removeprefix("base_model.model.")
    for part, prefixes in PARTS.items():
        if name.startswith(prefixes):
            return part
    raise ValueError(f"`{name}` is no parameter of an OV2 model.")


def trainable_table(model: nn.Module) -> str:
    """A table of the parameters of each part of an OV2 model, bare or in PEFT: all, trained, and their share."""
    rows = {part: [0, 0] for part in PARTS}
    for name, parameter in model.named_parameters():
        # A 4-bit weight holds two parameters per element.
        size = parameter.numel() * (2 if type(parameter).__name__ == "Params4bit" else 1)
        row = rows[part_of(name)]
        row[0] += size * parameter.requires_grad
        row[1] += size
    rows["all"] = [sum(counts) for counts in zip(*rows.values())]
    lines = [f"{'part':<16}{'trained':>16}{'all':>16}{'share':>9}"]
    for part, (trained, size) in rows.items():
        lines.append(f"{part:<16}{trained:>16,}{size:>16,}{trained / max(size, 1):>9.2%}")
    return "\n".join(lines)
