# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Join a vision encoder and a language model to an untrained model (stage 0).

Weights are copied a shard at a time and compared with their source; the merger between the two is freshly
initialised. An interrupted merge goes on when the same command is given again.

examples:
  transformers-ov2 merge --encoder lmms-lab-encoder/onevision-encoder-large \\
      --language-model Qwen/Qwen3-8B --output stage0
  transformers-ov2 merge --encoder ./encoder --language-model ./qwen3 --output stage0 --merge-size 3
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoder", required=True, metavar="NAME", help="OneVision encoder, or a whole model: folder or repository"
    )
    parser.add_argument("--language-model", required=True, metavar="NAME", help="Qwen3: folder or repository")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--merge-size", type=int, metavar="N", help="side of a block in patches (default: 2)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the merger (default: 0)")
    parser.add_argument("--max-shard-size", metavar="SIZE", help="of a weight file and of memory (default: 4GB)")


def run(args: argparse.Namespace) -> int:
    from ..merging import MAX_SHARD_SIZE, merge_checkpoints

    folder = merge_checkpoints(
        args.encoder,
        args.language_model,
        args.output,
        spatial_merge_size=args.merge_size,
        seed=args.seed,
        max_shard_size=args.max_shard_size or MAX_SHARD_SIZE,
    )
    if args.json:
        print(json.dumps({"output": str(folder), "encoder": args.encoder, "language_model": args.language_model}))
    else:
        print(f"{folder}: complete, every tensor equal to its source; the merger is untrained")
    return 0
