# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Turn a released repository into a native one.

Config, processor and tokenizer are saved as this package saves them, without remote code; the weight files stay what
they are, linked or copied.

examples:
  transformers-ov2 convert lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct --output native
  transformers-ov2 convert ./downloaded --output /other/disk/native --weights copy
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="folder or repository")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--weights",
        choices=("hardlink", "symlink", "copy"),
        default="hardlink",
        help="how the weight files get there (default: hardlink)",
    )


def run(args: argparse.Namespace) -> int:
    from ..merging import convert_checkpoint

    folder = convert_checkpoint(args.source, args.output, weights=args.weights)
    if args.json:
        print(json.dumps({"output": str(folder), "source": args.source, "weights": args.weights}))
    else:
        print(f"{folder}: complete, loads without a missing or unexpected key (weights: {args.weights})")
    return 0
