# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Questions with known answers: records of the benchmarks' files as samples of one form, and scores of answers."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .metrics import JUMP_TOLERANCES, average_precision, grounding_scores
from .parsers import parse_choice, parse_interval, parse_number, parse_seconds, parse_tracks


TASKS = ("jumps", "grounding", "choice", "count", "tracking", "text")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Prompts of the field's harness (lmms-eval 0.7).
GROUNDING_PROMPT = (
    "Please find the visual event described by the sentence '{}', determining its starting and ending times. The "
    "format should be: 'The event happens in <start time> - <end time> seconds'."
)
CHOICE_PROMPT = "{}\n{}\nAnswer with the option's letter from the given choices directly."


@dataclass
class Sample:
    """
    One question.

    Attributes:
        id (`str`): unique in its file.
        media (`list[dict]`): content blocks, `{"type": "video" | "image", …: path}`.
        question (`str`): the prompt.
        task (`str`): one of `TASKS`: how the answer is read and scored.
        truth (`Any`): seconds (`jumps`), start and end in seconds (`grounding`), an index (`choice`), a number
            (`count`), a file of masks (`tracking`) or a text (`text`).
        num_choices (`int`): options of a `choice`.
    """

    id: str
    media: list[dict]
    question: str
    task: str
    truth: Any
    num_choices: int = 0

    @property
    def conversation(self) -> list[dict]:
        return [{"role": "user", "content": [*self.media, {"type": "text", "text": self.question}]}]


def read_samples(path: str | Path, media: str | Path | None = None) -> list[Sample]:
    """
    Read a benchmark's file.

    A record is known by its fields. Own records have `video`, `videos`, `image` or `images`, `question`, `answer`
    and `task` (and `options` for a `choice`). Files of these benchmarks are read as they are: JumpScore (`video_path`,
    `question`, `answer`), TimeLens (`video_path`, `query`, `span`), Charades-STA (`video`, `caption`, `timestamp`),
    Video-MME (`videoID`, `question`, `options`, `answer`), MVBench (`video`, `question`, `candidates`, `answer`) and
    LVBench (`video_path`, `question`, `answer`).

    Args:
        path (`str` or `Path`): a `.jsonl`, `.json` (a list) or `.parquet` file.
        media (`str` or `Path`, *optional*): the folder that paths start from; the file's own by default.

    Raises:
        ValueError: a record is of no known form, named with its line; or two have one `id`.
        FileNotFoundError: the file, or a video or image of it, does not exist.
    """
    path = Path(path)
    folder = Path(media) if media is not None else path.parent
    samples, seen = [], set()
    for number, record in enumerate(_records(path)):
        try:
            sample = _sample(record, number, folder)
        except KeyError as error:
            raise ValueError(f"{path}, record {number}: `{error.args[0]}` is missing.") from error
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError(f"{path}, record {number}: {error}") from error
        if sample.id in seen:
            raise ValueError(f"{path}, record {number}: the id {sample.id!r} occurs twice.")
        seen.add(sample.id)
        samples.append(sample)
    if not samples:
        raise ValueError(f"{path} holds no record.")
    return samples


def score_answers(samples: Iterable[Sample], answers: Mapping[str, str | None]) -> dict[str, dict[str, float]]:
    """
    Metrics per task.

    Args:
        samples (iterable of [`Sample`]): the questions.
        answers (`Mapping[str, str | None]`): by id; `None`, for a question that could not be asked, scores as an
            answer that cannot be parsed.

    Returns:
        `dict[str, dict[str, float]]`: for each task that occurs its metrics, in percent, and `"samples"`.

    Raises:
        KeyError: a sample has no answer.
    """
    by_task = defaultdict(list)
    for sample in samples:
        by_task[sample.task].append((sample, answers[sample.id]))
    table = {}
    for task in sorted(by_task, key=TASKS.index):
        pairs = by_task[task]
        table[task] = {"samples": len(pairs), **_SCORES[task](pairs)}
    return table


