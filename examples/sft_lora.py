# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Clips and captions to a LoRA adapter: the shortest way to fine-tune OV2.

    python examples/sft_lora.py                                # bundled clips and micro model, no network, CPU
    python examples/sft_lora.py --model lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct \
        --data clips/captions.jsonl --output adapter
    accelerate launch --num_processes 4 examples/sft_lora.py --model … --data …

A line of the data names a video or images and what to say about them; paths start from the file's folder:

    {"video": "jump.mp4", "question": "When does she jump?", "answer": "At 3.2 seconds."}
    {"images": ["a.jpg", "b.jpg"], "question": "<image> or <image>: which is sharper?", "answer": "The second."}

Needs `pip install "transformers-ov2[train,viz]"`, and `bitsandbytes` and a GPU for `--qlora`.
"""

import argparse
from pathlib import Path
from statistics import median

import torch
from accelerate import PartialState
from datasets import Dataset, load_from_disk
from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig
from trl import SFTConfig, SFTTrainer

import transformers_ov2  # noqa: F401  registers OV2 with the AutoClasses
from transformers_ov2.training import (
    QUANTIZATION_SKIP_MODULES,
    BadSampleCallback,
    CodecStreamCache,
    OV2DataCollator,
    generate_answers,
    lora_config,
    plot_loss,
    pretokenize,
    set_training_chat_template,
    to_sft_dataset,
    trainable_table,
)


ASSETS = Path(__file__).parent / "assets"
MICRO_MODEL = ASSETS / "ov2-micro"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(MICRO_MODEL), help="hub name or folder (default: the micro model)")
    parser.add_argument(
        "--data",
        type=Path,
        default=ASSETS / "captions.jsonl",
        help="jsonl, or what pretokenize.py wrote (default: bundled clips)",
    )
    parser.add_argument("--eval-data", type=Path, help="likewise; its loss is measured every epoch")
    parser.add_argument("--output", type=Path, default=Path("ov2-lora"), help="folder of the adapter")
    parser.add_argument("--cache", type=Path, help="folder of codec streams (default: OUTPUT/cache)")
    parser.add_argument(
        "--recipe", choices=("language_model", "language_model+merger", "all"), default="language_model"
    )
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--head", action="store_true", help="train the output layer whole, for words new to the model")
    parser.add_argument("--qlora", action="store_true", help="hold the language model in 4 bits")
    parser.add_argument("--video-backend", choices=("codec", "frames"), help="default: that of the checkpoint")
    parser.add_argument("--max-tokens", type=int, help="most tokens per video, timestamps included")
    parser.add_argument("--max-length", type=int, help="longest sample in tokens; longer ones are left out")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=1, help="samples per process and forward pass")
    parser.add_argument("--accumulation", type=int, default=4, help="forward passes per step")
    parser.add_argument("--workers", type=int, default=2, help="processes that read and tokenize samples")
    parser.add_argument("--merge", action="store_true", help="also save the model with the adapter merged")
    return parser.parse_args()


def load_model(name: str, qlora: bool) -> torch.nn.Module:
    options = {"dtype": torch.bfloat16 if torch.cuda.is_available() else torch.float32}
    if qlora:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=QUANTIZATION_SKIP_MODULES,
        )
        options["device_map"] = {"": PartialState().local_process_index}
    return AutoModelForImageTextToText.from_pretrained(name, **options)


def read_data(path: Path, collator: OV2DataCollator, args: argparse.Namespace) -> Dataset:
    """Tokenizes every sample once, into the cache, and leaves the bad ones out."""
    if path.is_dir():
        return load_from_disk(path)  # as `pretokenize.py` left it
    with PartialState().main_process_first():
        rows = pretokenize(to_sft_dataset(path), collator, num_proc=args.workers or None)
        good = rows.filter(lambda error: error is None, input_columns="error")
    if not len(good):
        raise SystemExit(f"{path}: no sample can be used. The first one: {rows[0]['error']}")
    if PartialState().is_main_process:
        lengths = list(good["length"])
        print(f"{path.name}: {len(good)} samples of {min(lengths)} to {max(lengths)} tokens, median {median(lengths)}")
        for row in rows.filter(lambda error: error is not None, input_columns="error").select_columns("error"):
            print(f"  left out: {row['error']}")
    return good


def main() -> None:
    args = parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    processor = AutoProcessor.from_pretrained(args.model)
    set_training_chat_template(processor)
    if args.video_backend is not None:
        processor.video_processor.video_backend = args.video_backend
    if args.max_tokens is not None:
        processor.video_processor.max_tokens = args.max_tokens
    collator = OV2DataCollator(
        processor,
        max_length=args.max_length,
        cache=CodecStreamCache(args.cache or args.output / "cache"),
        bad_samples=args.output / "bad_samples.jsonl",
    )
    train_dataset = read_data(args.data, collator, args)
    eval_dataset = None if args.eval_data is None else read_data(args.eval_data, collator, args)

    peft_config = lora_config(args.recipe, r=args.rank, lora_alpha=2 * args.rank)
    if args.head:
        peft_config.modules_to_save = [*(peft_config.modules_to_save or []), "lm_head"]
    on_gpu = torch.cuda.is_available()
    trainer = SFTTrainer(
        model=load_model(args.model, args.qlora),
        args=SFTConfig(
            output_dir=str(args.output),
            num_train_epochs=args.epochs,
            learning_rate=args.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.03,
            per_device_train_batch_size=args.batch_size,
            per_device_eval_batch_size=args.batch_size,
            gradient_accumulation_steps=args.accumulation,
            bf16=on_gpu,
            use_cpu=not on_gpu,
            assistant_only_loss=True,
            max_length=None,
            train_sampling_strategy="group_by_length",
            remove_unused_columns=False,  # keeps the lengths; the collator takes what it needs
            dataloader_num_workers=args.workers,
            dataloader_persistent_workers=args.workers > 0,
            logging_steps=1 if len(train_dataset) < 1000 else 10,
            eval_strategy="no" if eval_dataset is None else "epoch",
            save_strategy="epoch",
            save_total_limit=1,
            report_to="none",
        ),
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        processing_class=processor,
        data_collator=collator,
        peft_config=peft_config,
        callbacks=[BadSampleCallback(collator.bad_samples)],
    )
    if trainer.is_world_process_zero():
        print(trainable_table(trainer.model))
    trainer.train()
    trainer.save_model()
    if not trainer.is_world_process_zero():
        return

    plot_loss(trainer.state.log_history, args.output / "loss.png", title=f"{args.data.name}, LoRA {args.recipe}")
    print(f"adapter and processor: {args.output}\nloss:                  {args.output / 'loss.png'}")
    # Sharded models generate only with all processes; load the adapter afterwards instead.
    if trainer.accelerator.num_processes == 1:
        model = trainer.accelerator.unwrap_model(trainer.model)
        for answer, generated in generate_answers(
            model, collator, train_dataset.select(range(min(4, len(train_dataset))))
        ):
            print(f"data:  {answer}\nmodel: {generated}")
        if args.merge:
            model.merge_and_unload().save_pretrained(args.output / "merged")
            processor.save_pretrained(args.output / "merged")
            print(f"merged model:          {args.output / 'merged'}")


if __name__ == "__main__":
    main()
