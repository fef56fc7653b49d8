# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Tokenized training data in shards.

    python examples/synthetic/dataset.py --output shards --levels 1 2 --shards 20 --workers 2

A row is pictures, evenly sampled frames or a codec stream, with every question that its scene allows as one
conversation; "text", a conversation of words alone; "named", one whose blocks are only named; or "blocks", pictures
with the name of what each block shows. Shards that are there are kept, so that a run that was stopped goes on where it
was.
"""

import argparse
import dataclasses
import functools
import io
import itertools
import json
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import PIL.Image
from datasets import Dataset, concatenate_datasets, load_from_disk

from transformers_ov2.codec import CodecStream


if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))
from synthetic.clips import encode_clip
from synthetic.conversations import MOST_SHOWN, PICTURES_PER_ROW, PLACEHOLDER, make_conversation
from synthetic.policies import BUDGETS, make_stream, uniform_frames
from synthetic.scenes import Scene
from synthetic.tasks import (
    JUMP_TASKS,
    MOTION_TASKS,
    NAMED_PICTURES,
    ORDER_TASKS,
    PICTURE_SHARES,
    QUESTIONS,
    Sample,
    ask,
    describe_blocks,
    format_contents,
    format_interval,
    format_seconds,
    make_image,
    make_named_pictures,
    make_video,
)


ROWS_PER_SHARD = 60
# A clip costs more to draw and to encode than to tokenize: so many rows show it, each in another way.
ROWS_PER_CLIP = 3
FILLERS = ("lamp", "red", "blue", "square", "ring", "top", "left", "bottom", "right")
# The recipe's shares of evidence: codec streams, sampled frames, pictures.
FORMS = {"codec": 0.5, "frames": 0.375, "image": 0.125}
# A model that is to be compared on all policies has seen all of them.
POLICY_SHARES = {"evidence": 0.5, "state": 0.25, "difference": 0.15, "random": 0.1}
BUDGET_SHARES = dict(zip(BUDGETS, (0.2, 0.3, 0.3, 0.2)))
# Scenes with a figure, with a moving shape, with shapes that appear.
KINDS = {JUMP_TASKS: 0.7, MOTION_TASKS: 0.18, ORDER_TASKS: 0.12}


def _choose(rng: np.random.Generator, shares: dict):
    return list(shares)[rng.choice(len(shares), p=np.array(list(shares.values())) / sum(shares.values()))]


def make_row(split: str, level: int, seed: int, forms: tuple[str, ...] = tuple(FORMS)) -> dict:
    """One row of a data set: `turns`, a json list of [question, answer], and what they ask about as npz bytes."""
    if forms == ("text",):
        return make_text_row(seed)
    if forms == ("named",):
        return make_named_row(level, seed)
    rng = np.random.default_rng([7, level, seed])
    form = "blocks" if forms == ("blocks",) else _choose(rng, {form: FORMS[form] for form in forms})
    if form == "blocks":
        policy = _choose(rng, PICTURE_SHARES)
        pictures, names = make_named_pictures(split, level, seed, policy)
        arrays = {"images": pictures, "names": names.ravel().astype(str)}
        turns, canvases, visual = [], 1, 35 * NAMED_PICTURES
    elif form == "image":
        samples = [make_image(split, level, PICTURES_PER_ROW * seed + index) for index in range(PICTURES_PER_ROW)]
        turns = [[sample.question, sample.answer] for sample in samples]
        arrays, policy, canvases, visual = {"images": np.stack([sample.picture for sample in samples])}, "", 1, 35 * 4
    else:
        tasks, scene, data = _make_clip(split, level, seed // ROWS_PER_CLIP)
        canvases = int(_choose(rng, BUDGET_SHARES))
        if form == "codec":
            policy = _choose(rng, POLICY_SHARES)
            stream = make_stream(data, policy, canvases, seed=seed)
            names = name_tokens(scene, stream)
            arrays = pack_stream(stream) | {"names": names}
            seconds = stream.seconds(stream.runs()[:, 0])
            contents = stream_contents(names, stream)
            visual = stream.num_tokens + 9 * len(seconds)
        else:
            policy = "uniform"
            frames, metadata = uniform_frames(data, canvases)
            arrays = {"frames": frames, "metadata": np.array(json.dumps(metadata))}
            seconds = np.array(metadata["frames_indices"]) / metadata["fps"]
            contents = [describe_blocks(set(scene.blocks(frame).flat)) for frame in metadata["frames_indices"]]
            visual = len(frames) * 44
        samples = [ask(scene, task) for task in tasks]
        turns = [[sample.question, shown_answer(sample, seconds, contents)] for sample in samples]
        if len(seconds) <= MOST_SHOWN and scene.figure is not None:
            turns.append([QUESTIONS["contents"], format_contents(seconds, contents)])
        # The first is answered from the blocks alone, the others from its answer as well.
        turns = [turns[index] for index in rng.permutation(len(turns))]
    length = visual + sum(12 + len(question) // 5 + len(answer) for question, answer in turns)
    return _pack_row(form, level, seed, length, turns, arrays, policy, canvases)


def _pack_row(
    form: str,
    level: int,
    seed: int,
    length: int,
    turns: list[list[str]],
    arrays: dict[str, np.ndarray],
    policy: str = "",
    canvases: int = 0,
) -> dict:
    """A row; `length` is about its number of tokens."""
    buffer = io.BytesIO()
    if arrays:
        np.savez(buffer, **arrays)
    return {
        "form": form,
        "policy": policy,
        "canvases": canvases,
        "level": level,
        "seed": seed,
        "length": length,
        "turns": json.dumps(turns),
        "media": buffer.getvalue(),
    }


@functools.lru_cache(maxsize=1)
def _make_clip(split: str, level: int, number: int) -> tuple[list[str], Scene, bytes]:
    """What can be asked about the clip of a number, the clip, and its file."""
    tasks = list(_choose(np.random.default_rng([6, level, number]), KINDS))
    scene = make_video(split, level, tasks[0], number).scene
    return tasks, scene, encode_clip(scene)


def shown_answer(sample: Sample, seconds: np.ndarray, contents: list[str]) -> str:
    """
    The answer as far as blocks show it, whose timestamps are `seconds` and whose `contents` [`describe_blocks`] says.
    What no block shows cannot be read, and a model that is to answer it learns to guess.
    """
    words = [set(words.split()) for words in contents]
    jumps = sorted({time for time, shown in zip(seconds, words) if "jump" in shown})
    if sample.task == "jumps":
        return format_seconds(jumps)
    if sample.task == "count":
        return str(len(jumps))
    if sample.task == "grounding":
        start = min((time for time, shown in zip(seconds, words) if "on" in shown), default=sample.truth[0])
        after = (time for time, shown in zip(seconds, words) if "off" in shown and time > start)
        return format_interval(start, min(after, default=sample.truth[1]))
    return sample.answer


def name_tokens(scene: Scene, stream: CodecStream) -> np.ndarray:
    """The name of what each token's block shows, `(num_tokens,)`."""
    tokens = stream.block_positions()[:: stream.merge**2]
    blocks = {frame: scene.blocks(frame) for frame in np.unique(tokens[:, 0])}
    return np.array([blocks[frame][row // stream.merge, column // stream.merge] for frame, row, column in tokens])


def stream_contents(names: np.ndarray, stream: CodecStream) -> list[str]:
    """What the blocks behind each timestamp of a stream show, from the names of its tokens."""
    return [describe_blocks(set(run)) for run in np.split(names, np.cumsum(stream.runs()[:, 1])[:-1])]


def make_text_row(seed: int) -> dict:
    """
    A conversation of words alone that is answered as one about a clip is: what blocks of pixels will say is said by
    words behind the timestamps, "jump" where the figure leaves the ground and "on" and "off" for the lamp.
    """
    rng = np.random.default_rng([8, seed])
    number = int(rng.integers(3, 8))
    times = np.sort(rng.choice(100 * rng.integers(6, 31), number, replace=False)) / 100
    jumps = rng.random(number) < rng.uniform(0.05, 0.6)
    start, end = np.sort(rng.choice(number, 2, replace=False))
    newline = rng.random() < 0.6  # as after the blocks of codec videos
    text, contents = "", []
    for index, time in enumerate(times):
        names = {"jump" if jumps[index] else "figure", "on" if start <= index < end else "off"}
        names |= {"ball"} if rng.random() < 0.3 else set()
        words = [*sorted(names), *rng.choice(FILLERS, rng.integers(0, 2)), *["wall"] * rng.integers(0, 4)]
        words = " ".join(words[i] for i in rng.permutation(len(words)))
        text += f"<{time:.2f} seconds><|vision_start|> {words}<|vision_end|>" + "\n" * newline
        contents.append(describe_blocks(names))
    turns = [
        [QUESTIONS["jumps"], format_seconds(times[jumps])],
        [QUESTIONS["count"], str(jumps.sum())],
        [QUESTIONS["grounding"], format_interval(times[start], times[end])],
        [QUESTIONS["contents"], format_contents(times, contents)],
    ]
    turns = [turns[i] for i in rng.permutation(4)[:2]]
    length = 14 * number + sum(20 + len(answer) for _, answer in turns)
    return _pack_row("text", 0, seed, length, [[text + turns[0][0], turns[0][1]], *turns[1:]], {})


def make_named_row(level: int, seed: int) -> dict:
    """A conversation whose blocks are only named."""
    talk = make_conversation(level, seed)
    text = "".join(question + answer for question, answer in talk.turns)
    length = len(talk.names) + (len(text) - len(PLACEHOLDER) * len(talk.names)) // 3
    return _pack_row("named", level, seed, length, talk.turns, {"names": np.array(talk.names)}, talk.kind)


def pack_stream(stream: CodecStream) -> dict[str, np.ndarray]:
    """A stream as arrays, positions as int16."""
    names = [field.name for field in dataclasses.fields(stream) if field.name not in ("timings", "evidence")]
    arrays = {name: np.asarray(getattr(stream, name)) for name in names}
    return arrays | {"patch_positions": stream.patch_positions.astype(np.int16)}


def unpack_stream(arrays: dict[str, np.ndarray]) -> CodecStream:
    fields = {name: value if value.ndim else value.item() for name, value in arrays.items() if name != "names"}
    fields["patch_positions"] = fields["patch_positions"].astype(np.int64)
    return CodecStream(**fields | {"signal_source": fields["signal_source"].tolist()})


def to_messages(batch: dict[str, list]) -> dict[str, list]:
    """Rows as the `messages` and `images` that TRL and the collator take, and the `names` of blocks without pixels."""
    messages, images, names = [], [], []
    for turns, media in zip(batch["turns"], batch["media"]):
        blocks = []
        arrays = dict(np.load(io.BytesIO(media))) if media else {}
        named = arrays.keys() == {"names"}
        names.append(arrays["names"].tolist() if named else [])
        images.append([PIL.Image.fromarray(image) for image in arrays.get("images", [])])
        if "images" in arrays:
            blocks = [[{"type": "image"}]] * len(arrays["images"])
        elif arrays and not named:
            if "frames" in arrays:
                block = {"type": "video", "video": arrays["frames"], "video_backend": "frames"}
                block["video_metadata"] = json.loads(arrays["metadata"].item())
            else:
                block = {"type": "video", "video": unpack_stream(arrays)}
            blocks = [[block]]
        conversation = []
        for (question, answer), media_blocks in itertools.zip_longest(json.loads(turns), blocks, fillvalue=[]):
            conversation += [
                {"role": "user", "content": [*media_blocks, {"type": "text", "text": question}]},
                {"role": "assistant", "content": [{"type": "text", "text": answer}]},
            ]
        messages.append(conversation)
    return {"messages": messages, "images": images, "names": names}


def to_named_blocks(batch: dict[str, list]) -> dict[str, list]:
    """
    Rows as what a vision tower is shown, `images` (uint8 `[pictures, height, width, 3]`) or a codec `stream`, and
    `names`, what each block of it shows.
    """
    named = {"images": [], "stream": [], "names": []}
    for media in batch["media"]:
        arrays = dict(np.load(io.BytesIO(media)))
        named["images"].append(arrays.get("images"))
        named["stream"].append(None if "images" in arrays else unpack_stream(arrays))
        named["names"].append(arrays["names"])
    return named


def load_shards(folder: Path, select: dict[str, list] | None = None, most: dict[str, int] | None = None) -> Dataset:
    """
    The rows of all shards of a folder whose columns hold one of the values in `select`, as `to_messages`; of the forms
    in `most` no more than so many, evenly from all shards.
    """
    shards = [load_from_disk(path) for path in sorted(folder.glob("level*")) if path.suffix != ".part"]
    rows = concatenate_datasets(shards)
    for name, values in (select or {}).items():
        rows = rows.select([index for index, value in enumerate(rows[name]) if value in values])
    for form, number in (most or {}).items():
        places = np.flatnonzero(np.array(rows["form"]) == form)
        kept = places[np.linspace(0, len(places) - 1, min(number, len(places))).astype(int)]
        rows = rows.select(np.setdiff1d(np.arange(len(rows)), np.setdiff1d(places, kept)))
    return rows.with_transform(to_messages, columns=["turns", "media"], output_all_columns=True)


def write_shard(task: tuple[Path, str, tuple[str, ...], int, int]) -> str:
    folder, split, forms, level, number = task
    path = folder / f"level{level}-{'-'.join(forms)}-{number:04d}"
    if not path.exists():
        seeds = range(number * ROWS_PER_SHARD, (number + 1) * ROWS_PER_SHARD)
        part = path.with_suffix(".part")
        Dataset.from_list([make_row(split, level, seed, forms) for seed in seeds]).save_to_disk(part)
        os.rename(part, path)
    return path.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--split", default="train", choices=("train", "validation"))
    parser.add_argument(
        "--forms", nargs="+", default=list(FORMS), choices=[*FORMS, "blocks", "named", "text"], help="kinds of rows"
    )
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--first", type=int, default=0, help="number of the first shard")
    parser.add_argument("--shards", type=int, default=20, help=f"shards of {ROWS_PER_SHARD} rows for every level")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    numbers = range(args.first, args.first + args.shards)
    tasks = [
        (args.output, args.split, tuple(args.forms), level, number) for number in numbers for level in args.levels
    ]
    # Spawned: x264, x265 and the threads of PyAV do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
        for name in pool.imap_unordered(write_shard, tasks):
            print(name, flush=True)


if __name__ == "__main__":
    main()
