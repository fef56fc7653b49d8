# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Answer a question about a bundled clip with a bundled model, without a network.

Both lie in the folder examples/assets of a checkout; the package alone does not hold them. The picture shows which
blocks of the clip the model was given (extra viz).

examples:
  transformers-ov2 demo
  transformers-ov2 demo --model ./native --video clip.mp4 --prompt "What happens?"
"""

import argparse
import json
from pathlib import Path
from typing import Any

from .ask import media_part
from .options import NEEDS_VIZ, has_viz


# Of the checkout that the package is imported from, or that the command is run in.
ASSETS = (Path(__file__).parents[3] / "examples" / "assets", Path("examples", "assets"))
MAX_NEW_TOKENS = 64
PICTURE = "ov2-demo.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME", help="folder or repository (default: the bundled one)")
    parser.add_argument("--video", metavar="VIDEO", help="path or URL (default: the bundled clip)")
    parser.add_argument("--prompt", metavar="TEXT", help="the question (default: the bundled one)")
    parser.add_argument("--picture", default=PICTURE, metavar="FILE", help=f"picture to write (default: {PICTURE})")


def run(args: argparse.Namespace) -> int:
    bundled = _bundled()
    if bundled is None and not (args.model and args.video and args.prompt):
        raise FileNotFoundError(
            "The clip and the model of the demo are in a checkout of the repository (examples/assets), not in the "
            "package: run it there, or pass --model, --video and --prompt."
        )
    video, prompt = args.video or str(bundled["video"]), args.prompt or bundled["question"]
    truth = None if args.video or args.prompt else bundled["answer"]
    name = args.model or str(bundled["model"])
    media_part(video)

    from ..visualization import show_selection
    from .loading import codec_stream, encode, generate, has_weights, load_model, load_processor, token_account

    is_random = not has_weights(name)
    processor = load_processor(name)
    # Tokenized here and not by the processor, so that the picture shows what the model gets.
    source = processor.video_processor.open_video(video)
    stream = codec_stream(processor, source, {})
    inputs = encode(processor, [{"type": "video", "video": stream}], prompt, {})
    account = token_account(processor, inputs)
    answer, num_tokens = generate(load_model(name), processor, inputs, MAX_NEW_TOKENS)
    picture = args.picture if has_viz() else None
    if picture:
        show_selection(source, stream).savefig(picture)
    frames, tokens = stream.runs().T
    runs = list(zip(stream.seconds(frames).tolist(), tokens.tolist()))
    if args.json:
        print(
            json.dumps(
                {
                    "model": name,
                    "random_weights": is_random,
                    "video": video,
                    "prompt": prompt,
                    "answer": answer,
                    "truth": truth,
                    "tokens": {**account, "answer": num_tokens},
                    "signal_shares": stream.signal_shares,
                    "runs": runs,
                    "picture": picture,
                }
            )
        )
        return 0
    print(f"model      {name}" + (" (no weights: it is random, and so is its answer)" if is_random else ""))
    print(f"video      {video}")
    print(f"question   {prompt}")
    print(f"answer     {answer}")
    if truth is not None:
        print(f"truth      {truth}")
    print(f"tokens     {account['prompt']:,} in the prompt: {account['videos']:,} visual, {account['text']:,} of text")
    print("\n".join(_token_table(runs)))
    print(f"picture    {picture or NEEDS_VIZ}")
    return 0


def _bundled() -> dict[str, Any] | None:
    """The model of the checkout and the first of its clips, with the question about it and the answer."""
    folder = next((folder for folder in ASSETS if (folder / "questions.jsonl").is_file()), None)
    if folder is None:
        return None
    with open(folder / "questions.jsonl", encoding="utf-8") as file:
        first = json.loads(file.readline())
    return {**first, "model": folder / "ov2-micro", "video": folder / first["video"]}


def _token_table(runs: list[tuple[float, int]], rows: int = 10, width: int = 40) -> list[str]:
    """Visual tokens over the time of the video, as bars."""
    last = max(seconds for seconds, _ in runs)
    step = last / rows or 1.0
    counts = [0] * rows
    for seconds, tokens in runs:
        counts[min(int(seconds / step), rows - 1)] += tokens
    lines = [f"           {'seconds':>15} {'tokens':>7}"]
    for index, count in enumerate(counts):
        bar = "#" * round(count / max(counts) * width)
        lines.append(f"           {f'{index * step:.1f} - {(index + 1) * step:.1f}':>15} {count:>7} {bar}".rstrip())
    return lines
