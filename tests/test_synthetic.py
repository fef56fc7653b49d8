# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The clips of the micro checkpoint: their answers are what the frames show, and splits have nothing in common."""

import argparse
import io
import itertools
import json
import re
import sys
from dataclasses import fields
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import yaml

from transformers_ov2.evaluation.parsers import parse_interval, parse_number, parse_seconds, parse_tracks
from transformers_ov2.training import OV2DataCollator


EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

import experiment  # noqa: E402
import train_micro  # noqa: E402
from synthetic import LEVELS, SPLITS, TASKS, encode_clip, make_image, make_video  # noqa: E402
from synthetic.conversations import PLACEHOLDER, SHARES, TIMESTAMPS_PER_CANVAS, make_conversation  # noqa: E402
from synthetic.dataset import (  # noqa: E402
    load_shards,
    make_row,
    name_tokens,
    shown_answer,
    stream_contents,
    to_messages,
    to_named_blocks,
    write_shard,
)
from synthetic.policies import (  # noqa: E402
    BUDGETS,
    POLICIES,
    budget_frames,
    budget_tokens,
    make_stream,
    timestamp_tokens,
    uniform_frames,
)
from synthetic.scenes import COLUMNS, COVERED, ROWS, SHAPES, draw_picture, make_motion, place_words  # noqa: E402
from synthetic.tasks import (  # noqa: E402
    BLOCK_WORDS,
    PICTURE_KINDS,
    QUESTIONS,
    THINGS,
    ask,
    describe_blocks,
    format_contents,
    make_named_pictures,
)


@pytest.fixture(scope="module")
def processor():
    processor = train_micro.make_processor()
    processor.video_processor.max_tokens = None  # streams of all budgets
    return processor


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_seed_is_one_file(codec):
    seed = next(seed for seed in itertools.count() if make_video("test", 1, "jumps", seed).scene.encoder[0] == codec)
    first, second = (encode_clip(make_video("test", 1, "jumps", seed).scene) for _ in range(2))
    assert first == second
    assert first != encode_clip(make_video("validation", 1, "jumps", seed).scene)


def test_splits_have_no_look_in_common():
    for one, other in itertools.combinations(SPLITS.values(), 2):
        assert not {*one.textures} & {*other.textures} and not {*one.rates} & {*other.rates}
        assert not [options for options in one.encoders if options in other.encoders]
        bounds = [(split.sizes, (split.saturation,), (split.value,)) for split in (one, other)]
        for ours, theirs in zip(*bounds):
            assert all(a[1] <= b[0] or b[1] <= a[0] for a in ours for b in theirs)
    assert {field.name for field in fields(SPLITS["test"])} == {
        *("seed", "textures", "sizes", "saturation", "value", "rates", "encoders")
    }


@pytest.mark.parametrize("level", LEVELS)
def test_frames_show_the_jumps_and_the_lamp(level):
    scene = make_video("test", level, "jumps", 5).scene
    frames = np.stack(list(scene.frames())).astype(np.float32)
    assert frames.shape == (scene.num_frames, 140, 196, 3)
    assert LEVELS[level].jumps[0] <= len(scene.jumps) <= LEVELS[level].jumps[1]

    def luma(frame, x, y):
        x, y = map(round, scene.view(frame, x, y))
        return frames[frame, max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].mean()

    off, on, x, y = scene.lamp
    start, end = scene.light
    lit = [luma(frame, x, y) for frame in (start, end - 1)]
    dark = [luma(frame, x, y) for frame in (start - 1, end)]
    assert min(lit) > max(dark) + 40
    # The ground just above the feet: covered by the figure before it jumps, free when it is in the air.
    for jump in scene.jumps:
        patches = []
        for frame in (jump - 1, jump):
            x, y = map(round, scene.view(frame, scene.place[jump][0], 112 + 12 - 0.25 * scene.figure["up"].anchor[1]))
            patches.append(frames[frame, y - 2 : y + 3, x - 2 : x + 3].mean((0, 1)))
        assert np.abs(patches[1] - patches[0]).max() > 4


