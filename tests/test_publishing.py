# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Pushing to the hub and loading back, against a local stand-in of its HTTP API.

`huggingface_hub` reads the hub's address when it is imported, so everything that talks to the stand-in runs in a
process of its own, where a connection to any other machine is an error.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub_stand_in import HubStandIn

from transformers_ov2.model_card import TEMPLATE, create_model_card, push_to_hub


FIXTURES = Path(__file__).parent / "fixtures"
CLIP = Path(__file__).parents[1] / "examples" / "assets" / "ball.mp4"
MODEL_CARDS = Path(__file__).parents[1] / "model_cards"

OWN_CARD = """---
language: en
license: cc-by-4.0
tags:
- surgery
base_model: someone/else
---

# My own words

They stay.
"""
ONLY_THIS_MACHINE = """
import sys

def refuse_other_machines(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    if host not in ("127.0.0.1", "localhost"):
        raise RuntimeError(f"connection to {host}")

sys.addaudithook(refuse_other_machines)
"""
INPUTS = """
import torch
import transformers_ov2
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor

def prepare(processor):
    content = [{"type": "video", "video": "clip.mp4"}, {"type": "text", "text": "What is it?"}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=True, return_dict=True, return_tensors="pt",
        processor_kwargs={"video_backend": "frames", "num_frames": 4, "max_pixels": 3136},
    )

@torch.no_grad()
def logits(model, processor):
    return model.eval()(**prepare(processor)).logits
"""
PUSH = """
torch.manual_seed(0)
from peft import LoraConfig, get_peft_model

expected = {}
processor = AutoProcessor.from_pretrained("released")
model = AutoModelForImageTextToText.from_pretrained("released")
transformers_ov2.push_to_hub("base", model, processor, commit_message="First model")
expected["tester/base"] = logits(model, processor)

def from_hub(cls=AutoModelForImageTextToText):
    return cls.from_pretrained("tester/base")

tuned = from_hub()
tuned.lm_head.weight.data.neg_()
transformers_ov2.push_to_hub("lab/tuned", AutoProcessor.from_pretrained("tester/base"))
transformers_ov2.push_to_hub("lab/tuned", tuned)
expected["lab/tuned"] = logits(tuned, processor)

class Renamed(transformers_ov2.OV2ForConditionalGeneration):
    pass

transformers_ov2.push_to_hub("lab/renamed", from_hub(Renamed))
transformers_ov2.push_to_hub("lab/described", from_hub())
transformers_ov2.push_to_hub("lab/described", processor)

encoder = from_hub().model.visual
transformers_ov2.push_to_hub("lab/encoder", encoder)
pixels = torch.randn(16, encoder.config.num_channels * encoder.config.patch_size**2)
expected["lab/encoder"] = pixels, encoder.eval()(pixels, torch.tensor([[1, 4, 4]])).pooler_output.detach()

def randomize(model):
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)

adapted = get_peft_model(from_hub(), LoraConfig(r=2))
randomize(adapted)
transformers_ov2.push_to_hub("lab/adapter", adapted)
expected["lab/adapter"] = logits(adapted, processor)

native = from_hub()
native.add_adapter(LoraConfig(r=2))
randomize(native)
transformers_ov2.push_to_hub("lab/native-adapter", native)
expected["lab/native-adapter"] = logits(native, processor)
torch.save(expected, "expected.pt")
"""
LOAD = """
from peft import PeftModel

expected = torch.load("expected.pt")
processor = AutoProcessor.from_pretrained("tester/base")
assert type(processor) is transformers_ov2.OV2Processor
assert AutoProcessor.from_pretrained("lab/tuned").to_dict() == processor.to_dict()

def check(model, name):
    torch.testing.assert_close(logits(model, processor), expected[name])

for name in ("tester/base", "lab/tuned"):
    model = AutoModelForImageTextToText.from_pretrained(name)
    assert type(model) is transformers_ov2.OV2ForConditionalGeneration
    check(model, name)
for name in ("lab/renamed", "lab/described"):
    check(AutoModelForImageTextToText.from_pretrained(name), "tester/base")
encoder = AutoModel.from_pretrained("lab/encoder")
assert type(encoder) is transformers_ov2.OV2VisionModel
pixels, pooled = expected["lab/encoder"]
torch.testing.assert_close(encoder(pixels, torch.tensor([[1, 4, 4]])).pooler_output, pooled)

base = AutoModelForImageTextToText.from_pretrained("tester/base")
check(PeftModel.from_pretrained(base, "lab/adapter"), "lab/adapter")
for name in ("lab/adapter", "lab/native-adapter"):
    check(AutoModelForImageTextToText.from_pretrained(name), name)
"""


@pytest.fixture(scope="module")
def hub():
    with HubStandIn.serve() as hub:
        yield hub
    assert hub.errors == []


