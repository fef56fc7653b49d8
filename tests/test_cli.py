# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import functools
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText, TextStreamer

import transformers_ov2
from transformers_ov2.cli import COMMANDS, ask, demo, main, tokenize
from transformers_ov2.cli.loading import has_weights, load_model
from transformers_ov2.codec import read_assets, tokenize_video
from transformers_ov2.codec.packing import assets


ASSETS = Path(__file__).parents[1] / "examples" / "assets"
BALL, LAMP = str(ASSETS / "ball.mp4"), str(ASSETS / "lamp.mp4")
NAMES = [module.__name__.rpartition(".")[2] for module in COMMANDS]


@pytest.fixture
def run(capsys):
    """Runs a command line in this process: exit code, stdout, stderr."""

    def run(*argv) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in argv])
        except SystemExit as exit:
            code = exit.code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The bundled tiny model with random weights."""
    folder = tmp_path_factory.mktemp("model")
    shutil.copytree(ASSETS / "tiny-ov2", folder, dirs_exist_ok=True)
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    return folder


def python(code: str, *argv: str) -> str:
    command = [sys.executable, "-c", code, *argv]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("argv", "light"),
    [(["--help"], ("torch", "transformers", "av", "numpy")), (["inspect", LAMP], ("torch", "transformers", "PIL"))],
)
def test_help_and_inspect_are_light(argv, light):
    code = """
import sys, time
from transformers_ov2.cli import main
try:
    main(sys.argv[1:])
except SystemExit as exit:
    assert exit.code == 0