def test_answers_parse_to_their_truth():
    for task in TASKS:
        sample = make_video("train", 2, task, 3)
        parsed = {
            "jumps": parse_seconds,
            "count": parse_number,
            "grounding": parse_interval,
            "tracking": lambda answer: [(t, int(x), int(y)) for t, _, x, y in parse_tracks(answer)[0].points],
        }.get(task, str)(sample.answer)
        assert parsed == sample.truth
    picture = make_image("test", 1, 0)
    assert picture.answer.startswith(("A ", "An ")) and picture.picture.shape == (140, 196, 3)


def test_a_direction_is_where_the_shape_goes():
    found = set()
    for seed in range(12):
        sample = make_video("train", 1, "direction", seed)
        (x0, y0), (x1, y1) = (sample.scene.movers[0].at(seconds) for seconds in (0, 5))
        dx, dy = x1 - x0, y1 - y0
        horizontal = "right" if dx > 0 else "left"
        assert sample.answer == (horizontal if abs(dx) > abs(dy) else "down" if dy > 0 else "up")
        found.add(sample.answer)
    assert len(found) == 4


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_exceeds_its_budget(policy, processor):
    clip = encode_clip(make_video("test", 2, "jumps", 1).scene)
    count = processor._timestamp_tokens({})
    for canvases in (2, 8):
        stream = make_stream(clip, policy, canvases)
        seconds = stream.seconds(stream.runs()[:, 0]).tolist()
        assert all(count(time) == timestamp_tokens(time) for time in (*seconds, 9.99, 9.996, 12.0))
        tokens = stream.num_tokens + sum(map(timestamp_tokens, seconds))
        assert 0.6 * budget_tokens(canvases) < tokens <= budget_tokens(canvases)


def test_uniform_frames_are_those_of_the_frames_backend(processor):
    clip = encode_clip(make_video("test", 1, "jumps", 1).scene)
    frames, metadata = uniform_frames(clip, 2)
    ours = processor.video_processor(frames, video_backend="frames", video_metadata=[metadata], return_metadata=True)
    theirs = processor.video_processor(clip, video_backend="frames", num_frames=budget_frames(2), return_metadata=True)
    assert torch.equal(ours["pixel_values_videos"], theirs["pixel_values_videos"])
    assert torch.equal(ours["video_patch_positions"], theirs["video_patch_positions"])
    assert ours["video_metadata"][0].seconds == theirs["video_metadata"][0].seconds


def test_blocks_are_named_after_what_covers_them():
    scene = make_video("test", 1, "jumps", 5).scene
    (start, end), jump = scene.light, scene.jumps[0]
    for frame in (start - 1, start, end - 1, end):
        assert {"on", "off"} & set(scene.blocks(frame).flat) == {"on" if start <= frame < end else "off"}
    before, first = scene.blocks(jump - 1), scene.blocks(jump)
    assert "jump" not in before and "figure" not in first and "ball" in first
    rows, columns = np.nonzero(first == "jump")
    # What changes between the two frames is where the figure is or was, and the ball if it is in the air.
    changed = np.abs(scene.image(jump).astype(int) - scene.image(jump - 1)).max(-1) > 40
    changed = changed.reshape(5, 28, 7, 28).mean((1, 3))
    assert (changed[rows, columns] > 0).all()
    assert (changed[(before == "wall") & (first == "wall")] < 2 * COVERED).all()


