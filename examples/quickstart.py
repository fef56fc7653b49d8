# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Asks an OV2 model about a video, and shows as text what the model was shown.

    python examples/quickstart.py                                   # bundled clip and model, no network
    python examples/quickstart.py --model lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct --video clip.mp4 \
        --question "When does she jump?"
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import transformers_ov2  # noqa: F401  registers OV2 with the AutoClasses
from transformers_ov2.evaluation.parsers import parse_seconds


ASSETS = Path(__file__).parent / "assets"
MICRO_MODEL = ASSETS / "ov2-micro"
# From dark to bright. A character is as high as a patch and half as wide, which is its shape in a terminal.
RAMP = " .:-=+*#%@"
SCREEN_WIDTH = 96


def print_token_account(processor, inputs, metadata) -> None:
    """Where the prompt's tokens go: visual tokens stand for blocks of patches, timestamps are text between them."""
    total = inputs["input_ids"].shape[1]
    visual = int((inputs["input_ids"] == processor.video_token_id).sum())
    rows, height, width = inputs["video_grid_thw"][0].tolist()
    print(f"prompt            {total:>7} tokens")
    print(f"  visual          {visual:>7} tokens = {rows} x {height} x {width} patches, merged 2x2")
    print(f"  text            {total - visual:>7} tokens, timestamps included")
    print(f"  source frames   {len(set(metadata.frames_indices)):>7} (of {metadata.total_num_frames})")
    print(f"  attention       {int(inputs['video_window_sizes'][0]):>7} canvases or frames per window")


def draw_frame(processor, inputs, frame: int) -> list[str]:
    """The tokens of one source frame as lines of text; blank where the model was shown nothing of it."""
    video_processor, positions = processor.video_processor, inputs["video_patch_positions"]
    patch = video_processor.patch_size
    rows, columns = (positions[:, axis].max().item() + 1 for axis in (1, 2))
    here = positions[:, 0] == frame
    pixels = inputs["pixel_values_videos"][here].unflatten(1, (3, patch, patch))
    scale = torch.tensor([video_processor.image_mean, video_processor.image_std])[..., None, None]
    luma = (pixels * scale[1] + scale[0]).mean(1)
    halves = luma.unflatten(2, (2, patch // 2)).mean((1, 3)).clamp(0, 1)  # (patches, 2)
    lines = np.full((rows, 2 * columns), " ")
    low, high = halves.min(), halves.max()
    shades = ((halves - low) / (high - low + 1e-6) * (len(RAMP) - 2)).round().long() + 1
    for (row, column), (left, right) in zip(positions[here, 1:].tolist(), shades.tolist()):
        lines[row, 2 * column : 2 * column + 2] = RAMP[left], RAMP[right]
    return ["".join(line) for line in lines]


def print_pictures(processor, inputs, metadata, times: list[float]) -> None:
    """What the model was shown at these times, side by side."""
    shown = {}
    for time in times:
        nearest = min(range(len(metadata.seconds)), key=lambda index: abs(metadata.seconds[index] - time))
        shown.setdefault(metadata.frames_indices[nearest], metadata.seconds[nearest])
    pictures = [(f"{seconds:.2f} s", draw_frame(processor, inputs, frame)) for frame, seconds in shown.items()]
    width = len(pictures[0][1][0])
    per_line = max(1, SCREEN_WIDTH // (width + 3))
    for start in range(0, len(pictures), per_line):
        part = pictures[start : start + per_line]
        print()
        print("   ".join(title.center(width) for title, _ in part).rstrip())
        for lines in zip(*(picture for _, picture in part)):
            print(" | ".join(lines))


def true_answer(video: Path, question: str) -> object:
    """What the bundled questions say about a bundled clip; `None` where they do not ask this."""
    if video.parent.resolve() != ASSETS.resolve():
        return None
    rows = map(json.loads, (ASSETS / "questions.jsonl").read_text(encoding="utf-8").splitlines())
    return next((r["answer"] for r in rows if (r["video"], r["question"]) == (video.name, question)), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default=str(MICRO_MODEL), help="hub name or folder (default: the bundled micro model)"
    )
    parser.add_argument("--video", default=str(ASSETS / "jumps.mp4"), help="video file (default: the bundled clip)")
    parser.add_argument("--question", default="At which seconds does the figure jump?")
    parser.add_argument("--video-backend", choices=("codec", "frames"), default="codec")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    args = parser.parse_args()

    processor = AutoProcessor.from_pretrained(args.model)
    model = AutoModelForImageTextToText.from_pretrained(args.model, dtype="auto", device_map="auto").eval()
    content = [{"type": "video", "video": args.video}, {"type": "text", "text": args.question}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"video_backend": args.video_backend, "return_metadata": True},
    )
    (metadata,) = inputs.pop("video_metadata")
    print(f"video             {args.video} ({args.video_backend})")
    print_token_account(processor, inputs, metadata)

    output = model.generate(**inputs.to(model.device), max_new_tokens=args.max_new_tokens, do_sample=False)
    answer = processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    print(f"question          {args.question}")
    print(f"answer            {answer}")
    if (truth := true_answer(Path(args.video), args.question)) is not None:
        print(f"truth             {truth}")
    if times := parse_seconds(answer):
        print("\nWhat the model was shown at these seconds (blank: nothing):")
        print_pictures(processor, inputs.to("cpu"), metadata, times)


if __name__ == "__main__":
    main()
