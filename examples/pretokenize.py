# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Tokenizes the samples of a data set once, so that training reads codec streams instead of decoding videos.

    python examples/pretokenize.py                                          # bundled clips
    python examples/pretokenize.py --model lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct \
        --data clips/captions.jsonl --cache /fast/streams --output clips/tokenized --num-proc 16

May be stopped and started again: what is in the cache is not made again. `OUTPUT` is a data set with the length of
every sample in tokens (`datasets.load_from_disk`). `--cache` of `sft_lora.py` and `train_stages.py` takes the streams.

Needs `pip install "transformers-ov2[train]"`.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from transformers import AutoProcessor

import transformers_ov2  # noqa: F401  registers OV2 with the AutoClasses
from transformers_ov2.training import (
    CodecStreamCache,
    OV2DataCollator,
    pretokenize,
    set_training_chat_template,
    to_sft_dataset,
    with_video_options,
)


ASSETS = Path(__file__).parent / "assets"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ASSETS / "ov2-micro"), help="whose processor is used")
    parser.add_argument("--data", type=Path, default=ASSETS / "captions.jsonl", help="jsonl (default: bundled clips)")
    parser.add_argument("--cache", type=Path, default=Path("ov2-streams"), help="folder of codec streams")
    parser.add_argument("--output", type=Path, default=Path("ov2-tokenized"), help="folder of the data set")
    parser.add_argument("--video", type=json.loads, default={}, help='video options, as {"max_tokens": 4096}')
    parser.add_argument("--max-length", type=int, help="longest sample in tokens; longer ones are left out")
    parser.add_argument("--num-proc", type=int, default=2)
    args = parser.parse_args()

    processor = AutoProcessor.from_pretrained(args.model)
    set_training_chat_template(processor)
    collator = OV2DataCollator(processor, max_length=args.max_length, cache=CodecStreamCache(args.cache))
    rows = with_video_options(to_sft_dataset(args.data), args.video)
    start = time.perf_counter()
    measured = pretokenize(rows, collator, num_proc=args.num_proc)
    seconds = time.perf_counter() - start

    good = measured.filter(lambda error: error is None, input_columns="error")
    errors = Counter(error for error in measured["error"] if error is not None)
    streams = list(args.cache.rglob("*.safetensors"))
    print(f"{len(measured)} samples in {seconds:.1f} s, {sum(good['length']):,} tokens")
    print(f"{args.cache}: {len(streams)} streams, {sum(path.stat().st_size for path in streams) / 2**20:.1f} MiB")
    print(f"left out: {errors.total()} ({errors.total() / len(measured):.2%})")
    for error, count in errors.most_common(20):
        print(f"  {count} x {error}")
    good.save_to_disk(args.output)
    print(f"{args.output}: {len(good)} samples with their lengths")


if __name__ == "__main__":
    main()