def test_contents_are_those_of_the_blocks_that_are_shown():
    scene = make_video("train", 1, "jumps", 4).scene
    stream = make_stream(encode_clip(scene), "evidence", 4)
    contents = stream_contents(name_tokens(scene, stream), stream)
    frames, lengths = stream.runs().T
    assert len(contents) == len(frames) and lengths[0] == 35
    for frame, length, words in zip(frames, lengths, contents):
        here = set(scene.blocks(frame).flat)
        assert words == "wall" or set(words.split()) <= here
        if length == 35:
            assert words == describe_blocks(here)
    shown = [frame for frame, words in zip(frames, contents) if "jump" in words]
    assert shown and set(shown) <= set(scene.jumps)


def test_answers_say_what_blocks_show():
    """Of a clip whose stream shows one jump of several, that one is asked for."""
    scene = make_video("train", 2, "jumps", 1).scene
    seconds = np.array([0.0, scene.seconds(scene.jumps[0]), scene.seconds(scene.light[0]), 9.5, 9.9])
    contents = ["figure off", "jump ball", "figure on", "ball", "off"]
    jumps, count, grounding = (
        shown_answer(ask(scene, task), seconds, contents) for task in ("jumps", "count", "grounding")
    )
    assert len(scene.jumps) > 1 and jumps == f"[{seconds[1]:.2f}]" and count == "1"
    assert grounding == f"The event happens in {seconds[2]:.2f} - 9.90 seconds"
    assert shown_answer(ask(scene, "jumps"), seconds[:1], contents[:1]) == "[]"
    # Nothing of the lamp is shown: what it does is all that can be said.
    assert shown_answer(ask(scene, "grounding"), seconds[:1], ["figure"]) == ask(scene, "grounding").answer


def test_coloured_shapes_are_named_with_their_place():
    rng = np.random.default_rng(3)
    for _ in range(5):
        _, name, names = draw_picture("train", 1, rng)
        *_, row, column = name.split()
        rows, columns = np.nonzero(names == name)
        assert {*names.flat} == {"wall", name}
        assert abs((rows.mean() + 0.5) / 5 - (ROWS.index(row) + 0.5) / 3) < 0.25
        assert abs((columns.mean() + 0.5) / 7 - (COLUMNS.index(column) + 0.5) / 3) < 0.25
        scene = make_motion("train", 1, rng, shapes=1)
        last = scene.num_frames - 1
        place = place_words(*scene.view(last, *scene.movers[0].at(scene.seconds(last))))
        assert {*scene.blocks(last).flat} == {"wall", f"{scene.movers[0].name} {place}"}


