# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
The pages of `examples/README.md` run: snippets one after the other, with a tiny model; commands that need none, too.
"""

import re
import shlex
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from hub_stand_in import HubStandIn
from synth import make_clip, moving_frames
from transformers import AutoModelForImageTextToText, AutoProcessor, DynamicCache

from transformers_ov2.cli import build_parser, main


ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
CHECKPOINT = "lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES, re.DOTALL)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with what the snippets name, and the hub they push to."""
    for name, seed in (("clip.mp4", 0), ("other.mp4", 1), ("clip.ts", 2)):
        make_clip(tmp_path / name, moving_frames(50, 56, 84, seed=seed))
    monkeypatch.chdir(tmp_path)
    with HubStandIn.serve() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield tmp_path, hub


@pytest.mark.slow
def test_snippets_run_one_after_the_other(workplace, tiny_model):
    folder, hub = workplace
    names = {}
    for code in blocks("python"):
        code = code.replace(CHECKPOINT, str(tiny_model)).replace("max_new_tokens=64", "max_new_tokens=2")
        code = code.replace('SFTConfig("adapter",', 'SFTConfig("adapter", use_cpu=True, bf16=False,')
        exec(compile(code, "examples/README.md", "exec"), names)
    assert (folder / "selection.png").exists() and (folder / "selection.mp4").exists()
    assert (folder / "clip-assets" / "meta.json").exists()
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    assert {"model.safetensors", "processor_config.json", "README.md"} <= hub.files("tester/my-ov2").keys()


@pytest.mark.parametrize("says", ["letters", "anything"])
def test_conversation_with_a_cache_is_the_conversation_without(tmp_path, monkeypatch, tiny_model, says):
    """The page's own snippet, from files to tokens; an answer of broken characters comes back as other tokens."""
    for name, seed in (("clip.mp4", 0), ("other.mp4", 1), ("third.mp4", 2)):
        make_clip(tmp_path / name, moving_frames(24, 56, 84, seed=seed))
    monkeypatch.chdir(tmp_path)
    processor = AutoProcessor.from_pretrained(tiny_model)
    processor.video_processor.codec = {"target_canvas": 4}
    model = AutoModelForImageTextToText.from_pretrained(tiny_model)
    if says == "letters":
        words = processor.batch_decode([[token] for token in range(model.config.text_config.vocab_size)])
        model.generation_config.suppress_tokens = [token for token, word in enumerate(words) if not word.isalpha()]
    names = {"model": model, "processor": processor, "question": {"type": "text", "text": "What happens?"}}
    encoded = []
    model.model.visual.register_forward_hook(lambda module, args, output: encoded.append(len(args[0])))
    (code,) = (block for block in blocks("python") if "DynamicCache" in block)
    exec(compile(code.replace("max_new_tokens=64", "max_new_tokens=8"), "examples/README.md", "exec"), names)
    inputs, cache, first = names["inputs"], names["cache"], names["first"]
    assert encoded == inputs["video_grid_thw"].prod(-1).tolist()  # each video once

    anew = DynamicCache(config=model.config)
    output = model.generate(**inputs, past_key_values=anew, max_new_tokens=8)
    assert names["output"].tolist() == output.tolist()
    first["content"][0]["video"] = "third.mp4"
    changed = processor.apply_chat_template([first, names["said"], names["second"]], **names["settings"])
    other = DynamicCache(config=model.config)
    model.generate(**changed, past_key_values=other, max_new_tokens=8)
    for layer, expected, different in zip(cache.layers, anew.layers, other.layers):
        torch.testing.assert_close(layer.values, expected.values, atol=1e-5, rtol=1e-4)
        last = slice(-9, None)  # after both videos
        if different is not other.layers[0]:
            assert (layer.values[:, :, last] - different.values[:, :, last]).abs().max() > 1e-4


COMMANDS = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_ones_that_exist(command, tmp_path, monkeypatch):
    words = shlex.split(command)
    if words[0] == "transformers-ov2":
        args = build_parser().parse_args(words[1:])
        if args.command in ("tokenize", "inspect"):
            for name in ("clip.mp4", "other.mp4"):
                make_clip(tmp_path / name, moving_frames(24, 56, 84))
            monkeypatch.chdir(tmp_path)
            assert main(words[1:]) == 0
        return
    assert words[0] == "python"
    if words[1] == "-m":
        assert words[2:5] == ["lmms_eval", "--model", "transformers_ov2"]
        return
    source = (ROOT / words[1]).read_text(encoding="utf-8")
    options = [word for word in words[2:] if word.startswith("--")]
    assert all(f'"{option}"' in source for option in options), command


def test_the_table_links_to_every_page():
    pages = re.findall(r"^## (.*)$", PAGES, re.MULTILINE)
    linked = re.findall(r"^\| \[(.*?)\]\(#(.*?)\)", PAGES, re.MULTILINE)
    assert [name for name, _ in linked] == pages
    assert all(anchor == name.lower().replace(" ", "-") for name, anchor in linked)