def _records(path: Path) -> list[dict]:
    if path.suffix == ".jsonl":
        records = []
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            try:
                records += [json.loads(line)] if line.strip() else []
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: is no JSON ({error}).") from error
        return records
    if path.suffix == ".json":
        try:
            records = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: is no JSON ({error}).") from error
        if not isinstance(records, list):
            raise ValueError(f"{path} must hold a list of records, got {type(records).__name__}.")
        return records
    if path.suffix == ".parquet":
        from pyarrow.parquet import read_table

        return read_table(path).to_pylist()
    raise ValueError(f"{path}: a .jsonl, .json or .parquet file is needed.")


def _sample(record: dict, number: int, folder: Path) -> Sample:
    if not isinstance(record, dict):
        raise TypeError(f"must be an object, got {type(record).__name__}.")
    # Arrow writes every column into every record.
    record = {key: value for key, value in record.items() if value is not None}
    keys = record.keys()
    identity = str(record.get("id", record.get("question_id", number)))
    if "task" in record:
        task, question, truth = record["task"], record["question"], record["answer"]
        media = [_block(kind, path, folder) for kind, path in _named_media(record)]
        options = record.get("options", [])
    elif {"video_path", "query", "span"} <= keys:
        span = json.loads(record["span"]) if isinstance(record["span"], str) else record["span"]
        task, question, truth, options = "grounding", GROUNDING_PROMPT.format(record["query"]), span[0], []
        media = [_block("video", record["video_path"], folder)]
        identity = f"{record['video_path']}: {record['query']}" if "id" not in record else identity
    elif {"video", "caption", "timestamp"} <= keys:
        task, question, truth, options = (
            "grounding",
            GROUNDING_PROMPT.format(record["caption"]),
            record["timestamp"],
            [],
        )
        media = [_block("video", record["video"], folder)]
    elif "question" in keys and ("options" in keys or "candidates" in keys):
        options, truth, task = record.get("options", record.get("candidates")), record["answer"], "choice"
        question = record["question"]
        media = [_block("video", record["video"] if "video" in keys else f"{record['videoID']}.mp4", folder)]
    elif {"video_path", "question", "answer"} <= keys:
        answer = str(record["answer"]).strip()
        task, question, options = "jumps", record["question"], []
        truth = answer
        if not answer.startswith("["):
            task, options = "choice", list(LETTERS[:4])  # the question spells them out
        media = [_block("video", record["video_path"], folder)]
    else:
        raise ValueError(f"a record with the fields {', '.join(sorted(keys))} is of no known form.")
    if task not in TASKS:
        raise ValueError(f"the task {task!r} is none of {', '.join(TASKS)}.")

    if task == "choice":
        question, truth = _choice(question, [str(option) for option in options], str(truth))
    elif task == "jumps":
        truth = sorted(map(float, json.loads(truth) if isinstance(truth, str) else truth))
    elif task == "grounding":
        start, end = map(float, truth)
        truth = (start, end)
    elif task == "count":
        truth = float(truth)
    elif task == "tracking":
        truth = folder / truth
        if not truth.is_file():
            raise FileNotFoundError(f"{truth} does not exist.")
    else:
        truth = str(truth)
    return Sample(identity, media, question, task, truth, len(options))


def _named_media(record: dict) -> list[tuple[str, str]]:
    found = []
    for kind in ("video", "image"):
        found += [(kind, record[kind])] if kind in record else []
        found += [(kind, path) for path in record.get(f"{kind}s", [])]
    return found


def _block(kind: str, path: str, folder: Path) -> dict:
    if str(path).startswith(("http://", "https://")):
        return {"type": kind, kind: str(path)}
    path = folder / path
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: name the folder of the videos and images.")
    return {"type": kind, kind: str(path)}


def _choice(question: str, options: list[str], truth: str) -> tuple[str, int]:
    """The prompt and the index of the true option, which is given as its letter or its text."""
    letters = LETTERS[: len(options)]
    if options == list(letters):
        return f"{question}\nAnswer with the option's letter from the given choices directly.", letters.index(truth)
    if truth in options:
        index = options.index(truth)
    elif len(truth) == 1 and truth in letters:
        index = letters.index(truth)
    else:
        raise ValueError(f"the answer {truth!r} is neither an option nor its letter.")
    # Some files spell the letters in the options already.
    lettered = all(option.startswith(f"{letter}.") for letter, option in zip(letters, options))
    lines = options if lettered else [f"{letter}. {option}" for letter, option in zip(letters, options)]
    return CHOICE_PROMPT.format(question, "\n".join(lines)), index