@pytest.mark.parametrize("level", LEVELS)
def test_conversations_follow_from_the_names_of_their_blocks(level):
    kinds = set()
    for seed in range(60):
        talk = make_conversation(level, seed)
        names = iter(talk.names)
        (first, said), *more = talk.turns
        assert "".join(question for question, _ in talk.turns).count(PLACEHOLDER) == len(talk.names)
        if first.startswith("<|vision_start|>"):
            kinds.add(talk.kind)
            assert talk.kind == "pictures"
            for question, answer in talk.turns:
                shown = {next(names) for _ in range(question.count(PLACEHOLDER))} - {"wall"}
                assert question.endswith(f"<|vision_end|>{QUESTIONS['picture']}")
                color, shape, row, column = shown.pop().split()
                assert not shown and answer in (
                    f"{article} {color} {shape} at the {row} {column}." for article in ("A", "An")
                )
            continue
        runs = re.findall(r"<([\d.]+) seconds><\|vision_start\|>((?:<\|vision_pad\|>)+)<\|vision_end\|>", first)
        times = [float(time) for time, _ in runs]
        shown = [[next(names) for _ in range(pads.count(PLACEHOLDER))] for _, pads in runs]
        assert times == sorted(times) and 3 <= len(times) <= TIMESTAMPS_PER_CANVAS * max(BUDGETS)
        asked = {QUESTIONS[task]: task for task in ("jumps", "count", "grounding", "contents", "order")}
        for question, answer in ((first.rpartition("<|vision_end|>")[2].strip(), said), *more):
            task = asked.get(question, "direction")
            kinds.add(task)
            assert (talk.kind == "jumps") == (task in ("jumps", "count", "grounding", "contents"))
            jumps = [time for time, words in zip(times, shown) if "jump" in words]
            if task == "jumps":
                assert parse_seconds(answer) == jumps
            elif task == "count":
                assert parse_number(answer) == len(jumps)
            elif task == "grounding":
                start, end = parse_interval(answer)
                assert "on" in shown[times.index(start)] and "off" in shown[times.index(end)]
                for time, words in zip(times, shown):
                    assert ("off" if start <= time < end else "on") not in words
            elif task == "contents":
                assert answer == format_contents(times, [describe_blocks({*words}) for words in shown])
            elif task == "order":
                seen = [" ".join(name.split()[:2]) for words in shown for name in words if name != "wall"]
                assert {*answer.split(", ")} == {*seen}
                firsts = [
                    next(time for time, words in zip(times, shown) if any(name.startswith(mover) for name in words))
                    for mover in answer.split(", ")
                ]
                assert firsts == sorted(firsts) and len({*firsts}) == len(firsts)
            else:
                (start,), (end,) = ({name for name in words if name != "wall"} for words in (shown[0], shown[-1]))
                (r0, c0), (r1, c1) = ((ROWS.index(n.split()[2]), COLUMNS.index(n.split()[3])) for n in (start, end))
                if start != end:
                    way = {"up": r1 < r0, "down": r1 > r0, "left": c1 < c0, "right": c1 > c0}
                    assert way[answer] and sum(way.values()) == 1
    assert kinds >= {*SHARES} | {"count", "grounding", "contents"}


def test_named_blocks_stand_for_the_words_that_name_them(processor, tmp_path):
    """The embeddings of placeholders are mixed from those of the words; all others are the text's own."""
    write_shard((tmp_path, "train", ("named",), 1, 0))
    torch.manual_seed(0)
    config = yaml.safe_load(train_micro.CONFIG.read_text())
    model = train_micro.make_model(processor, config["model"])
    stage = {"name": "named", "rows": {"form": ["named"]}, "trainer": {"max_steps": 1}}
    args = argparse.Namespace(data=tmp_path, workers=0)
    trainer = train_micro.make_trainer(stage, config, model, tmp_path / "run", args)
    examples = [trainer.train_dataset[index] for index in range(4)]
    batch = trainer.data_collator(examples)
    names = [name for example in examples for name in example["names"]]
    ids = batch["input_ids"]
    places = ids == processor.tokenizer.convert_tokens_to_ids(PLACEHOLDER)
    assert places.sum() == len(names) == len(batch["shares"])
    embeddings = trainer._embed_named(ids, batch["shares"]).detach()
    table = model.get_input_embeddings().weight.detach()
    assert torch.equal(embeddings[~places], table[ids[~places]])
    tokens = processor.tokenizer.convert_tokens_to_ids
    named = torch.stack([sum(table[tokens(f"Ġ{word}")] for word in name.split()) for name in names])
    assert torch.cosine_similarity(embeddings[places], named).mean() > 0.85
    loss = trainer.compute_loss(model, batch)
    loss.backward()
    assert loss.isfinite() and model.get_input_embeddings().weight.grad[tokens("Ġwall")].abs().sum() > 0


def test_conversations_have_as_many_timestamps_as_streams():
    """A text model that had read up to eight timestamps found no jump behind the twentieth."""
    for canvases in (2, 8):
        most = max(
            len(make_stream(encode_clip(make_video("train", 1, "jumps", seed).scene), "evidence", canvases).runs())
            for seed in range(3)
        )
        assert 0.8 < most / (TIMESTAMPS_PER_CANVAS * canvases) < 1.1
    numbers = [make_conversation(4, seed).turns[0][0].count(" seconds>") for seed in range(200)]
    assert np.percentile(numbers, 10) < 12 and np.percentile(numbers, 90) > 35


