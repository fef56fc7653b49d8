# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Trains OV2 by recipes, one after the other, each from the model that the one before it saved.

    python examples/train_stages.py --tiny                             # all stages on bundled clips, a few steps, CPU
    accelerate launch --config_file examples/accelerate/fsdp2.yaml examples/train_stages.py \
        --model merged-encoder-and-llm --data-root /data --output runs \
        --recipes examples/recipes/stage1_merger.yaml examples/recipes/stage1.yaml examples/recipes/stage2.yaml

A recipe names its data by file; the files lie in the data root. Their lines are those of `sft_lora.py`.

Needs `pip install "transformers-ov2[train,viz]"`.
"""

import argparse
import json
from pathlib import Path

import PIL.Image
import torch
from accelerate import PartialState
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer

import transformers_ov2  # noqa: F401  registers OV2 with the AutoClasses
from transformers_ov2.codec.reading.decoding import decode_frames
from transformers_ov2.codec.reading.packets import read_packets
from transformers_ov2.codec.reading.source import open_source
from transformers_ov2.training import (
    BadSampleCallback,
    CodecStreamCache,
    OV2DataCollator,
    Recipe,
    generate_answers,
    load_sources,
    mix,
    plot_loss,
    read_recipe,
    set_trainable,
    set_training_chat_template,
    trainable_table,
)


EXAMPLES = Path(__file__).parent
ASSETS = EXAMPLES / "assets"
STAGES = [EXAMPLES / "recipes" / f"{name}.yaml" for name in ("stage1_merger", "stage1", "stage2", "stage3", "stage4")]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="hub name or folder")
    parser.add_argument("--recipes", type=Path, nargs="+", default=STAGES, help="YAML files (default: all stages)")
    parser.add_argument("--data-root", type=Path, help="folder of the data that recipes name")
    parser.add_argument("--output", type=Path, default=Path("ov2-stages"))
    parser.add_argument("--cache", type=Path, help="folder of codec streams (default: OUTPUT/cache)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read and tokenize samples")
    parser.add_argument("--tiny", action="store_true", help="tiny random model, bundled clips, four steps per stage")
    args = parser.parse_args()
    if not args.tiny and (args.model is None or args.data_root is None):
        parser.error("--model and --data-root are required, or --tiny")
    return args


def make_tiny(args: argparse.Namespace) -> None:
    """A random model, and the bundled clips as the data of every recipe: images where it wants images."""
    args.model, args.data_root = str(args.output / "tiny"), args.output / "data"
    if PartialState().is_main_process:
        torch.manual_seed(0)
        config = AutoConfig.from_pretrained(ASSETS / "tiny-ov2")
        AutoModelForImageTextToText.from_config(config).save_pretrained(args.model)
        AutoProcessor.from_pretrained(ASSETS / "tiny-ov2").save_pretrained(args.model)

        args.data_root.mkdir(parents=True, exist_ok=True)
        rows = [json.loads(line) for line in (ASSETS / "captions.jsonl").read_text().splitlines()]
        videos = [{**row, "video": str(ASSETS / row["video"])} for row in rows]
        images = []
        for row in videos:
            source = open_source(row["video"])
            (frame,) = decode_frames(source, read_packets(source), [50])
            path = args.data_root / Path(row["video"]).with_suffix(".png").name
            PIL.Image.fromarray(frame.image).save(path)
            images.append({"image": str(path), "question": "What is in the picture?", "answer": row["answer"]})
        for recipe in map(read_recipe, args.recipes):
            for source in recipe.sources.values():
                lines = videos if source.video else images
                (args.data_root / source.data).write_text("".join(json.dumps(line) + "\n" for line in lines))
    PartialState().wait_for_everyone()


def shrink(recipe: Recipe) -> None:
    """A few steps of small samples on a CPU."""
    recipe.global_batch = 2
    recipe.trainer |= {"max_steps": 4, "bf16": False, "use_cpu": True, "learning_rate": 1e-3}
    for source in recipe.sources.values():
        if source.video:
            source.video["max_tokens"] = 192


def train_stage(recipe: Recipe, model_path: str, output: Path, args: argparse.Namespace) -> None:
    processor = AutoProcessor.from_pretrained(model_path)
    set_training_chat_template(processor)
    model = AutoModelForImageTextToText.from_pretrained(model_path, dtype=torch.float32)
    set_trainable(model, recipe.train)
    sources = load_sources(recipe, args.data_root)
    dataset = mix(sources, {name: source.weight for name, source in recipe.sources.items()})

    output.mkdir(parents=True, exist_ok=True)
    collator = OV2DataCollator(
        processor,
        max_length=recipe.max_length,
        cache=CodecStreamCache(args.cache or args.output / "cache"),
        bad_samples=output / "bad_samples.jsonl",
    )
    per_step = recipe.trainer.get("per_device_train_batch_size", 1) * PartialState().num_processes
    if recipe.global_batch % per_step:
        raise ValueError(
            f"The global batch ({recipe.global_batch}) is no multiple of the samples per pass ({per_step})."
        )
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            **{
                "output_dir": str(output),
                "per_device_train_batch_size": 1,
                "gradient_accumulation_steps": recipe.global_batch // per_step,
                "assistant_only_loss": True,
                "max_length": None,
                "dataloader_num_workers": args.workers,
                "logging_steps": 1,
                "save_steps": 1000,
                "save_total_limit": 1,
                "report_to": "none",
                **recipe.trainer,
            }
        ),
        train_dataset=dataset,
        processing_class=processor,
        data_collator=collator,
        callbacks=[BadSampleCallback(collator.bad_samples)],
    )
    if trainer.is_world_process_zero():
        shares = {name: f"{source.weight:g}" for name, source in recipe.sources.items()}
        print(f"\n{output.name}: {len(dataset)} samples, weights {shares}\n{trainable_table(model)}")
    trainer.train()
    trainer.save_model()
    if trainer.is_world_process_zero():
        plot_loss(trainer.state.log_history, output / "loss.png", title=output.name)
        print(f"model and processor: {output}\nloss: {output / 'loss.png'}")
        # Sharded models generate only with all processes; load the saved model instead.
        if trainer.accelerator.num_processes == 1:
            for name, source in sources.items():
                ((answer, generated),) = generate_answers(trainer.model, collator, source.select([0]), 32)
                print(f"{name}, data:  {answer}\n{name}, model: {generated}")


def main() -> None:
    args = parse_args()
    if args.tiny:
        make_tiny(args)
    model_path = args.model
    for path in args.recipes:
        recipe = read_recipe(path)
        if args.tiny:
            shrink(recipe)
        train_stage(recipe, model_path, args.output / path.stem, args)
        model_path = str(args.output / path.stem)


if __name__ == "__main__":
    main()
