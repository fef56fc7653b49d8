# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
The claim of the paper in miniature: what an answer gains when tokens go to events, at equal numbers of tokens.

    python examples/experiment.py --model MODEL --output experiment   # table, plot, every answer
    python examples/experiment.py --model MODEL --quick               # two levels, one budget, a few clips

MODEL is what `train_micro.py` makes: trained on streams of all these policies, it answers about clips of the test
split, whose look is unseen. A budget of N canvases is the same number of language model tokens for all policies,
timestamps included; no policy exceeds it. A seed is another set of clips. A run that was stopped goes on.
"""

import argparse
import dataclasses
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from synthetic import LEVELS, encode_clip, make_video
from synthetic.policies import BUDGETS, budget_tokens, make_stream, uniform_frames
from synthetic.tasks import JUMP_TASKS, ask
from transformers import AutoModelForImageTextToText, AutoProcessor

import transformers_ov2  # noqa: F401  registers OV2 with the AutoClasses
from transformers_ov2.codec import CodecStream
from transformers_ov2.evaluation.metrics import jump_score, temporal_iou
from transformers_ov2.evaluation.parsers import parse_interval, parse_number, parse_seconds


METRICS = {"jumps": "JumpScore mAP", "grounding": "grounding mIoU", "count": "counting accuracy"}
COMPARED = ("evidence", "state", "difference", "random", "uniform")
# (name, policy, options of the tokenizer, change to the inputs), at one budget.
ABLATIONS = {
    "evidence, fixed groups": {"grouping": "fixed"},
    "evidence without motion": {"motion_weight": 0.0},
    "evidence without residual": {"residual_weight": 0.0},
    "evidence without bitrate": {"bitrate_weight": 0.0},
}
# Without pixels a model can still answer from how many blocks a timestamp has: what it sees is the difference.
INPUT_ABLATIONS = ("positions zeroed", "timestamps removed", "pixels shuffled")
ABLATION_BUDGET = 8
MAX_NEW_TOKENS = {"jumps": 176, "grounding": 24, "count": 4}


@dataclasses.dataclass(frozen=True)
class Run:
    """A way to show clips to the model. `change` is one of `INPUT_ABLATIONS`."""

    name: str
    policy: str
    canvases: int
    options: tuple = ()
    change: str | None = None


def runs_of(budgets: list[int], ablations: bool) -> list[Run]:
    runs = [Run(policy, policy, canvases) for canvases in budgets for policy in COMPARED]
    if ablations:
        runs += [Run(name, "evidence", ABLATION_BUDGET, tuple(options.items())) for name, options in ABLATIONS.items()]
        runs += [Run(f"evidence, {change}", "evidence", ABLATION_BUDGET, (), change) for change in INPUT_ABLATIONS]
    return runs


class Asker:
    """Answers of a model to questions about clips, in batches."""

    def __init__(self, model: str | Path):
        self.processor = AutoProcessor.from_pretrained(model)
        self.processor.video_processor.max_tokens = None  # each run has its own budget
        self.model = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
        self.timestamp_tokens = self.processor._timestamp_tokens({})
        tokenizer = self.processor.tokenizer
        self.timestamp_start = {tokenizer.convert_tokens_to_ids(token) for token in ("<", "\n<")}
        self.timestamp_end = tokenizer.convert_tokens_to_ids(" seconds>")

    def show(self, data: bytes, run: Run, seed: int) -> dict:
        """A clip as the content block and video options of a run."""
        if run.policy == "uniform":
            frames, metadata = uniform_frames(data, run.canvases)
            return {"video": frames, "video_backend": "frames", "video_metadata": [metadata]}
        stream = make_stream(
            data, run.policy, run.canvases, seed=seed, tokens=self.timestamp_tokens, **dict(run.options)
        )
        return {"video": stream}

    def prompt(self, shown: dict, question: str, run: Run) -> dict[str, torch.Tensor]:
        options = {name: value for name, value in shown.items() if name != "video"}
        content = [{"type": "video", "video": shown["video"]}, {"type": "text", "text": question}]
        inputs = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"videos_kwargs": options},
        )
        inputs = dict(inputs)
        if (tokens := self.video_tokens(inputs["input_ids"][0], shown)) > budget_tokens(run.canvases):
            raise RuntimeError(f"{run.name} took {tokens} tokens of {budget_tokens(run.canvases)}.")
        if run.change == "positions zeroed":
            inputs["video_patch_positions"] = torch.zeros_like(inputs["video_patch_positions"])
        elif run.change == "pixels shuffled":
            pixels = inputs["pixel_values_videos"]
            order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
            inputs["pixel_values_videos"] = pixels[order]
        elif run.change == "timestamps removed":
            ids, keep, inside = inputs["input_ids"][0].tolist(), [], False
            for token in ids:
                inside = inside or token in self.timestamp_start
                keep.append(not inside)
                inside = inside and token != self.timestamp_end
            inputs["input_ids"] = inputs["input_ids"][:, keep]
            inputs["attention_mask"] = inputs["attention_mask"][:, keep]
        return inputs

    def video_tokens(self, ids: torch.Tensor, shown: dict) -> int:
        """Language model tokens of the video in a prompt, timestamps included: from its first to its last token."""
        video = shown["video"]
        if isinstance(video, CodecStream):
            seconds = video.seconds(video.runs()[:, 0])
        else:
            metadata = shown["video_metadata"][0]
            seconds = np.array(metadata["frames_indices"]) / metadata["fps"]
        return int((ids == self.processor.video_token_id).sum()) + sum(map(self.timestamp_tokens, seconds.tolist()))

    @torch.no_grad()
    def answer(self, prompts: list[dict[str, torch.Tensor]], max_new_tokens: int) -> list[str]:
        longest = max(prompt["input_ids"].shape[1] for prompt in prompts)
        padding = {"input_ids": self.processor.tokenizer.pad_token_id, "attention_mask": 0}
        batch = {
            name: torch.cat(
                [
                    torch.nn.functional.pad(
                        prompt[name], (longest - prompt["input_ids"].shape[1], 0), value=padding[name]
                    )
                    if name in padding
                    else prompt[name]
                    for prompt in prompts
                ]
            )
            for name in prompts[0]
            if name != "mm_token_type_ids"
        }
        output = self.model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
        return self.processor.batch_decode(output[:, longest:], skip_special_tokens=True)


def score(task: str, answer: str, truth) -> float:
    if task == "jumps":
        return jump_score(parse_seconds(answer), truth)
    if task == "grounding":
        return temporal_iou(parse_interval(answer), tuple(truth))
    return float(parse_number(answer) == truth)


def measure(
    asker: Asker, level: int, seed: int, clips: int, runs: list[Run], done: set, batch_size: int, file
) -> None:
    """Answers about the clips of a level and a seed, written as they come."""
    indices = range(seed * 1000, seed * 1000 + clips)
    wanted = [(index, run) for run in runs for index in indices if (level, index, run.name, run.canvases) not in done]
    scenes = {index: make_video("test", level, "jumps", index).scene for index in {index for index, _ in wanted}}
    data = {index: encode_clip(scene) for index, scene in scenes.items()}
    for start in range(0, len(wanted), batch_size):
        part = wanted[start : start + batch_size]
        shown = [asker.show(data[index], run, seed=index) for index, run in part]
        rows = [
            {"level": level, "seed": seed, "clip": index, "run": run.name, "canvases": run.canvases}
            for index, run in part
        ]
        for task in JUMP_TASKS:
            samples = [ask(scenes[index], task) for index, _ in part]
            prompts = [
                asker.prompt(media, sample.question, run) for media, sample, (_, run) in zip(shown, samples, part)
            ]
            answers = asker.answer(prompts, MAX_NEW_TOKENS[task])
            for row, sample, answer in zip(rows, samples, answers):
                row[task] = {"answer": answer, "truth": sample.truth, "score": score(task, answer, sample.truth)}
        for row in rows:
            file.write(json.dumps(row) + "\n")
        file.flush()
        print(f"level {level}, seed {seed}: {min(start + batch_size, len(wanted))} of {len(wanted)}", flush=True)


def tables(rows: list[dict]) -> tuple[str, dict]:
    """Markdown of the means over clips, with the spread (standard deviation) over seeds, and the numbers."""
    lines, numbers = [], {}
    names = list(dict.fromkeys(row["run"] for row in rows))
    levels = sorted({row["level"] for row in rows})
    for task, title in METRICS.items():
        values = defaultdict(lambda: defaultdict(list))
        for row in rows:
            for level in (row["level"], "all"):
                values[row["run"], row["canvases"], level][row["seed"]].append(100 * row[task]["score"])
        lines += [
            f"\n{title}, in percent\n",
            "| | canvases | " + " | ".join(f"level {level}" for level in levels) + " | all |",
        ]
        lines += ["|---|---:|" + "---:|" * (len(levels) + 1)]
        for canvases in sorted({row["canvases"] for row in rows}):
            for name in names:
                cells = []
                for level in (*levels, "all"):
                    seeds = [np.mean(found) for found in values[name, canvases, level].values()]
                    if not seeds:
                        break
                    spread = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else math.nan
                    numbers[f"{task}/{name}/{canvases}/{level}"] = [float(np.mean(seeds)), spread]
                    cells.append(f"{np.mean(seeds):.1f}" + (f" ± {spread:.1f}" if len(seeds) > 1 else ""))
                else:
                    lines.append(f"| {name} | {canvases} | " + " | ".join(cells) + " |")
    return "\n".join(lines), numbers


def plot(numbers: dict, budgets: list[int], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(METRICS), figsize=(13, 3.8), sharex=True)
    for axis, (task, title) in zip(axes, METRICS.items()):
        for name in COMPARED:
            points = [numbers[f"{task}/{name}/{canvases}/all"] for canvases in budgets]
            mean, spread = np.array(points).T
            axis.errorbar(budgets, mean, np.nan_to_num(spread), marker="o", capsize=3, label=name)
        axis.set(title=title + ", %", xlabel="token budget in canvases", xscale="log", ylim=(0, 100))
        axis.set_xticks(budgets, map(str, budgets))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the model and its processor")
    parser.add_argument("--output", type=Path, default=Path("experiment"), help="folder of answers, table and plot")
    parser.add_argument("--levels", type=int, nargs="+", default=list(LEVELS))
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS), help="in canvases")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=16, help="clips of each level and seed")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--no-ablations", action="store_true")
    parser.add_argument("--quick", action="store_true", help="levels 1 and 2, 4 canvases, one seed of 4 clips")
    args = parser.parse_args()
    if args.quick:
        args.levels, args.budgets, args.seeds, args.clips, args.no_ablations = [1, 2], [4], 1, 4, True
    if args.threads:
        torch.set_num_threads(args.threads)
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "answers.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["level"], row["clip"], row["run"], row["canvases"]) for row in rows}
    asker = Asker(args.model)
    runs = runs_of(args.budgets, not args.no_ablations)
    with open(path, "a", encoding="utf-8") as file:
        for seed in range(args.seeds):
            for level in args.levels:
                measure(asker, level, seed, args.clips, runs, done, args.batch_size, file)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    text, numbers = tables(rows)
    print(text)
    (args.output / "table.md").write_text(text + "\n")
    (args.output / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
    plot(numbers, args.budgets, args.output / "experiment.png")


if __name__ == "__main__":
    main()