@pytest.mark.parametrize("shape", [(128, 128), (384, 128), (64, 256)])
def test_muon_moves_matrices_along_all_their_directions(shape):
    """Singular values of a gradient that span two decades become nearly one, and its singular vectors stay."""
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(size, min(shape)))[0] for size in shape)
    values = torch.logspace(0, -2, min(shape))
    matrix, bias = torch.nn.Parameter(torch.zeros(shape)), torch.nn.Parameter(torch.zeros(7))
    groups = [{"params": [matrix], "orthogonal": True}, {"params": [bias], "orthogonal": False}]
    optimizer = train_micro.Muon(groups, lr=0.1, weight_decay=0.0)
    matrix.grad, bias.grad = left * values @ right.T, torch.ones(7)
    optimizer.step()
    steps = (left.T @ -matrix.detach() @ right).diagonal() / (0.1 * 0.2 * max(shape) ** 0.5)
    assert steps.min() > 0.3 and steps.max() < 1.3
    torch.testing.assert_close(bias.detach(), torch.full((7,), -0.1))
    again = train_micro.Muon(groups, lr=0.1)
    again.load_state_dict(optimizer.state_dict())
    torch.testing.assert_close(again.state[matrix]["mean"], optimizer.state[matrix]["mean"])


def test_words_that_became_parallel_are_renewed(processor):
    torch.manual_seed(0)
    model = train_micro.make_model(processor, yaml.safe_load(train_micro.CONFIG.read_text())["model"])
    ids = processor.tokenizer.convert_tokens_to_ids([f"Ġ{shape}" for shape in SHAPES])
    tables = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    with torch.no_grad():
        for table in tables:
            table[ids] = 1.0
    before = [table.detach().clone() for table in tables]
    train_micro.renew_words(model, processor, [*SHAPES])
    for table, old in zip(tables, before):
        changed = (table != old).any(dim=1).nonzero()[:, 0].tolist()
        assert changed == sorted(ids)
        directions = torch.nn.functional.normalize(table[ids].detach(), dim=1)
        assert (directions @ directions.T - torch.eye(len(ids))).abs().max() < 0.5


def test_rows_of_similar_length_come_together_in_random_order():
    lengths = np.random.default_rng(0).integers(50, 1000, 200).tolist()
    sampler = train_micro.SimilarLengths(lengths, 16, seed=0)
    order = [*sampler]
    assert sorted(order) == [*range(200)] and order == [*sampler]
    groups = [np.array(lengths)[order[start : start + 16]] for start in range(0, 192, 16)]
    assert np.mean([np.ptp(group) for group in groups]) < 0.25 * np.ptp(lengths)
    means = [group.mean() for group in groups]
    assert means != sorted(means) and means != sorted(means, reverse=True)
    sampler.set_epoch(1)
    assert [*sampler] != order


@pytest.mark.parametrize("form", ["codec", "frames", "image", "named", "text"])
def test_rows_become_samples(form, processor):
    row = make_row("train", 1, 4, (form,))
    assert row == make_row("train", 1, 4, (form,))
    messages = to_messages({name: [value] for name, value in row.items()})
    example = {name: values[0] for name, values in messages.items()}
    sample = OV2DataCollator(processor).encode(example)
    assert 0.7 * row["length"] < sample["input_ids"].shape[1] < 1.4 * row["length"]
    text = processor.tokenizer.decode(sample["labels"][0][sample["labels"][0] >= 0])
    answers = [message["content"][0]["text"] for message in example["messages"] if message["role"] == "assistant"]
    assert text == "".join(f"{answer}<|im_end|>" for answer in answers)
    assert len(answers) == {"image": 4, "text": 2}.get(form, len(json.loads(row["turns"])))


