# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import filecmp
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_stand_in import HubStandIn
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from transformers_ov2 import OV2ForConditionalGeneration, OV2MoeForConditionalGeneration, OV2Processor, merging
from transformers_ov2.merging import convert_checkpoint, merge_checkpoints


HIDDEN = 48
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
PUBLISHED = {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


def write_language_model(folder: Path, fixtures: Path, shard_size="1GB", dtype=torch.float32, **overrides) -> Path:
    torch.manual_seed(1)
    options = {
        "vocab_size": 1000,
        "hidden_size": HIDDEN,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "initializer_range": 0.2,
        "eos_token_id": 982,
        "pad_token_id": 980,
        "bos_token_id": None,
        **overrides,
    }
    if "num_experts" in options:
        model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**options))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**options))
    model = model.to(dtype)
    model.save_pretrained(folder, max_shard_size=shard_size)
    for name in TOKENIZER_FILES:
        shutil.copyfile(fixtures / "hub_layout" / name, folder / name)
    (folder / "chat_template.jinja").write_text("{{ 'text alone' }}")
    return folder


@pytest.fixture(scope="module")
def language_model(fixtures, tmp_path_factory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("qwen3"), fixtures)


@pytest.fixture(scope="module")
def encoder(fixtures) -> Path:
    return fixtures / "encoder"


@pytest.fixture(scope="module")
def stage0(encoder, language_model, tmp_path_factory) -> Path:
    return merge_checkpoints(encoder, language_model, tmp_path_factory.mktemp("merged") / "stage0")


@pytest.fixture
def released(fixtures, tmp_path) -> Path:
    """A downloaded repository."""
    folder = tmp_path / "released"
    shutil.copytree(fixtures / "hub_layout", folder)
    shutil.copyfile(fixtures / "model" / "model.safetensors", folder / "model.safetensors")
    return folder


def load(folder: Path):
    model, report = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


def encoder_output(model: OV2ForConditionalGeneration, images: torch.Tensor) -> torch.Tensor:
    """`images` (batch, channels, height, width) → the output of the last layer, (batch, patches in raster order,
    hidden)."""
    visual, (_, _, height, width) = model.model.visual, images.shape
    patch, merge = visual.config.patch_size, visual.config.spatial_merge_size
    rows, columns = height // patch // merge, width // patch // merge
    blocks = images.reshape(len(images), 3, rows, merge, patch, columns, merge, patch)
    pixel_values = blocks.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(-1, 3 * patch**2)
    grid = torch.tensor([[1, rows * merge, columns * merge]] * len(images))
    with torch.no_grad():
        output = visual(pixel_values, grid).last_hidden_state
    output = output.reshape(len(images), rows, columns, merge, merge, -1).permute(0, 1, 3, 2, 4, 5)
    return output.reshape(len(images), -1, output.shape[-1])


def test_vision_outputs_are_the_encoders(stage0, encoder, fixtures):
    case, weights = load_file(fixtures / "encoder" / "image.safetensors"), load_file(encoder / "model.safetensors")
    output = encoder_output(load(stage0), case["pixel_values"])
    # The encoder alone ends in a norm that belongs to its pooling head.
    norm = [weights[f"layernorm_post.{name}"] for name in ("weight", "bias")]
    output = torch.nn.functional.layer_norm(output, output.shape[-1:], *norm, eps=1e-6)
    torch.testing.assert_close(output, case["last_hidden_state"], atol=1e-5, rtol=0)


def test_text_outputs_are_the_language_models(stage0, language_model):
    input_ids = torch.randint(0, 980, (2, 12))
    with torch.no_grad():
        expected = Qwen3ForCausalLM.from_pretrained(language_model)(input_ids).logits
        torch.testing.assert_close(load(stage0)(input_ids).logits, expected, atol=0, rtol=0)


