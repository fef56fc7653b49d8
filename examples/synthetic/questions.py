# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Clips as files, and what to ask about them, for `evaluate.py` and `sft_lora.py`.

    python examples/synthetic/questions.py --output clips --split test --clips 50
    python examples/evaluate.py clips/questions.jsonl --model examples/assets/ov2-micro

`captions.jsonl` asks for a description in a style that the micro checkpoint was never trained on; LoRA teaches it:

    python examples/synthetic/questions.py --output more --split train --first 100000 --clips 200
    python examples/sft_lora.py --data more/captions.jsonl --epochs 4 --learning-rate 2e-3 --merge
"""

import argparse
import json
import sys
from pathlib import Path


if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))
from synthetic.clips import encode_clip
from synthetic.scenes import LEVELS, SPLITS, Scene
from synthetic.tasks import JUMP_TASKS, Sample, ask, make_video


CAPTION_QUESTION = "Describe the video."


def caption(sample: Sample) -> str:
    """The jumps of a scene in one sentence."""
    times = [f"{sample.scene.seconds(frame):.2f}" for frame in sample.scene.jumps]
    number = {1: "once", 2: "twice"}.get(len(times), f"{len(times)} times")
    return f"The figure jumps {number}: " + " and then ".join(times) + "."


def question_rows(scene: Scene, video: str) -> list[dict]:
    """What to ask about a scene with a figure, whose clip is the file `video`, and the answers, for `evaluate.py`."""
    samples = [ask(scene, task) for task in JUMP_TASKS]
    return [{"video": video, "question": s.question, "answer": s.truth, "task": s.task} for s in samples]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--split", default="test", choices=list(SPLITS))
    parser.add_argument("--level", type=int, default=1, choices=list(LEVELS))
    parser.add_argument("--first", type=int, default=0, help="seed of the first clip")
    parser.add_argument("--clips", type=int, default=50)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    rows = {"questions": [], "captions": []}
    for seed in range(args.first, args.first + args.clips):
        sample = make_video(args.split, args.level, JUMP_TASKS[0], seed)
        video = f"{args.split}-{args.level}-{seed}.mp4"
        (args.output / video).write_bytes(encode_clip(sample.scene))
        rows["questions"] += question_rows(sample.scene, video)
        row = {"video": video, "question": CAPTION_QUESTION, "answer": caption(sample), "task": "text"}
        rows["captions"].append(row)
    for name, found in rows.items():
        text = "".join(json.dumps(row) + "\n" for row in found)
        (args.output / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