print("\\n" + " ".join(sys.modules))
print(time.process_time())
"""
    *_, modules, seconds = python(code, *argv).splitlines()
    assert not set(light) & set(modules.split())
    assert float(seconds) < 1.0


def test_module_and_version():
    command = [sys.executable, "-m", "transformers_ov2", "--version"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed == f"transformers-ov2 {transformers_ov2.__version__}\n"


@pytest.mark.parametrize("name", NAMES)
def test_help_has_examples(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert f"  transformers-ov2 {name}" in out.partition("examples:")[2]
    assert "--json" in out


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["play"],
        ["inspect"],
        ["inspect", LAMP, "--target-canvas", "0"],
        ["inspect", LAMP, "--grouping", "random"],
        ["inspect", LAMP, "--codec", "{"],
        ["inspect", LAMP, "--codec", '{"target_canvases": 3}'],
        ["tokenize", LAMP],
        ["tokenize", LAMP, "--out", __file__],
        ["ask", LAMP],
        ["ask", LAMP, "--prompt", "What?", "--num-frames", "4", "--fps", "1"],
        ["ask", LAMP, "--prompt", "What?", "--num-frames", "0"],
        ["ask", LAMP, "--prompt", "What?", "--fps", "-1"],
        ["ask", LAMP, "--prompt", "What?", "--max-new-tokens", "0"],
        ["ask", LAMP, "--prompt", "What?", "--num-frames", "4", "--backend", "codec"],
        ["ask", LAMP, "--prompt", "What?", "--target-canvas", "4", "--backend", "frames"],
        ["ask", LAMP, "--prompt", "What?", "--target-canvas", "four", "--model", "no/model"],
        ["serve", "no/model", "--grouping", "random"],
        ["serve", "no/model", "--codec", '{"num_threads": "x"}'],
        ["merge", "--encoder", "a", "--output", "b"],
        ["convert", "a", "--output", "b", "--weights", "move"],
    ],
)
def test_wrong_usage(run, argv):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("usage: transformers-ov2")


def test_inspect_plans_what_is_made(run):
    code, out, _ = run("inspect", BALL, "--target-canvas", 12, "--max-tokens", 1500, "--json")
    found, stream = json.loads(out), tokenize_video(BALL, target_canvas=12, max_tokens=1500)
    assert code == 0
    assert [[group["start"], group["end"]] for group in found["plan"]] == stream.groups.tolist()
    assert [group["canvases"] for group in found["plan"]] == stream.canvases_per_group.tolist()
    assert found["tokens"]["visual"] == stream.num_tokens
    assert found["tokens"]["total_at_most"] <= 1500
    assert (found["tokens"]["canvas_height"], found["tokens"]["canvas_width"]) == stream.canvases.shape[1:3]
    assert found["length"]["frames"] == 125 and found["gops"]["max_frames"] == 50
    predicted = found["length"]["bytes"] - found["gops"]["key_bytes"]
    assert sum(found["energy"]["bytes"]) == predicted
    assert sum(group["bytes"] for group in found["plan"]) == found["length"]["bytes"]


def test_inspect_is_readable(run):
    code, out, _ = run("inspect", BALL, LAMP, "--target-canvas", 8)
    assert code == 0
    for line in (
        "ball.mp4 (mov,mp4",
        "  stream 0   video h264 320x240",
        "  length     5.00 s, 125 frames, 25.00 fps",
        "  GOPs       3 of 25 to 50 frames",
        "  energy     ▁",
        "  canvases   8 of 308x252 pixels, 99 tokens each",
        "  tokens     792 visual + at most",
        "lamp.mp4 (mov,mp4",
    ):
        assert line in out
    code, out, _ = run("inspect", BALL, "--grouping", "readiness")
    assert code == 0
    assert "not known before decoding" in out


def test_bad_files_are_reported_and_the_others_go_on(run, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    code, out, err = run("inspect", tmp_path / "bad.mp4", tmp_path / "none.mp4", LAMP)
    assert code == 1
    assert out.startswith(LAMP)
    assert len(err.splitlines()) == 2
    assert "none.mp4: No such file" in err

    code, out, err = run("inspect", tmp_path / "bad.mp4", LAMP, "http://127.0.0.1/clip.mp4", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (1, "")
    assert ["error" in record for record in records] == [True, False, True]
    assert "network access is off" in records[2]["error"]


def test_tokenize_writes_assets_and_goes_on(run, tmp_path):
    out_dir = tmp_path / "out"
    command = ("tokenize", BALL, LAMP, "--out", out_dir, "--target-canvas", 4, "--image-format", "png")
    (out_dir / ".lamp.partial").mkdir(parents=True)
    (out_dir / ".lamp.partial" / "canvas_000.png").write_bytes(b"half")
    code, out, _ = run(*command)
    assert code == 0
    assert out.startswith(f"[1/2] {BALL}: 4 canvases in 1 groups, 396 visual tokens by motion+residual")
    assert sorted(path.name for path in out_dir.iterdir()) == ["ball", "lamp"]
    stream, ours = tokenize_video(LAMP, target_canvas=4), read_assets(out_dir / "lamp")
    np.testing.assert_array_equal(ours.canvases, stream.canvases)
    np.testing.assert_array_equal(ours.patch_positions, stream.patch_positions)

    shutil.rmtree(out_dir / "lamp")
    stamp = (out_dir / "ball" / "meta.json").stat().st_mtime_ns
    code, out, _ = run(*command, "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [record.get("skipped", False) for record in records] == [True, False]
    assert (out_dir / "ball" / "meta.json").stat().st_mtime_ns == stamp

    code, _, err = run("tokenize", BALL, "--out", out_dir, "--target-canvas", 8)
    assert code == 1 and "other options" in err
    shutil.copyfile(LAMP, tmp_path / "ball.mp4")
    code, _, err = run("tokenize", tmp_path / "ball.mp4", *command[2:])
    assert code == 1 and "holds something else" in err


def test_tokenize_draws_pictures(run, tmp_path, monkeypatch):
    code, _, _ = run("tokenize", LAMP, "--out", tmp_path, "--target-canvas", 4, "--max-pixels", 12544, "--pictures")
    assert code == 0
    pictures = tmp_path / "lamp" / "pictures"
    names = ("canvases.png", "energy.png", "rebuild.png", "selection.png", "signals.png", "tokens.png", "video.mp4")
    assert sorted(path.name for path in pictures.iterdir()) == sorted(names)
    assert len(read_assets(tmp_path / "lamp").canvases) == 4

    monkeypatch.setattr(tokenize, "has_viz", lambda: False)
    code, _, err = run("tokenize", BALL, "--out", tmp_path, "--pictures")
    assert code == 1 and 'pip install "transformers-ov2[viz]"' in err
    assert not (tmp_path / "ball").exists()


def test_interrupted_tokenize_leaves_nothing_half_written(run, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(assets.np, "save", interrupt)
    code, _, err = run("tokenize", LAMP, "--out", tmp_path, "--target-canvas", 4)
    assert (code, err) == (130, "interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_ctrl_c(tmp_path):
    pipe = tmp_path / "clip.mp4"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "transformers_ov2", "inspect", pipe]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Shells have what they run in the background ignore the signal, and children inherit that.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, preexec_fn=heard, **pipes) as process:
        with open(pipe, "wb"):  # opens once the command reads
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


def test_reader_that_goes_away():
    command = [sys.executable, "-m", "transformers_ov2", "inspect", LAMP, "--json"]
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (process.returncode, process.stderr) == (1, "")


def test_ask_streams_what_json_holds(run, model, tmp_path):
    image = tmp_path / "picture.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(image)
    command = ("ask", image, LAMP, "--prompt", "What happens?", "--model", model, "--max-new-tokens", 6)
    code, out, _ = run(*command)
    assert code == 0
    code, json_out, _ = run(*command, "--json")
    found = json.loads(json_out)
    assert code == 0
    assert out.strip() == found["answer"].strip() != ""
    tokens = found["tokens"]
    assert tokens["prompt"] == tokens["images"] + tokens["videos"] + tokens["text"]
    assert (tokens["images"], tokens["videos"], tokens["answer"]) == (4, 432, 6)


def test_ask_writes_the_words_as_they_come(run, monkeypatch):
    row = json.loads((ASSETS / "questions.jsonl").read_text().splitlines()[0])
    pieces, write = [], TextStreamer.on_finalized_text

    def listen(self, text, stream_end=False):
        pieces.append((text, stream_end))
        write(self, text, stream_end)

    monkeypatch.setattr(TextStreamer, "on_finalized_text", listen)
    command = ("ask", ASSETS / row["video"], "--prompt", row["question"], "--model", ASSETS / "ov2-micro")
    code, out, _ = run(*command)
    assert (code, json.loads(out)) == (0, row["answer"])
    # A piece for each word, a time of the list; the last one comes with the end.
    assert len([text for text, ended in pieces if text and not ended]) == len(row["answer"]) - 1 >= 1


@pytest.mark.parametrize(
    ("options", "videos"),
    [
        (["--num-frames", "2"], 2 * 11 * 9),
        (["--backend", "frames", "--fps", "0.4", "--max-pixels", "12544"], 2 * 4 * 3),
        (["--target-canvas", "4"], 4 * 54),
        (["--codec", '{"images_per_group": 2, "target_canvas": 2}'], 2 * 54),
    ],
)
def test_ask_budgets(run, model, options, videos):
    code, out, _ = run("ask", LAMP, "--prompt", "?", "--model", model, "--max-new-tokens", 1, "--json", *options)
    assert code == 0
    assert json.loads(out)["tokens"]["videos"] == videos


def test_ask_fails_before_it_loads_a_model(run, model, monkeypatch, tmp_path):
    code, out, err = run("ask", tmp_path / "none.mp4", "--prompt", "?", "--model", "no/model")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "none.mp4: no such file" in err
    code, _, err = run("ask", LAMP, "--prompt", "?", "--model", ASSETS / "tiny-ov2")
    assert code == 1 and "holds no weights" in err
    code, _, err = run("ask", LAMP, "--prompt", "?", "--model", tmp_path / "nowhere")
    assert code == 1 and len(err.splitlines()) == 1
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", lambda *args, **kwargs: pytest.fail("loaded"))
    code, out, err = run("ask", tmp_path / "bad.mp4", "--prompt", "?", "--model", model)
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "not a readable video" in err


def test_pickled_weights_are_no_missing_ones(run, model, tmp_path):
    """The sentence that the command ends with converts them."""
    folder = shutil.copytree(ASSETS / "tiny-ov2", tmp_path / "pickled")
    weights = load_file(model / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    code, _, err = run("ask", LAMP, "--prompt", "?", "--model", folder)
    assert code == 1 and "in pickled files alone (pytorch_model.bin)" in err
    eval(err.strip().split("write them anew: ")[1], {"AutoModelForImageTextToText": AutoModelForImageTextToText})
    assert has_weights(str(folder))
    converted = load_model(str(folder))
    torch.testing.assert_close(converted.lm_head.weight, weights["lm_head.weight"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("item", "kind"),
    [("https://a/b.JPG?size=1", "image"), ("https://a/b.mp4", "video"), (str(ASSETS), "video"), (LAMP, "video")],
)
def test_kinds_of_media(item, kind):
    assert ask.media_part(item) == {"type": kind, kind: item}


def test_demo(run, monkeypatch, tmp_path):
    # The package may be installed elsewhere: the command is run in a checkout.
    monkeypatch.setattr(demo, "ASSETS", demo.ASSETS[1:])
    shutil.copytree(ASSETS, tmp_path / "examples" / "assets")
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("demo", "--json")
    assert code == 0
    found = json.loads(out)
    assert json.loads(found["answer"]) == found["truth"] != []
    assert sum(tokens for _, tokens in found["runs"]) == found["tokens"]["videos"] > 0
    assert Image.open("ov2-demo.png").width > 500
    code, out, _ = run("demo", "--video", LAMP, "--prompt", "Does it flash?", "--picture", "lamp.png")
    assert code == 0
    assert "question   Does it flash?" in out and "seconds  tokens" in out and "truth" not in out
    assert Image.open("lamp.png").width > 500

    with monkeypatch.context() as patch:
        patch.setattr(demo, "has_viz", lambda: False)
        code, out, _ = run("demo")
    assert code == 0
    assert 'picture    pictures need matplotlib: pip install "transformers-ov2[viz]"' in out

    shutil.rmtree(tmp_path / "examples")
    code, out, err = run("demo")
    assert (code, out) == (1, "")
    assert "run it there, or pass --model, --video and --prompt" in err


def test_merge_and_convert(run, fixtures, tmp_path):
    released = tmp_path / "released"
    shutil.copytree(fixtures / "hub_layout", released)
    shutil.copyfile(fixtures / "model" / "model.safetensors", released / "model.safetensors")
    code, out, _ = run("convert", released, "--output", tmp_path / "native", "--weights", "symlink", "--json")
    assert code == 0
    assert json.loads(out)["output"] == str(tmp_path / "native")

    text = tmp_path / "text"
    shutil.copytree(fixtures / "hub_layout", text)
    config = json.loads((text / "config.json").read_text())["text_config"]
    (text / "config.json").write_text(json.dumps(config))
    weights = {
        name.replace("model.language_model.", "model."): tensor
        for name, tensor in load_file(released / "model.safetensors").items()
        if not name.startswith("model.visual.")
    }
    save_file(weights, text / "model.safetensors")
    command = ("merge", "--encoder", tmp_path / "native", "--language-model", text, "--output", tmp_path / "stage0")
    code, out, _ = run(*command, "--max-shard-size", "1MB")
    assert code == 0
    assert out.startswith(f"{tmp_path / 'stage0'}: complete")
    assert (tmp_path / "stage0" / "model.safetensors.index.json").is_file()
    code, out, err = run(*command)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].endswith("already exists: choose another folder or remove it.")


def test_doctor(run, monkeypatch):
    requirements = [
        "numpy>=1.26",
        "av>=99",
        "nothing-here>=2",
        'elsewhere; extra == "train"',
        'pytest; extra == "test"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requirements[:1])
    code, out, _ = run("doctor", "--json")
    report = json.loads(out)
    checks = {check["name"]: check for check in report["checks"]}
    assert (code, report["healthy"]) == (0, True)
    assert checks["numpy"]["found"] == np.__version__
    assert "h264" in checks["decoders"]["found"]
    assert checks["codec stream"]["found"].startswith("4 canvases of a test clip by motion+residual")

    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requirements)
    code, out, err = run("doctor")
    assert code == 1
    assert 'needed is >=99  ->  pip install "av>=99"' in out
    assert 'not installed  ->  pip install "nothing-here>=2"' in out
    assert "pytest" not in out
    assert "optional  train: elsewhere" in out and 'pip install "transformers-ov2[train]"' in out
    assert err == "transformers-ov2 doctor: missing: av, nothing-here\n"