def test_layout_is_the_published_one(stage0, language_model):
    assert {path.name for path in stage0.iterdir()} == PUBLISHED | {"model.safetensors"}
    config = json.loads((stage0 / "config.json").read_text())
    assert config["model_type"] == "llava_onevision2"
    assert config["architectures"] == ["OV2ForConditionalGeneration"]
    assert "auto_map" not in json.dumps(config)
    assert (config["image_token_id"], config["vision_config"]["use_head"]) == (990, False)
    assert (stage0 / "generation_config.json").read_text() == (language_model / "generation_config.json").read_text()
    for auto_class in (AutoProcessor, AutoTokenizer):
        assert "<|image_pad|>" in auto_class.from_pretrained(stage0).chat_template
    card = (stage0 / "README.md").read_text()
    assert "import transformers_ov2" in card and "freshly initialised (seed 0)" in card
    assert str(stage0.parent) not in card


def test_stage0_answers(stage0):
    processor, model = AutoProcessor.from_pretrained(stage0), load(stage0)
    assert type(processor) is OV2Processor
    image = torch.randint(0, 255, (3, 112, 84), dtype=torch.uint8)
    content = [{"type": "image", "image": image}, {"type": "text", "text": "What is it?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == 4 * 3
    output = model.generate(**inputs, max_new_tokens=2, min_new_tokens=2)
    assert output.shape[1] == inputs["input_ids"].shape[1] + 2


def test_merger_is_fresh_and_seeded(encoder, language_model, stage0, tmp_path):
    merger = {
        seed: {
            name: tensor
            for name, tensor in load_file(folder / "model.safetensors").items()
            if name.startswith("model.visual.merger.")
        }
        for seed, folder in (
            (0, stage0),
            (1, merge_checkpoints(encoder, language_model, tmp_path / "one", seed=1)),
            (2, merge_checkpoints(encoder, language_model, tmp_path / "two", seed=1)),
        )
    }
    weight = "model.visual.merger.mlp.0.weight"
    assert 0.019 < merger[0][weight].std() < 0.021
    assert not merger[0]["model.visual.merger.mlp.0.bias"].any()
    assert (merger[0]["model.visual.merger.ln_q.weight"] == 1).all()
    assert not torch.equal(merger[0][weight], merger[1][weight])
    assert torch.equal(merger[1][weight], merger[2][weight])


def test_tied_embeddings_and_dtypes_stay(encoder, fixtures, tmp_path):
    text = write_language_model(tmp_path / "text", fixtures, dtype=torch.bfloat16, tie_word_embeddings=True)
    folder = merge_checkpoints(encoder, text, tmp_path / "out", spatial_merge_size=3)
    tensors = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in tensors
    assert tensors["model.language_model.norm.weight"].dtype == torch.bfloat16
    assert tensors["model.visual.merger.mlp.2.weight"].shape == (HIDDEN, 9 * 64)
    assert tensors["model.visual.layernorm_pre.weight"].dtype == torch.float32
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto")
    assert model.dtype == torch.bfloat16
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


def test_mixture_of_experts(encoder, fixtures, tmp_path):
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    text = write_language_model(tmp_path / "text", fixtures, **experts)
    folder = merge_checkpoints(encoder, text, tmp_path / "out")
    tensors = load_file(folder / "model.safetensors")
    assert "model.language_model.layers.1.mlp.experts.3.up_proj.weight" in tensors
    model = load(folder)
    assert type(model) is OV2MoeForConditionalGeneration
    input_ids = torch.randint(0, 980, (1, 12))
    with torch.no_grad():
        expected = Qwen3MoeForCausalLM.from_pretrained(text)(input_ids).logits
        torch.testing.assert_close(model(input_ids).logits, expected, atol=1e-5, rtol=0)

    native = convert_checkpoint(folder, tmp_path / "native")
    assert json.loads((native / "config.json").read_text())["architectures"] == ["OV2MoeForConditionalGeneration"]
    set_config(text, num_experts=5, num_local_experts=5)
    with pytest.raises(
        ValueError, match=r"lack model.language_model.layers.0.mlp.experts.4|gate.weight has the shape"
    ):
        merge_checkpoints(encoder, text, tmp_path / "five")


def test_vision_tower_with_a_head(fixtures, encoder, stage0, language_model, tmp_path):
    """A whole model whose encoder ends in a norm keeps it, and its pooling head."""
    folder = tmp_path / "headed"
    shutil.copytree(stage0, folder)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["use_head"] = True
    (folder / "config.json").write_text(json.dumps(config))
    head = {
        f"model.visual.{name}": tensor
        for name, tensor in load_file(encoder / "model.safetensors").items()
        if name.startswith(("head.", "layernorm_post."))
    }
    save_file({**load_file(stage0 / "model.safetensors"), **head}, folder / "model.safetensors")
    merged = merge_checkpoints(folder, language_model, tmp_path / "out")
    case = load_file(fixtures / "encoder" / "image.safetensors")
    output = encoder_output(load(merged), case["pixel_values"])
    torch.testing.assert_close(output, case["last_hidden_state"], atol=1e-5, rtol=0)


def test_vision_tower_of_a_whole_model(released, language_model, tmp_path):
    folder = merge_checkpoints(released, language_model, tmp_path / "out")
    ours, theirs = (load_file(path / "model.safetensors") for path in (folder, released))
    visual = {name for name in theirs if name.startswith("model.visual.") and ".merger." not in name}
    assert visual and all(torch.equal(ours[name], theirs[name]) for name in visual)
    assert not torch.equal(ours["model.visual.merger.ln_q.weight"], theirs["model.visual.merger.ln_q.weight"])
    load(folder)


@pytest.fixture
def sharded(encoder, fixtures, tmp_path) -> tuple[Path, Path]:
    """The encoder with query, key and value in different files, and a language model in several."""
    folder = tmp_path / "encoder"
    shutil.copytree(encoder, folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: "b.safetensors" if "k_proj" in name else "a.safetensors" for name in tensors}
    for file in set(files.values()):
        save_file({name: tensor for name, tensor in tensors.items() if files[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return folder, write_language_model(tmp_path / "text", fixtures, shard_size="100KB")


def test_interrupted_merge_goes_on(sharded, tmp_path, monkeypatch):
    whole = merge_checkpoints(*sharded, tmp_path / "whole", max_shard_size="200KB")
    assert len(list(whole.glob("*.safetensors"))) >= 4

    written = []

    def killed(tensors, path, **kwargs):
        save_file(tensors, path, **kwargs)
        written.append(path)
        if len(written) == 3:
            Path(path).write_bytes(Path(path).read_bytes()[:1000])
            raise KeyboardInterrupt

    output = tmp_path / "again"
    with monkeypatch.context() as patch:
        patch.setattr(merging, "save_file", killed)
        with pytest.raises(KeyboardInterrupt):
            merge_checkpoints(*sharded, output, max_shard_size="200KB")
    assert not output.exists()
    with pytest.raises(ValueError, match="beginning of another merge"):
        merge_checkpoints(*sharded, output, max_shard_size="200KB", seed=1)

    first = tmp_path / "again.partial" / written[0].name.removesuffix(".partial")
    stamp = first.stat().st_mtime_ns
    merge_checkpoints(*sharded, output, max_shard_size="200KB")
    assert (output / first.name).stat().st_mtime_ns == stamp
    assert not (tmp_path / "again.partial").exists()
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in output.iterdir())
    names.remove("README.md")  # names the folder
    assert filecmp.cmpfiles(whole, output, names, shallow=False)[0] == names
    load(output)


def test_what_was_written_is_compared_with_its_source(sharded, tmp_path, monkeypatch):
    def damage(tensors, path, **kwargs):
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        next(iter(tensors.values())).view(-1)[0] += 1
        save_file(tensors, path, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(merging, "save_file", damage)
        with pytest.raises(ValueError, match="differed from the weights .* was removed"):
            merge_checkpoints(*sharded, tmp_path / "out", max_shard_size="200KB")
    assert not (tmp_path / "out").exists()
    load(merge_checkpoints(*sharded, tmp_path / "out", max_shard_size="200KB"))


def test_a_merge_that_does_not_load_is_left_to_be_looked_at(encoder, language_model, tmp_path, monkeypatch):
    """Whatever the reason: here a tensor that the plan of the merge forgot."""
    check = merging._check_tensors

    def forget(*args):
        tensors = check(*args)
        del tensors["lm_head.weight"]
        return tensors

    monkeypatch.setattr(merging, "_check_tensors", forget)
    with pytest.raises(ValueError, match="out.partial does not load: missing keys.*lm_head.weight"):
        merge_checkpoints(encoder, language_model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial" / "model.safetensors").exists()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of memory")
def test_memory_is_that_of_a_shard(encoder, fixtures, tmp_path):
    text = write_language_model(
        tmp_path / "text", fixtures, shard_size="16MB", hidden_size=512, intermediate_size=2048, num_hidden_layers=6
    )
    total = sum(path.stat().st_size for path in text.glob("*.safetensors"))
    assert total > 64 * 2**20

    def resident(field: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 2**10 for line in lines if line.startswith(field))

    merge_checkpoints(encoder, write_language_model(tmp_path / "tiny", fixtures), tmp_path / "warm")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from here
    before = resident("VmRSS")
    merge_checkpoints(encoder, text, tmp_path / "out", max_shard_size="16MB")
    # A shard and the pages of the source files that it was read from.
    assert resident("VmHWM") - before < 2.5 * 16 * 2**20


def break_tensor(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def set_config(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (lambda e, t: set_config(e, hidden_size=96, num_attention_heads=3), r"embeddings.*shape \(64, 3, 14, 14\)"),
        (lambda e, t: set_config(e, num_attention_heads=4), "multiple of 32"),
        (lambda e, t: set_config(e, num_hidden_layers=2), "no place for model.visual.encoder.layers.2"),
        (lambda e, t: set_config(e, model_type="clip_vision_model"), "is no OneVision encoder"),
        (lambda e, t: set_config(t, model_type="llama"), "is no Qwen3 language model"),
        (lambda e, t: set_config(t, hidden_size=64), r"shape \(1000, 48\), its config says \(1000, 64\)"),
        (
            lambda e, t: set_config(t, num_hidden_layers=3, layer_types=["full_attention"] * 3),
            "lack model.language_model.layers.2",
        ),
        (lambda e, t: set_config(t, quantization_config={"quant_method": "fp8"}), "is quantized"),
        (lambda e, t: set_config(t, tie_word_embeddings=True), "holds? two different ones"),
        (lambda e, t: break_tensor(t, lambda w: w.pop("lm_head.weight")), "lack lm_head.weight"),
        (lambda e, t: break_tensor(t, lambda w: w.update(extra=torch.ones(1))), "no place for extra"),
        (
            lambda e, t: break_tensor(e, lambda w: w.pop("encoder.layers.1.self_attn.v_proj.bias")),
            "layers.1.self_attn.q_proj.bias and the key and value projections",
        ),
        (lambda e, t: (t / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda e, t: (t / "model.safetensors").write_bytes(b"\x10" * 100), "model.safetensors is damaged"),
        (lambda e, t: (t / "config.json").write_text("{"), "damaged|valid JSON"),
        (lambda e, t: (t / "tokenizer.json").unlink(), "has no tokenizer"),
    ],
)
def test_refused_before_anything_is_written(encoder, language_model, tmp_path, breakage, message):
    e, t = tmp_path / "encoder", tmp_path / "text"
    shutil.copytree(encoder, e)
    shutil.copytree(language_model, t)
    breakage(e, t)
    with pytest.raises((ValueError, OSError), match=message) as error:
        merge_checkpoints(e, t, tmp_path / "out")
    assert "\n" not in str(error.value).strip()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder", "text"]


def test_vision_tokens_need_room(encoder, fixtures, tmp_path):
    text = write_language_model(tmp_path / "text", fixtures, vocab_size=985)
    with pytest.raises(ValueError, match="only 985 embeddings"):
        merge_checkpoints(encoder, text, tmp_path / "out")


def test_taken_and_missing_folders(encoder, language_model, stage0, tmp_path):
    with pytest.raises(ValueError, match="already exists"):
        merge_checkpoints(encoder, language_model, stage0)
    with pytest.raises(OSError, match="nowhere"):
        merge_checkpoints(tmp_path / "nowhere", language_model, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="config.json is missing"):
        convert_checkpoint(tmp_path / "empty", tmp_path / "out")
    assert (merge_checkpoints(encoder, language_model, tmp_path / "empty") / "config.json").is_file()


@pytest.mark.parametrize("weights", ["hardlink", "symlink", "copy"])
def test_convert(released, fixtures, tmp_path, weights):
    (released / "LICENSE").write_text("terms")
    folder = convert_checkpoint(released, tmp_path / "native", weights=weights)
    assert {path.name for path in folder.iterdir()} == PUBLISHED | {"LICENSE", "model.safetensors"}
    assert not [path for path in folder.glob("*.json") if "auto_map" in path.read_text()]
    file, source = folder / "model.safetensors", released / "model.safetensors"
    assert (file.samefile(source), file.is_symlink()) == (weights != "copy", weights == "symlink")
    assert file.read_bytes() == source.read_bytes()

    processor = AutoProcessor.from_pretrained(folder)
    assert type(processor) is OV2Processor
    assert processor.video_processor.max_frames == 768
    assert processor.video_processor.codec["target_canvas"] == 32
    case = load_file(fixtures / "model" / "two_images.safetensors")
    inputs = {name: case[name] for name in ("input_ids", "pixel_values", "image_grid_thw", "patch_positions")}
    with torch.no_grad():
        torch.testing.assert_close(load(folder)(**inputs).logits, case["logits"], atol=1e-4, rtol=0)


def test_own_card_stays(released, tmp_path):
    (released / "README.md").write_text(
        "---\nlicense: apache-2.0\ntags: [surgery]\n---\n\n# Our words\n\nThey stay.\n"
    )
    card = ModelCard.load(convert_checkpoint(released, tmp_path / "native") / "README.md")
    assert card.data.license == "apache-2.0"
    assert {"surgery", "transformers-ov2"} <= set(card.data.tags)
    assert card.text.strip().startswith("# Our words") and "import transformers_ov2" in card.text


def test_repositories(released, encoder, language_model, tmp_path):
    """Names on the hub: files are fetched, code is not, the card links to what the model was made of."""
    code = """
from transformers_ov2.merging import convert_checkpoint, merge_checkpoints
convert_checkpoint("team/ov2", "native")
merge_checkpoints("team/encoder", "team/qwen3", "stage0")
"""
    with HubStandIn.serve() as hub:
        for name, folder in (("ov2", released), ("encoder", encoder), ("qwen3", language_model)):
            hub.repos[f"team/{name}"] = [{path.name: path.read_bytes() for path in folder.iterdir()}]
        process = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=hub.environment(tmp_path / "cache"),
        )
        assert process.returncode == 0, process.stderr
        assert hub.errors == []
    assert not list(tmp_path.glob("cache/**/*.py"))
    native = tmp_path / "native" / "model.safetensors"
    assert not native.is_symlink() and native.stat().st_nlink == 2
    card = ModelCard.load(tmp_path / "stage0" / "README.md")
    assert card.data.base_model == "team/qwen3"
    assert "[team/encoder](https://huggingface.co/team/encoder)" in card.text
    load(tmp_path / "stage0")


def test_convert_refuses(released, language_model, tmp_path):
    with pytest.raises(ValueError, match="`weights` must be one of"):
        convert_checkpoint(released, tmp_path / "out", weights="move")
    with pytest.raises(ValueError, match="is no LLaVA-OneVision-2"):
        convert_checkpoint(language_model, tmp_path / "out")
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        convert_checkpoint(released, tmp_path / "out")
    assert (tmp_path / "out.partial" / "notes.txt").read_text() == "mine"
    shutil.rmtree(tmp_path / "out.partial")


def test_convert_starts_again_over_what_a_killed_run_left(released, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(merging.shutil, "rmtree", lambda *args, **kwargs: None)  # what a killed run does not do
        patch.setattr(merging, "_finish", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            convert_checkpoint(released, tmp_path / "out")
    assert (tmp_path / "out.partial").is_dir()
    convert_checkpoint(released, tmp_path / "out")
    assert not (tmp_path / "out" / "plan.json").exists() and not (tmp_path / "out.partial").exists()


def test_convert_refuses_weights_that_do_not_fit(released, tmp_path):
    break_tensor(released, lambda w: w.pop("lm_head.weight"))
    with pytest.raises(ValueError, match="does not load: missing keys.*lm_head.weight"):
        convert_checkpoint(released, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["released"]