@pytest.fixture(scope="module")
def run(hub, tmp_path_factory):
    """Runs code in a process that knows no other hub, beside `released` (remote code included) and a clip."""
    folder = tmp_path_factory.mktemp("publishing")
    shutil.copytree(FIXTURES / "hub_layout", folder / "released")
    shutil.copy(FIXTURES / "model" / "model.safetensors", folder / "released")
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        file = folder / "released" / name
        options = json.loads(file.read_text())
        file.write_text(
            json.dumps({**options, "auto_map": {"AutoTokenizer": ["processing_llava_onevision2.X", None]}})
        )
    shutil.copy(CLIP, folder / "clip.mp4")

    def run(code: str) -> str:
        result = subprocess.run(
            [sys.executable, "-c", ONLY_THIS_MACHINE + code],
            cwd=folder,
            capture_output=True,
            text=True,
            env=hub.environment(folder / "cache"),
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="module")
def pushed(hub, run):
    hub.repos["lab/described"] = [{"README.md": OWN_CARD.encode()}]
    run(INPUTS + PUSH)
    return hub


def test_everything_loads_back(pushed, run):
    run(INPUTS + LOAD)


def test_card_of_a_model_and_its_processor(pushed):
    metadata, text = pushed.card("tester/base")
    assert metadata["library_name"] == "transformers"
    assert metadata["pipeline_tag"] == "image-text-to-text"
    assert "base_model" not in metadata  # it came from a folder
    assert metadata["tags"].count("transformers-ov2") == 1
    assert text.count("pip install transformers-ov2") == text.count("import transformers_ov2") == 1
    assert 'from_pretrained("tester/base"' in text


@pytest.mark.parametrize("name", ["lab/tuned", "lab/renamed", "lab/encoder", "lab/adapter", "lab/native-adapter"])
def test_card_names_its_base_model_and_itself(pushed, name):
    metadata, text = pushed.card(name)
    adapter, encoder = "adapter" in name, "encoder" in name
    # The encoder was taken out of a model and not loaded from a repository.
    assert metadata.get("base_model") == (None if encoder else "tester/base")
    assert metadata["library_name"] == ("peft" if adapter else "transformers")
    assert metadata.get("pipeline_tag") == (None if encoder else "image-text-to-text")
    assert "transformers-ov2" in metadata["tags"]
    assert "pip install transformers-ov2" in text
    assert "import transformers_ov2" in text
    assert f'"{name}"' in text


def test_own_card_is_kept(pushed):
    metadata, text = pushed.card("lab/described")
    own_text = OWN_CARD.split("---\n", 2)[2]
    assert text.startswith(own_text)
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["base_model"] == "someone/else"
    assert metadata["tags"][0] == "surgery"
    assert metadata["library_name"] == "transformers"
    # Added once, by the first of two pushes.
    assert text.count("pip install transformers-ov2") == 1


def test_model_and_processor_are_one_commit(pushed):
    assert len(pushed.repos["tester/base"]) == 2  # the empty repository and the commit
    assert {"model.safetensors", "processor_config.json", "tokenizer.json"} < set(pushed.files("tester/base"))


def test_nothing_to_upload_is_an_error():
    with pytest.raises(ValueError, match="nothing to upload"):
        push_to_hub("lab/nothing")


def test_adapter_is_pushed_in_one_commit_without_the_model(pushed):
    assert len(pushed.repos["lab/adapter"]) == 2  # the empty repository and the commit
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} == set(pushed.files("lab/adapter"))
    assert "lora" in pushed.card("lab/adapter")[0]["tags"]  # PEFT's own tags stay


def test_nothing_of_the_remote_code_is_pushed(pushed):
    assert "auto_map" in (FIXTURES / "hub_layout" / "config.json").read_text()
    for commits in pushed.repos.values():
        for path, data in commits[-1].items():
            assert not path.endswith(".py")
            if path.endswith(".json"):
                for stale in (b'"auto_map"', b"LlavaOnevision2", b"llava_onevision2.py", b"trust_remote_code"):
                    assert stale not in data, path


@pytest.mark.parametrize("name", ["tester/base", "lab/adapter"])
def test_code_of_the_card_runs(pushed, run, name):
    (code,) = re.findall(r"```python\n(.*?)```", pushed.card(name)[1], re.DOTALL)
    # What a random model says may be nothing but spaces: the card's code must give the model that was pushed.
    check = f'\ntorch.testing.assert_close(logits(model, processor), torch.load("expected.pt")["{name}"])\n'
    assert run(INPUTS + code + check + 'print("loaded")').endswith("\nloaded\n")


def test_model_without_base_model():
    content = create_model_card("lab/first").content
    assert "base_model" not in content
    assert "None" not in content


@pytest.mark.parametrize("name", ["model", "adapter"])
def test_shown_cards_are_those_of_the_template(name):
    base_model = "lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct"
    card = create_model_card(f"your-name/your-{name}", base_model=base_model, adapter=name == "adapter")
    assert card.content == (MODEL_CARDS / f"{name}.md").read_text(encoding="utf-8")
    assert (MODEL_CARDS / "template.md").read_text(encoding="utf-8") == TEMPLATE.read_text(encoding="utf-8")