@pytest.mark.parametrize("kind", PICTURE_KINDS)
def test_named_pictures(kind):
    pictures, names = make_named_pictures("train", 1, 3, kind)
    assert pictures.shape == (4, 140, 196, 3) and pictures.dtype == np.uint8 and names.shape == (4, 5, 7)
    assert {word for name in names.flat for word in name.split()} <= {*BLOCK_WORDS}
    if kind == "figure":
        assert {*names.flat} <= {*THINGS} and all("jump" in blocks for blocks in names[:2])
    else:
        assert all(len(name.split()) == 4 for name in names.flat if name != "wall")
    if kind in ("one shape", "shapes"):
        assert all("wall" in blocks and {*blocks.flat} > {"wall"} for blocks in names)


def test_named_blocks_teach_the_vision_tower_alone(processor):
    images, names = make_named_pictures("train", 1, 4, "figure")
    row = {"images": images[:2], "stream": None, "names": names[:2].ravel()}
    torch.manual_seed(0)
    model = train_micro.make_model(processor, yaml.safe_load(train_micro.CONFIG.read_text())["model"])
    namer = train_micro.BlockNamer(model, processor)
    batch = namer.collate([row])
    assert batch["shares"].shape == (70, len(BLOCK_WORDS)) and torch.all(batch["shares"].sum(1) == 1)
    optimizer = torch.optim.AdamW(namer.parameters(), lr=2e-3)
    losses = []
    for _ in range(60):
        losses.append(namer(**batch)["loss"])
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    # The last tokens of this one batch are near the words that name their blocks, and no longer than embeddings are.
    tokens = model.model.visual(**batch["pictures"]).pooler_output
    assert losses[-1] < 0.5 * losses[0]
    named = (tokens @ namer.words.T).argmax(1)
    assert (batch["shares"][range(70), named] > 0).float().mean() > 0.9
    assert 0.7 < (tokens.norm(dim=1) / namer.words.norm(dim=1).mean()).mean() < 1.5
    assert all(p.grad is None for name, p in model.named_parameters() if "visual" not in name)


@pytest.mark.parametrize("seed", range(0, 16, 4))
def test_named_blocks_of_a_stream(seed, processor):
    row = make_row("train", 1, seed, ("codec",))
    _, (stream,), (names,) = to_named_blocks({name: [value] for name, value in row.items()}).values()
    assert len(names) == stream.num_tokens
    answers = dict(json.loads(row["turns"]))
    if contents := answers.get(QUESTIONS["contents"]):
        assert contents.startswith(f"[0.00 {describe_blocks({*names[:35]})}")
    elif QUESTIONS["count"] in answers:
        assert {"figure", "ball"} <= {*names[:35]} <= {*THINGS}
    else:
        named = {name for name in names if name != "wall"}
        shapes = {" ".join(name.split()[:2]) for name in named}
        assert shapes and all(any(shape in text for text in (*answers, *answers.values())) for shape in shapes)
    torch.manual_seed(0)
    model = train_micro.make_model(processor, yaml.safe_load(train_micro.CONFIG.read_text())["model"])
    namer = train_micro.BlockNamer(model, processor)
    drawn, blocks = make_named_pictures("train", 1, seed, "shapes")
    streamed = {"images": None, "stream": stream, "names": names}
    batch = namer.collate([streamed, {"images": drawn, "stream": None, "names": blocks.ravel()}, streamed])
    # Pictures first, as their tokens come first.
    assert namer(**batch)["loss"].isfinite() and len(batch["shares"]) == 140 + 2 * stream.num_tokens
    torch.testing.assert_close(batch["shares"][:140], train_micro.word_shares(blocks.ravel().tolist()))


