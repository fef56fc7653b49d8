# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Teaches a trained model to describe clips in a new style with LoRA, and measures whether what it could do survives.

    python examples/teach_captions.py --output taught

Clips are drawn here; `sft_lora.py` trains on descriptions ("The figure jumps twice: 1.42 and then 3.10.") and, as
rehearsal, on an old question about each clip; `evaluate.py` asks before and after. Clips that are asked about
are of the test split, whose look no training clip has. Prints a table. Started again, it goes on where it was stopped.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from synthetic.clips import encode_clip
from synthetic.questions import CAPTION_QUESTION, caption
from synthetic.tasks import ask, make_video

from transformers_ov2.evaluation.metrics import jump_score
from transformers_ov2.evaluation.samples import read_samples


EXAMPLES = Path(__file__).parent
# Seeds that neither the micro checkpoint was trained on nor its card was measured with.
FIRST_SEED = 100_000
TIME = r"\d+\.\d\d"
STYLE = re.compile(rf"The figure jumps (once|twice|(\d+) times): {TIME}(?: and then {TIME})*\.")
# Words that were never answers have to be learnt by the output layer, too.
TRAINING = ("--head", "--rank", "16", "--learning-rate", "2e-3", "--batch-size", "8", "--accumulation", "1")


def write_clips(folder: Path, split: str, clips: int, tasks: list[list[str]], truths: bool) -> Path:
    """
    Clips of level 1 and rows of what to ask about them: a description each, and the tasks in turn. Answers are what a
    model is to say, or, with `truths`, what `evaluate.py` compares it with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(clips):
        sample = make_video(split, 1, "jumps", FIRST_SEED + index)
        video = f"{index}.mp4"
        (folder / video).write_bytes(encode_clip(sample.scene))
        rows.append({"video": video, "question": CAPTION_QUESTION, "answer": caption(sample), "task": "text"})
        for task in tasks[index % len(tasks)]:
            asked = ask(sample.scene, task)
            answer = {"answer": asked.truth, "task": task} if truths else {"answer": asked.answer}
            rows.append({"video": video, "question": asked.question, **answer})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(script: str, *arguments) -> str:
    """The output of a script, whose progress is seen."""
    command = [sys.executable, EXAMPLES / script, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(model: str | Path, questions: Path, answers: Path) -> dict[str, float]:
    """The columns of the table, in percent."""
    options = ("--model", model, "--answers", answers, "--max-new-tokens", 48, "--batch-size", 10, "--json")
    scores = json.loads(run("evaluate.py", questions, *options))["scores"]
    records = {record["id"]: record["answer"] for record in map(json.loads, answers.read_text().splitlines()[1:])}
    samples = [sample for sample in read_samples(questions) if sample.task == "text"]
    texts = [records[sample.id] or "" for sample in samples]
    times = [
        jump_score(*([float(time) for time in re.findall(TIME, each)] for each in (text, sample.truth)))
        for text, sample in zip(texts, samples)
    ]
    return {
        "old question: when the figure jumps, JumpScore mAP": scores["jumps"]["mAP"],
        "old question: when the lamp is on, mIoU": scores["grounding"]["mIoU"],
        "descriptions in the new style": 100 * np.mean([follows_style(text) for text in texts]),
        "their times, JumpScore mAP": 100 * np.mean(times),
        "descriptions right to the letter": scores["text"]["accuracy"],
    }


def follows_style(text: str) -> bool:
    """Whether a description is written as it should be, and names as many times as it says."""
    match = STYLE.fullmatch(text)
    number = match and {"once": 1, "twice": 2}.get(match[1], int(match[2] or 0))
    return number == len(re.findall(TIME, text)) if match else False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(EXAMPLES / "assets" / "ov2-micro"), help="default: the micro model")
    parser.add_argument("--output", type=Path, default=Path("taught"), help="folder of clips, answers and the model")
    parser.add_argument("--clips", type=int, default=200, help="that are described in training")
    parser.add_argument("--held-out", type=int, default=50, help="clips that are asked about")
    parser.add_argument("--epochs", type=float, default=4)
    args = parser.parse_args()

    rehearsal = [["jumps"], ["grounding"]]  # in turn
    train = write_clips(args.output / "train", "train", args.clips, rehearsal, truths=False)
    held_out = write_clips(args.output / "held-out", "test", args.held_out, [["jumps", "grounding"]], truths=True)
    before = measure(args.model, held_out, args.output / "before.jsonl")
    taught = args.output / "adapter" / "merged"
    if not taught.exists():
        options = ("--data", train, "--output", args.output / "adapter", "--epochs", args.epochs, "--merge")
        run("sft_lora.py", "--model", args.model, *options, "--workers", 0, *TRAINING)
    after = measure(taught, held_out, args.output / "after.jsonl")

    print(f"| {args.held_out} clips of a look that is in no training clip | before | after |\n|---|---:|---:|")
    for name, value in before.items():
        print(f"| {name} | {value:.1f} | {after[name]:.1f} |")


if __name__ == "__main__":
    main()