def _score_jumps(pairs: list[tuple[Sample, str | None]]) -> dict[str, float]:
    def mean(tolerance: float) -> float:
        # An answer that never came is not the answer that nothing happens.
        each = [
            0.0 if answer is None else average_precision(parse_seconds(answer), sample.truth, tolerance)
            for sample, answer in pairs
        ]
        return 100 * float(np.mean(each))

    columns = {f"AP@{tolerance:g}": mean(tolerance) for tolerance in JUMP_TOLERANCES}
    return {"mAP": float(np.mean(list(columns.values()))), **columns}


def _score_grounding(pairs: list[tuple[Sample, str | None]]) -> dict[str, float]:
    return grounding_scores((parse_interval(answer or ""), sample.truth) for sample, answer in pairs)


def _score_choice(pairs: list[tuple[Sample, str | None]]) -> dict[str, float]:
    return _accuracy(parse_choice(answer or "", sample.num_choices) == sample.truth for sample, answer in pairs)


def _score_count(pairs: list[tuple[Sample, str | None]]) -> dict[str, float]:
    return _accuracy(parse_number(answer or "") == sample.truth for sample, answer in pairs)


def _score_text(pairs: list[tuple[Sample, str | None]]) -> dict[str, float]:
    return _accuracy(answer is not None and _plain(answer) == _plain(sample.truth) for sample, answer in pairs)


def _score_tracking(pairs: list[tuple[Sample, str | None]]) -> dict[str, float]:
    from .tracking import hota, point_scores

    rows = []
    for sample, answer in pairs:
        points, identities, masks = _tracked(sample.truth, answer or "")
        scores = point_scores(points, masks)
        visible = [np.flatnonzero(frame.any(axis=(1, 2))) for frame in masks]
        inside = [_inside(xy, frame[seen]) for xy, frame, seen in zip(points, masks, visible)]
        rows.append([*scores.values(), hota(inside, identities, visible)])
    names = ("precision", "recall", "F1", "HOTA@0.5")
    return dict(zip(names, (100 * np.mean(rows, axis=0)).tolist()))


def _tracked(path: Path, answer: str) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Per frame of the masks: the points of the answer nearest to it in time, in pixels, and their identities."""
    with np.load(path) as file:
        masks, seconds = file["masks"].astype(bool), file["seconds"].astype(np.float64)
    if masks.ndim != 4 or len(masks) != len(seconds):
        raise ValueError(
            f"{path}: masks must be of shape (frames, objects, height, width), one frame for each of `seconds`; got "
            f"{masks.shape} and {len(seconds)}."
        )
    found = [track.points for track in parse_tracks(answer)]
    found = np.concatenate(found) if found else np.zeros((0, 4))
    nearest = np.abs(found[:, :1] - seconds[None]).argmin(axis=1) if len(found) else np.zeros(0, dtype=np.int64)
    size = np.array(masks.shape[:1:-1])  # width, height
    points = [found[nearest == frame, 2:] / 1000 * (size - 1e-6) for frame in range(len(seconds))]
    identities = [found[nearest == frame, 1].astype(np.int64) for frame in range(len(seconds))]
    return points, identities, masks


def _inside(points: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """1 where a point lies in a mask, float64 of shape `(num_points, num_masks)`."""
    x, y = np.floor(points).astype(np.int64).T
    return masks[:, y, x].T.astype(np.float64)


def _accuracy(right: Iterable[bool]) -> dict[str, float]:
    return {"accuracy": 100 * float(np.mean(list(right)))}


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".")


_SCORES = {
    "jumps": _score_jumps,
    "grounding": _score_grounding,
    "choice": _score_choice,
    "count": _score_count,
    "tracking": _score_tracking,
    "text": _score_text,
}
