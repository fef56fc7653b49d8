# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Asks a model the questions of a file about its clips, and scores the answers.

    python examples/evaluate.py questions.jsonl --model MODEL
    python examples/evaluate.py test.parquet --clips videos --model MODEL --target-canvas 128 --timestamp-decimals 2
    python examples/evaluate.py questions.jsonl --model MODEL --backend frames --num-frames 32 --json

Records of own files: {"video": "a.mp4", "question": "How often does it jump?", "answer": 3, "task": "count"}, with the
tasks jumps, grounding, choice (with "options"), count, tracking and text. Files of JumpScore, TimeLens, Charades-STA,
Video-MME, MVBench and LVBench are read as they are.

Answers go to --answers line by line, a batch at a time. Started again with the same options, the script goes on where
it was stopped and prints the same table: batches are cut from the whole file, so that each holds the same questions.
A question whose clip cannot be read is named, counted and scored as wrong.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import AutoModelForImageTextToText, AutoProcessor

import transformers_ov2  # noqa: F401 (registers OV2 with the AutoClasses)
from transformers_ov2.codec import VideoError
from transformers_ov2.evaluation.answers import answer
from transformers_ov2.evaluation.samples import Sample, read_samples, score_answers


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path, help=".jsonl, .json or .parquet")
    parser.add_argument("--clips", type=Path, help="folder of the clips; the questions' own by default")
    parser.add_argument("--model", required=True, help="repository or folder of a model")
    parser.add_argument("--answers", type=Path, help="where answers go; QUESTIONS.answers.jsonl by default")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--limit", type=int, help="only so many questions, from the first on")
    parser.add_argument("--max-new-tokens", type=int, default=512)
    parser.add_argument("--backend", choices=("codec", "frames"), default="codec")
    parser.add_argument("--target-canvas", type=int, help="canvases of a clip (codec)")
    parser.add_argument("--selection", choices=("evidence", "state"), help="codec")
    parser.add_argument("--grouping", choices=("packet_energy", "readiness", "fixed"), help="codec")
    parser.add_argument("--num-frames", type=int, help="frames of a clip (frames)")
    parser.add_argument("--max-tokens", type=int, help="most tokens of a clip, timestamps included")
    parser.add_argument("--max-pixels", type=int, help="most pixels of a canvas or frame")
    parser.add_argument("--timestamp-decimals", type=int, help="JumpScore uses 2")
    parser.add_argument("--json", action="store_true", help="print the table as json")
    return parser.parse_args()


def processor_options(arguments: argparse.Namespace) -> dict:
    codec = {name: getattr(arguments, name) for name in ("target_canvas", "selection", "grouping")}
    codec = {name: value for name, value in codec.items() if value is not None}
    if codec and arguments.backend == "frames":
        sys.exit(f"--{next(iter(codec)).replace('_', '-')} belongs to --backend codec.")
    if arguments.num_frames is not None and arguments.backend == "codec":
        sys.exit("--num-frames belongs to --backend frames.")
    names = ("num_frames", "max_tokens", "max_pixels", "timestamp_decimals")
    options = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    return {"video_backend": arguments.backend, **options, **({"codec": codec} if codec else {})}


def read_answers(path: Path, settings: dict) -> dict[str, dict]:
    """What an earlier run left: its whole lines, as records by id. Ends the script if its settings are not these."""
    if not path.exists():
        path.write_text(json.dumps({"settings": settings}) + "\n", encoding="utf-8")
        return {}
    text = path.read_text(encoding="utf-8")
    # Not `splitlines`, which also cuts at separators that answers may hold. A line without its end was cut off.
    lines = text.split("\n")[:-1]
    try:
        earlier = json.loads(lines[0])["settings"]
    except (IndexError, ValueError, KeyError, TypeError):
        sys.exit(f"{path} was not made by this script: remove it, or name another file with --answers.")
    if earlier != settings:
        names = sorted(name for name in earlier.keys() | settings.keys() if earlier.get(name) != settings.get(name))
        changes = ", ".join(f"{name} was {earlier.get(name)!r} and is {settings.get(name)!r}" for name in names)
        sys.exit(f"{path} was made with other settings ({changes}): remove it, or name another file with --answers.")
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {record["id"]: record for record in map(json.loads, lines[1:])}


def ask(model, processor, samples: list[Sample], options: dict, max_new_tokens: int) -> list[dict]:
    """A record per sample. If the batch holds a clip that cannot be read, its questions are asked one by one."""
    try:
        texts = answer(
            model,
            processor,
            [sample.conversation for sample in samples],
            processor_kwargs=options,
            max_new_tokens=max_new_tokens,
        )
        return [{"id": sample.id, "answer": text} for sample, text in zip(samples, texts)]
    except (VideoError, OSError) as error:
        if len(samples) == 1:
            tqdm.write(f"{samples[0].id}: {error}", file=sys.stderr)
            return [{"id": samples[0].id, "answer": None, "error": str(error)}]
        return [record for sample in samples for record in ask(model, processor, [sample], options, max_new_tokens)]


def print_table(table: dict[str, dict[str, float]], errors: int) -> None:
    for task, metrics in table.items():
        values = "  ".join(f"{name} {value:.1f}" for name, value in metrics.items() if name != "samples")
        print(f"{task:10} {metrics['samples']:5d} questions  {values}")
    if errors:
        print(f"{errors} could not be asked and count as wrong.")


def main() -> None:
    arguments = parse_arguments()
    options = processor_options(arguments)
    try:
        samples = read_samples(arguments.questions, arguments.clips)[: arguments.limit]
        digest = hashlib.sha256(arguments.questions.read_bytes()).hexdigest()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    path = arguments.answers or arguments.questions.with_suffix(".answers.jsonl")
    batches = [samples[at : at + arguments.batch_size] for at in range(0, len(samples), arguments.batch_size)]
    settings = {
        "model": arguments.model,
        "questions": f"{arguments.questions.name}, sha256 {digest}",
        "clips": str((arguments.clips or arguments.questions.parent).resolve()),
        "batch_size": arguments.batch_size,
        "max_new_tokens": arguments.max_new_tokens,
        **options,
    }
    records = read_answers(path, settings)
    missing = [batch for batch in batches if any(sample.id not in records for sample in batch)]
    if missing:
        processor = AutoProcessor.from_pretrained(arguments.model)
        device_map = "auto" if torch.cuda.is_available() else None
        model = AutoModelForImageTextToText.from_pretrained(
            arguments.model, dtype="auto", device_map=device_map
        ).eval()
        with open(path, "a", encoding="utf-8") as file, tqdm(total=len(samples), unit="questions") as progress:
            progress.update(len(samples) - sum(map(len, missing)))
            for batch in missing:
                found = ask(model, processor, batch, options, arguments.max_new_tokens)
                file.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in found))
                file.flush()
                records |= {record["id"]: record for record in found}
                progress.update(len(batch))
    answers = {sample.id: records[sample.id]["answer"] for sample in samples}
    errors = sum(text is None for text in answers.values())
    table = score_answers(samples, answers)
    if arguments.json:
        print(json.dumps({"settings": settings, "scores": table, "errors": errors}, indent=2))
    else:
        print_table(table, errors)


if __name__ == "__main__":
    main()
