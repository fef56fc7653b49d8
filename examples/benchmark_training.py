# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Training throughput: what waiting for data costs, on the fly against pre-tokenized, and what LoRA saves.

    python examples/benchmark_training.py                                   # tiny model, bundled clips, CPU
    python examples/benchmark_training.py --layers 4                        # layers of the 8B's size, on a GPU in bf16

The clips are read over and over: without a cache of codec streams (on the fly), or from a full one (pre-tokenized). A
step is one sample: forward, backward, AdamW, with gradient checkpointing.

Needs `pip install "transformers-ov2[train]"`.
"""

import argparse
import platform
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForImageTextToText, AutoProcessor

from transformers_ov2 import OV2Config
from transformers_ov2.training import (
    CodecStreamCache,
    OV2DataCollator,
    lora_config,
    pretokenize,
    set_training_chat_template,
    to_sft_dataset,
)


ASSETS = Path(__file__).parent / "assets"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processor", default=str(ASSETS / "tiny-ov2"), help="hub name or folder")
    parser.add_argument("--data", type=Path, default=ASSETS / "captions.jsonl", help="jsonl (default: bundled clips)")
    parser.add_argument("--samples", type=int, default=24, help="samples that are timed per method")
    parser.add_argument("--workers", type=int, default=2, help="data-loader workers")
    parser.add_argument(
        "--layers", type=int, help="decoder layers of the 8B's size, all vision layers; random weights"
    )
    parser.add_argument("--target-canvas", type=int, help="canvases per video (default: the processor's)")
    parser.add_argument("--max-pixels", type=int, help="pixels per canvas (default: the processor's)")
    return parser.parse_args()


def make_config(args: argparse.Namespace) -> OV2Config:
    config = OV2Config.from_pretrained(ASSETS / "tiny-ov2")
    if args.layers is None:
        return config
    # The released 8B, but for the number of decoder layers and the vocabulary of the tokenizer at hand.
    text = config.text_config.to_dict() | {
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": args.layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "layer_types": None,
    }
    vision = config.vision_config.to_dict() | {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "out_hidden_size": 4096,
    }
    return OV2Config(**(config.to_dict() | {"text_config": text, "vision_config": vision}))


def make_model(config: OV2Config, lora: bool, device: torch.device) -> torch.nn.Module:
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = AutoModelForImageTextToText.from_config(config, dtype=dtype).to(device)
    model.gradient_checkpointing_enable()
    if lora:
        model = get_peft_model(model, lora_config("language_model"))
        model.enable_input_require_grads()
    return model.train()


def run(model, rows: Dataset, collator: OV2DataCollator, workers: int, device: torch.device) -> dict[str, float]:
    """Times one pass over the rows; the first step is not counted."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    loader = DataLoader(rows, batch_size=1, collate_fn=collator, num_workers=workers)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    waited = tokens = counted = 0
    batches = iter(loader)
    start = None
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        if start is not None:
            waited += time.perf_counter() - asked
            tokens += batch["input_ids"].numel()
            counted += 1
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        model(**batch, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if start is None:
            start = time.perf_counter()
    seconds = time.perf_counter() - start
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
    return {
        "samples/s": counted / seconds,
        "tokens/s": tokens / seconds,
        "waiting": waited / seconds,
        "ms per sample": 1000 * waited / counted,
        "memory": memory,
    }


def main() -> None:
    args = parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    processor = AutoProcessor.from_pretrained(args.processor)
    set_training_chat_template(processor)
    codec = {"target_canvas": args.target_canvas, "max_pixels": args.max_pixels}
    codec = {name: value for name, value in codec.items() if value is not None}
    processor.video_processor.codec = {**(processor.video_processor.codec or {}), **codec}
    clips = to_sft_dataset(args.data)
    # One more than is timed, for the step that is not counted.
    rows = clips.select([index % len(clips) for index in range(args.samples + 1)])
    config = make_config(args)

    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU"
    with torch.device("meta"):
        parameters = sum(p.numel() for p in AutoModelForImageTextToText.from_config(config).parameters())
    print(
        f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}, {parameters / 1e6:,.1f} M weights"
    )
    with tempfile.TemporaryDirectory() as folder:
        full = CodecStreamCache(Path(folder) / "full")
        measured = pretokenize(clips, OV2DataCollator(processor, cache=full))
        print(f"{args.samples} samples per line, {min(measured['length'])} to {max(measured['length'])} tokens\n")
        print("| trained | data | workers | samples/s | tokens/s | waiting for data | per sample | GPU memory |")
        print("|---|---|---:|---:|---:|---:|---:|---:|")
        for lora in (True, False):
            model = make_model(config, lora, device)
            for cache, name in ((None, "on the fly"), (full, "pre-tokenized")):
                for workers in dict.fromkeys((0, args.workers)):
                    result = run(model, rows, OV2DataCollator(processor, cache=cache), workers, device)
                    memory = f"{result['memory']:.1f} GiB" if device.type == "cuda" else "–"
                    print(
                        f"| {'LoRA' if lora else 'all'} | {name} | {workers} | {result['samples/s']:.2f} | "
                        f"{result['tokens/s']:,.0f} | {result['waiting']:.1%} | {result['ms per sample']:.0f} ms | "
                        f"{memory} |",
                        flush=True,
                    )
            del model


if __name__ == "__main__":
    main()
