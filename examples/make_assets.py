# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Makes what the examples run on without a network: short clips with captions or questions, and a tiny checkpoint folder.

    python examples/make_assets.py            # writes examples/assets/

The clips are drawn here, frame by frame, and encoded with PyAV, so they may be shipped under the project's licence.
The checkpoint folder holds everything but weights: a model built from its config is random. The trained one,
`ov2-micro`, is what `train_micro.py` makes.
"""

import argparse
import json
from pathlib import Path

import av
import numpy as np
from synthetic import encode_clip, make_video
from synthetic.questions import question_rows
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, Qwen2Tokenizer, Qwen2VLImageProcessorPil

from transformers_ov2 import OV2Config, OV2Processor, OV2VideoProcessor


ASSETS = Path(__file__).parent / "assets"
HEIGHT, WIDTH, FPS, SECONDS = 240, 320, 25, 5
QUESTION = "What happens in the video?"
CAPTIONS = {
    "ball": "A red ball bounces three times and comes to rest.",
    "cart": "A blue cart rolls from left to right.",
    "lamp": "A lamp on the wall flashes twice.",
    "still": "Nothing moves.",
}
# A clip of the micro checkpoint's test split: (level, seed).
JUMPS = (1, 2000)
SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]


def draw_room(rng: np.random.Generator) -> np.ndarray:
    """A wall with a soft texture above a wooden floor, float32 [H, W, 3] in 0…255."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    coarse = rng.normal(0, 1, (HEIGHT // 16 + 1, WIDTH // 16 + 1)).repeat(16, 0).repeat(16, 1)[:HEIGHT, :WIDTH]
    wall = np.stack([188 + 4 * coarse - y / 8, 180 + 4 * coarse - y / 10, 165 + 4 * coarse], -1)
    boards = 12 * np.sin(x / 11) + 6 * np.sin(y / 3)
    floor = np.stack([140 + boards, 104 + boards, 70 + boards], -1)
    room = np.where((y > 170)[..., None], floor, wall)
    return room + rng.normal(0, 3, room.shape)


def draw_disc(image: np.ndarray, x: float, y: float, radius: float, color: tuple[int, int, int]) -> None:
    yy, xx = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(xx - x, yy - y)
    cover = np.clip(radius - distance + 0.5, 0, 1)[..., None]
    shade = 1 - 0.35 * np.clip(distance / radius, 0, 1)[..., None]
    image[:] = image * (1 - cover) + np.array(color) * shade * cover


def ball_height(seconds: float, height: float = 110, gravity: float = 900, bounces: int = 3) -> float:
    """Height in pixels of a ball dropped at 0 s, which keeps 45 % of its height at each bounce."""
    if seconds < 0:
        return height
    fall = (2 * height / gravity) ** 0.5
    if seconds < fall:
        return height - gravity / 2 * seconds**2
    seconds -= fall
    for _ in range(bounces):
        height *= 0.45
        rise = (2 * height / gravity) ** 0.5
        if seconds < 2 * rise:
            return height - gravity / 2 * (seconds - rise) ** 2
        seconds -= 2 * rise
    return 0.0


def draw_frame(name: str, room: np.ndarray, seconds: float) -> np.ndarray:
    image = room.copy()
    if name == "ball":
        lift = ball_height(seconds - 0.4)
        draw_disc(image, 90 + 20 * seconds, 196, 16, (60, 45, 30))
        draw_disc(image, 90 + 20 * seconds, 190 - lift, 18, (214, 40, 40))
    elif name == "cart":
        left = int(20 + 52 * seconds)
        image[150:190, left : left + 60] = (40, 80, 200)
        for wheel in (left + 14, left + 46):
            draw_disc(image, wheel, 192, 10, (30, 30, 30))
    elif name == "lamp":
        on = 1.0 <= seconds < 1.4 or 3.0 <= seconds < 3.4
        draw_disc(image, 240, 60, 22, (255, 244, 170) if on else (120, 118, 110))
    return np.clip(image, 0, 255).astype(np.uint8)


def write_clip(path: Path, name: str) -> None:
    room = draw_room(np.random.default_rng(len(name)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "26", "g": "50", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FPS * SECONDS):
            frame = av.VideoFrame.from_ndarray(draw_frame(name, room, index / FPS), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def train_tokenizer() -> Qwen2Tokenizer:
    """Byte-level BPE over the captions: small, and any text can be written in it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([*CAPTIONS.values(), QUESTION, "You are a helpful assistant."], trainer)
    bpe = json.loads(tokenizer.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=bpe["vocab"],
        merges=[tuple(merge) for merge in bpe["merges"]],
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens=SPECIAL_TOKENS[1:2] + SPECIAL_TOKENS[3:],
    )


def write_checkpoint(folder: Path) -> None:
    tokenizer = train_tokenizer()
    ids = dict(zip(SPECIAL_TOKENS, tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS)))
    config = OV2Config(
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": 16384,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "bos_token_id": None,
        },
        vision_config={
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    config.save_pretrained(folder)
    GenerationConfig(
        eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"], do_sample=False
    ).save_pretrained(folder)
    OV2Processor(
        image_processor=Qwen2VLImageProcessorPil(
            patch_size=14, merge_size=2, temporal_patch_size=1, min_pixels=56 * 56, max_pixels=200_704
        ),
        tokenizer=tokenizer,
        video_processor=OV2VideoProcessor(codec={"target_canvas": 8, "max_pixels": 50_176}),
    ).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ASSETS, help="folder to write to (default: examples/assets)")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    with open(output / "captions.jsonl", "w", encoding="utf-8") as file:
        for name, caption in CAPTIONS.items():
            write_clip(output / f"{name}.mp4", name)
            file.write(json.dumps({"video": f"{name}.mp4", "question": QUESTION, "answer": caption}) + "\n")
    scene = make_video("test", JUMPS[0], "jumps", JUMPS[1]).scene
    (output / "jumps.mp4").write_bytes(encode_clip(scene))
    with open(output / "questions.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in question_rows(scene, "jumps.mp4"))
    write_checkpoint(output / "tiny-ov2")
    for path in sorted(output.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:>8} bytes  {path.relative_to(output)}")


if __name__ == "__main__":
    main()
