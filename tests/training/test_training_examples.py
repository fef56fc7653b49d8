# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The training examples, each run as a user runs it, on bundled clips and a tiny model."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from datasets import load_from_disk
from PIL import Image
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig

import transformers_ov2  # noqa: F401
from transformers_ov2.training import OV2DataCollator, read_recipe


EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIGS = sorted((EXAMPLES / "accelerate").glob("*.yaml"))
RECIPES = sorted((EXAMPLES / "recipes").glob("*.yaml"))


def run(script: str, *arguments) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    # Progress bars go to stderr.
    assert "100%" in done.stderr or script == "benchmark_training.py"
    return done.stdout


def is_picture(path: Path) -> bool:
    with Image.open(path) as image:
        return image.width > 300 and len(image.convert("RGB").getcolors(2**20)) > 10


def test_sft_lora(tmp_path):
    bad = tmp_path / "rows.jsonl"
    rows = [json.loads(line) for line in (EXAMPLES / "assets" / "captions.jsonl").read_text().splitlines()]
    rows = [{**row, "video": str(EXAMPLES / "assets" / row["video"])} for row in rows]
    bad.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"video": "missing.mp4", "caption": "x"}]))
    output = run(
        *("sft_lora.py", "--data", bad, "--eval-data", EXAMPLES / "assets" / "captions.jsonl"),
        *("--output", tmp_path / "out", "--recipe", "language_model+merger", "--max-tokens", 160, "--epochs", 2),
        *("--batch-size", 2, "--accumulation", 2, "--learning-rate", 1e-3, "--merge"),
    )
    assert "4 samples of" in output and "missing.mp4" in output
    lines = output.splitlines()
    assert [sum(line.startswith(start) for line in lines) for start in ("data:  ", "model: ")] == [4, 4]
    assert "merger " in output and "100.00%" not in output
    assert is_picture(tmp_path / "out" / "loss.png")
    with safe_open(tmp_path / "out" / "adapter_model.safetensors", "pt") as adapter:
        names = list(adapter.keys())
    assert any("lora_A" in name for name in names) and any("merger" in name for name in names)
    AutoProcessor.from_pretrained(tmp_path / "out")
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "out" / "merged")
    assert type(merged).__name__ == "OV2ForConditionalGeneration"


@pytest.mark.slow
def test_sft_lora_learns_the_bundled_clips(tmp_path):
    # A random model whose tokens are made for these captions. The head stays frozen and must tell tokens apart.
    tiny = EXAMPLES / "assets" / "tiny-ov2"
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(tiny))
    torch.nn.init.normal_(model.lm_head.weight, std=0.3)
    model.save_pretrained(tmp_path / "tiny")
    AutoProcessor.from_pretrained(tiny).save_pretrained(tmp_path / "tiny")
    output = run(
        *("sft_lora.py", "--model", tmp_path / "tiny"),
        *("--output", tmp_path / "out", "--max-tokens", 256, "--epochs", 30, "--batch-size", 4),
        *("--accumulation", 1, "--learning-rate", 5e-3),
    )
    lines = [line.split(":", 1)[1].strip() for line in output.splitlines() if line.startswith(("data:", "model:"))]
    assert len(lines) == 8 and lines[::2] == lines[1::2]