def test_training_goes_on_where_it_stopped(tmp_path, monkeypatch):
    """Two stages of two steps; a run that was stopped in between ends with the same weights."""
    monkeypatch.setattr("synthetic.dataset.ROWS_PER_SHARD", 4)
    for form in ("image", "blocks"):
        write_shard((tmp_path / "data", "train", (form,), 1, 0))
    assert len(load_shards(tmp_path / "data", {"level": [2]})) == 0
    config = yaml.safe_load(train_micro.CONFIG.read_text())
    config["model"]["text"]["num_hidden_layers"] = config["model"]["vision"]["num_hidden_layers"] = 1
    config["trainer"] |= {"per_device_train_batch_size": 2, "save_steps": 1, "logging_steps": 1}
    trainer = {"max_steps": 2, "learning_rate": 1e-3}
    config["stages"] = [
        {"name": name, "rows": {"form": [form]}, "trainer": trainer, "name_blocks": form == "blocks", "muon": True}
        for name, form in (("one", "blocks"), ("two", "image"))
    ]
    (tmp_path / "micro.yaml").write_text(yaml.safe_dump(config))

    def run(name):
        arguments = ["--data", tmp_path / "data", "--config", tmp_path / "micro.yaml", "--output", tmp_path / name]
        arguments += ["--publish", tmp_path / name / "published", "--workers", 0, "--threads", torch.get_num_threads()]
        monkeypatch.setattr(sys, "argv", ["train_micro.py", *map(str, arguments)])
        train_micro.main()
        return (tmp_path / name / "published" / "model.safetensors").read_bytes()

    whole = run("whole")
    one, two = tmp_path / "whole" / "one", tmp_path / "whole" / "two"
    assert whole[:8] and (two / "loss.png").exists() and (two / "trainer_state.json").exists()
    # As if the machine had stopped in the first step of the second stage.
    (two / "final" / "model.safetensors").unlink()
    for path in sorted((two / "checkpoint-2").iterdir()):
        path.unlink()
    (two / "checkpoint-2").rmdir()
    before = (one / "final" / "model.safetensors").stat().st_mtime_ns
    assert run("whole") == whole
    assert (one / "final" / "model.safetensors").stat().st_mtime_ns == before


def test_the_experiment_goes_on_where_it_stopped(tmp_path, monkeypatch, processor):
    """With a random model: what is answered is nonsense, but counted and scored all the same."""
    torch.manual_seed(0)
    model = train_micro.make_model(processor, yaml.safe_load(train_micro.CONFIG.read_text())["model"])
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(experiment, "MAX_NEW_TOKENS", dict.fromkeys(experiment.METRICS, 4))
    arguments = ["--model", tmp_path / "model", "--output", tmp_path / "out", "--levels", 1, "--budgets", 2]
    arguments += ["--seeds", 1, "--clips", 1, "--threads", torch.get_num_threads()]
    monkeypatch.setattr(sys, "argv", ["experiment.py", *map(str, arguments)])
    experiment.main()
    path = tmp_path / "out" / "answers.jsonl"
    whole = path.read_text().splitlines()
    rows = [json.loads(line) for line in whole]
    names = {*experiment.COMPARED, *experiment.ABLATIONS, *(f"evidence, {x}" for x in experiment.INPUT_ABLATIONS)}
    assert len(rows) == len(names) and {row["run"] for row in rows} == names
    assert all(0 <= row[task]["score"] <= 1 for row in rows for task in experiment.METRICS)
    table, numbers = ((tmp_path / "out" / name).read_bytes() for name in ("table.md", "numbers.json"))
    assert b"| evidence, timestamps removed | 8 |" in table and (tmp_path / "out" / "experiment.png").exists()
    path.write_text("\n".join(whole[:5]) + "\n")
    experiment.main()
    assert sorted(path.read_text().splitlines()) == sorted(whole)
    assert (tmp_path / "out" / "numbers.json").read_bytes() == numbers


def test_clips_are_video_files():
    with av.open(io.BytesIO(encode_clip(make_video("test", 1, "jumps", 0).scene))) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (196, 140)
        assert len(list(container.decode(stream))) == make_video("test", 1, "jumps", 0).scene.num_frames
