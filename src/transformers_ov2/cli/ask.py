# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Ask a model about videos and images.

The answer is written as it comes. Videos are read as codec streams unless --backend frames, or an option of it, asks
for whole frames. A folder that a codec tool wrote is a video; so is every file that is no picture.

examples:
  transformers-ov2 ask clip.mp4 --prompt "When does she jump?"
  transformers-ov2 ask before.jpg after.jpg --prompt "What changed?" --model ./native
  transformers-ov2 ask clip.mp4 --prompt "Describe it." --num-frames 16
  transformers-ov2 ask clip.mp4 --prompt "Describe it." --max-tokens 2000 --json
"""

import argparse
import json
import os
import time
from typing import Any

from .options import add_codec_arguments, codec_config, codec_options, positive


MODEL = "lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct"
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("media", nargs="+", metavar="VIDEO_OR_IMAGE", help="paths or URLs, in the order of the prompt")
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="the question")
    parser.add_argument("--model", default=MODEL, metavar="NAME", help=f"folder or repository (default: {MODEL})")
    parser.add_argument(
        "--max-new-tokens", type=positive(int), default=512, metavar="N", help="of the answer (default: 512)"
    )
    parser.add_argument("--backend", choices=("codec", "frames"), help="how videos are read (default: the model's)")
    frames = parser.add_argument_group("frames")
    frames.add_argument("--num-frames", type=positive(int), metavar="N", help="frames of a video")
    frames.add_argument("--fps", type=positive(float), metavar="N", help="frames of a second")
    add_codec_arguments(parser)


def run(args: argparse.Namespace) -> int:
    videos = video_options(args)
    media = [media_part(item) for item in args.media]

    from transformers import TextStreamer

    from .loading import encode, generate, has_weights, load_model, load_processor, token_account

    start = time.perf_counter()
    if not has_weights(args.model):
        raise ValueError(f"{args.model} holds no weights (*.safetensors).")
    processor = load_processor(args.model)
    # What cannot be read is said before a large model is loaded.
    inputs = encode(processor, media, args.prompt, videos)
    model = load_model(args.model)
    streamer = None
    if not args.json:
        streamer = TextStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
    answer, num_tokens = generate(model, processor, inputs, args.max_new_tokens, streamer)
    if args.json:
        account = {**token_account(processor, inputs), "answer": num_tokens}
        seconds = round(time.perf_counter() - start, 3)
        print(json.dumps({"answer": answer, "model": args.model, "tokens": account, "seconds": seconds}))
    return 0


def video_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options of the video processor, as a call takes them; contradicting ones are wrong usage."""
    frames = {name: getattr(args, name) for name in ("num_frames", "fps") if getattr(args, name) is not None}
    codec = codec_options(args)
    # Limits that mean the same for frames.
    shared = {name: codec.pop(name) for name in ("max_pixels", "max_tokens") if name in codec}
    backend = args.backend or ("frames" if frames else None)
    if len(frames) > 1:
        args.usage_error("--num-frames and --fps exclude each other")
    if frames and backend == "codec":
        args.usage_error("--num-frames and --fps choose whole frames: leave --backend codec out")
    if codec and backend == "frames":
        names = ", ".join(f"--{name.replace('_', '-')}" for name in codec)
        args.usage_error(f"{names}: for codec streams, not for --backend frames")
    if codec:
        codec_config(args)
    options = {**frames, **shared}
    if backend:
        options["video_backend"] = backend
    if codec:
        options["codec"] = codec
    return options


def media_part(item: str) -> dict[str, str]:
    """A part of a message: an image by its suffix, else a video. What is not there is refused before a model loads."""
    path = item.partition("?")[0] if "://" in item else item
    if "://" not in item and not os.path.exists(item):
        raise FileNotFoundError(f"{item}: no such file.")
    kind = "image" if path.lower().endswith(IMAGE_SUFFIXES) else "video"
    return {"type": kind, kind: item}