@pytest.mark.slow
def test_teach_captions(tmp_path, monkeypatch, capsys, load_example):
    """Too short to learn anything: what is held is that the measurement measures, and goes on where it was stopped."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    script = load_example("teach_captions.py")
    assert script.follows_style("The figure jumps twice: 1.42 and then 3.10.")
    assert script.follows_style("The figure jumps 3 times: 1.42 and then 3.10 and then 4.00.")
    for text in (
        "The figure jumps twice: 1.42.",
        "The figure jumps once: 1.4.",
        "[1.42]",
        "The figure jumps 3 times: .",
    ):
        assert not script.follows_style(text)
    called = []

    def run_here(name, *arguments):
        called.append(name)
        with monkeypatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
            patch.setattr(sys, "argv", [name, *map(str, arguments)])
            load_example(name).main()
        return out.getvalue()

    def table() -> dict[str, list[float]]:
        sizes = ("--clips", "4", "--held-out", "2", "--epochs", "1")
        monkeypatch.setattr(sys, "argv", ["teach_captions.py", "--output", str(tmp_path), *sizes])
        script.main()
        cells = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
        return {name: [float(value) for value in values] for name, *values in cells}

    monkeypatch.setattr(script, "run", run_here)
    found = table()
    rows = [json.loads(line) for line in (tmp_path / "train" / "rows.jsonl").read_text().splitlines()]
    assert [row["question"].split()[0] for row in rows] == ["Describe", "At", "Describe", "When"] * 2
    answers = [json.loads(line) for line in (tmp_path / "before.jsonl").read_text().splitlines()[1:]]
    assert len(answers) == 6 and all(answer["answer"] for answer in answers)
    assert found["descriptions in the new style"][0] == found["descriptions right to the letter"][0] == 0
    assert called == ["evaluate.py", "sft_lora.py", "evaluate.py"]
    assert table() == found and called[3:] == ["evaluate.py"] * 2
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as adapter:
        assert any("lm_head" in name for name in adapter.keys())  # noqa: SIM118 (no mapping)


@pytest.mark.slow
def test_train_stages(tmp_path):
    output = run("train_stages.py", "--tiny", "--workers", 0, "--output", tmp_path)
    for recipe in RECIPES:
        assert f"\n{recipe.stem}: " in output
        assert is_picture(tmp_path / recipe.stem / "loss.png")
        assert not (tmp_path / recipe.stem / "bad_samples.jsonl").exists()
    first = output[: output.index("\nstage1: ")]
    assert first.count("100.00%") == 1  # the merger alone
    AutoModelForImageTextToText.from_pretrained(tmp_path / "stage4")


def test_pretokenize(tmp_path):
    arguments = ("--cache", tmp_path / "cache", "--output", tmp_path / "out", "--video", '{"max_tokens": 256}')
    output = run("pretokenize.py", *arguments)
    assert "4 streams" in output and "left out: 0 (0.00%)" in output
    dataset = load_from_disk(tmp_path / "out")
    assert len(dataset) == 4 and all(150 < length < 400 for length in dataset["length"])
    # The next step takes it as it is.
    output = run(
        "sft_lora.py", "--data", tmp_path / "out", "--cache", tmp_path / "cache", "--output", tmp_path / "lora"
    )
    assert output.count("\nmodel: ") == 4
    # Again: the streams that are there are the ones that are used.
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    run("pretokenize.py", *arguments)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")} == times


def test_benchmark_training(tmp_path):
    output = run("benchmark_training.py", "--samples", 2, "--workers", 1, "--target-canvas", 1)
    rows = [line.split("|")[1:4] for line in output.splitlines() if line.startswith(("| LoRA", "| all"))]
    assert [tuple(cell.strip() for cell in row) for row in rows] == [
        (trained, data, workers)
        for trained in ("LoRA", "all")
        for data in ("on the fly", "pre-tokenized")
        for workers in ("0", "1")
    ]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_valid(path, tmp_path):
    recipe = read_recipe(path)
    args = SFTConfig(str(tmp_path), **{**recipe.trainer, "bf16": False, "use_cpu": True})
    assert args.adam_beta2 == 0.95 and args.get_warmup_steps(10_000) == 20
    assert recipe.global_batch == 128 and recipe.max_length == 32768


def test_the_mix_of_stage_4():
    sources = read_recipe(EXAMPLES / "recipes" / "stage4.yaml").sources
    weights = {name: source.weight for name, source in sources.items()}
    assert weights["codec_384"] + weights["codec_768"] == 0.5
    assert weights["frames"] == 0.375 and weights["images"] == 0.125


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_accepts_the_configs(path, model, monkeypatch):
    # Unknown keys raise.
    assert load_config_from_file(str(path)).num_processes == 8
    arguments = launch_command_parser().parse_args(["--config_file", str(path), "script.py"])
    arguments, *_ = _validate_launch_command(arguments)
    assert arguments.mixed_precision == "bf16"
    if path.stem != "fsdp2":
        assert arguments.use_deepspeed and arguments.zero_stage == int(path.stem[-1])
        return
    # What the processes are told, and what they make of it.
    for name, value in prepare_multi_gpu_env(arguments).items():
        monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    layers = set(model._no_split_modules) & {type(module).__name__ for module in model.modules()}
    assert set(plugin.transformer_cls_names_to_wrap) == layers


def test_the_collator_notices_sharded_processes(processor, monkeypatch):
    assert not OV2DataCollator(processor).every_modality
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert OV2DataCollator(processor).every_modality
    assert not OV2DataCollator(processor, every_modality=False).every_modality
