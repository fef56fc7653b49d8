# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Asks an OV2 model about a video.

    python examples/quickstart.py                                   # bundled clip, tiny model, no network
    python examples/quickstart.py --model lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct --video clip.mp4 \
        --question "When does she jump?"
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

import transformers_ov2  # noqa: F401  registers OV2 with the AutoClasses


ASSETS = Path(__file__).parent / "assets"
TINY_MODEL = ASSETS / "tiny-ov2"


def load_model(name: str):
    if Path(name).is_dir() and not list(Path(name).glob("*.safetensors")):
        print(f"{name} holds no weights: built from its config, the model is random, and so is its answer.")
        torch.manual_seed(0)
        return AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(name)).eval()
    return AutoModelForImageTextToText.from_pretrained(name, dtype="auto", device_map="auto").eval()


def print_token_account(processor, inputs) -> None:
    """Where the prompt's tokens go: visual tokens stand for blocks of patches, timestamps are text between them."""
    total = inputs["input_ids"].shape[1]
    visual = int((inputs["input_ids"] == processor.video_token_id).sum())
    rows, height, width = inputs["video_grid_thw"][0].tolist()
    frames = inputs["video_patch_positions"][:, 0].unique()
    frames = frames[frames >= 0]
    print(f"prompt            {total:>7} tokens")
    print(f"  visual          {visual:>7} tokens = {rows} x {height} x {width} patches, merged 2x2")
    print(f"  text            {total - visual:>7} tokens, timestamps included")
    print(f"  source frames   {len(frames):>7} (first {int(frames[0])}, last {int(frames[-1])})")
    print(f"  attention       {int(inputs['video_window_sizes'][0]):>7} canvases or frames per window")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default=str(TINY_MODEL), help="hub name or folder (default: the bundled tiny model)"
    )
    parser.add_argument("--video", default=str(ASSETS / "ball.mp4"), help="video file (default: the bundled clip)")
    parser.add_argument("--question", default="What happens in the video?")
    parser.add_argument("--video-backend", choices=("codec", "frames"), default="codec")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    args = parser.parse_args()

    processor = AutoProcessor.from_pretrained(args.model)
    model = load_model(args.model)
    messages = [
        {
            "role": "user",
            "content": [{"type": "video", "video": args.video}, {"type": "text", "text": args.question}],
        }
    ]
    inputs = processor.apply_chat_template(
        messages,
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"video_backend": args.video_backend},
    )
    print(f"video             {args.video} ({args.video_backend})")
    print_token_account(processor, inputs)

    output = model.generate(**inputs.to(model.device), max_new_tokens=args.max_new_tokens, do_sample=False)
    answer = output[0, inputs["input_ids"].shape[1] :]
    print(f"question          {args.question}")
    print(f"generated ids     {answer.tolist()}")
    print(f"answer            {processor.decode(answer, skip_special_tokens=True)!r}")


if __name__ == "__main__":
    main()
