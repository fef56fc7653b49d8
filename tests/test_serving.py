# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' server over HTTP, asked through the `openai` client as its users ask it."""

import base64
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from transformers_ov2.cli import main
from transformers_ov2.codec import isolation
from transformers_ov2.evaluation.answers import answer


openai = pytest.importorskip("openai")
uvicorn = pytest.importorskip("uvicorn")

ASSETS = Path(__file__).parents[1] / "examples" / "assets"
CODEC = {"target_canvas": 4, "max_pixels": 12544}


@pytest.fixture(scope="module")
def model() -> str:
    return str(ASSETS / "ov2-micro")


@pytest.fixture(scope="module")
def server(model):
    from transformers_ov2.serving import MediaPolicy, build_app

    app = build_app(
        model,
        media=MediaPolicy(folders=(ASSETS,)),
        processor_options={"codec": CODEC, "max_tokens": 2000},
        device="cpu",
    )
    process = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=process.run)
    thread.start()
    while not process.started:
        time.sleep(0.05)
    port = process.servers[0].sockets[0].getsockname()[1]
    yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    process.should_exit = True
    thread.join()


def data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture() -> bytes:
    content = io.BytesIO()
    PIL.Image.fromarray((np.indices((64, 64)).sum(0)[..., None] * [2, 1, 0]).astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


def part(name: str) -> dict:
    if name == "picture":
        return {"type": "image_url", "image_url": {"url": data_url("image/png", picture())}}
    return {"type": "video_url", "video_url": {"url": data_url("video/mp4", (ASSETS / name).read_bytes())}}


def ask(client, model, *parts, **options):
    content = [*parts, {"type": "text", "text": "What happens?"}]
    return client.chat.completions.create(
        model=model,
        messages=options.pop("messages", [{"role": "user", "content": content}]),
        max_tokens=options.pop("max_tokens", 4),
        temperature=0,
        **options,
    )


@pytest.fixture(scope="module")
def expected(model):
    """What the model answers without a server between."""
    processor, network = AutoProcessor.from_pretrained(model), AutoModelForImageTextToText.from_pretrained(model)

    def run(*blocks, **options):
        conversation = [{"role": "user", "content": [*blocks, {"type": "text", "text": "What happens?"}]}]
        return answer(network, processor, [conversation], processor_kwargs=options, max_new_tokens=4)[0]

    return run


def test_image(server, model, expected):
    found = ask(server, model, part("picture"))
    assert found.choices[0].message.content.strip() == expected(
        {"type": "image", "image": PIL.Image.open(io.BytesIO(picture()))}
    )
    assert found.usage.completion_tokens == 4


def test_codec_video_and_frames_by_option(server, model, expected):
    video = {"type": "video", "video": str(ASSETS / "ball.mp4")}
    codec = ask(server, model, part("ball.mp4"))
    assert codec.choices[0].message.content.strip() == expected(video, codec=CODEC, max_tokens=2000)
    frames = ask(server, model, part("ball.mp4"), extra_body={"chat_template_kwargs": {"num_frames": 4}})
    assert frames.choices[0].message.content.strip() == expected(
        video, video_backend="frames", num_frames=4, max_tokens=2000
    )
    assert codec.usage.prompt_tokens != frames.usage.prompt_tokens


def test_the_answer_is_right(server, model):
    rows = map(json.loads, (ASSETS / "questions.jsonl").read_text().splitlines())
    row = next(row for row in rows if row["task"] == "jumps")
    content = [part(row["video"]), {"type": "text", "text": row["question"]}]
    # The budget that the model was published with.
    own = {"codec": {"target_canvas": 4, "max_pixels": 28_000}, "max_tokens": 284}
    found = ask(
        server,
        model,
        messages=[{"role": "user", "content": content}],
        max_tokens=48,
        extra_body={"chat_template_kwargs": own},
    )
    assert json.loads(found.choices[0].message.content) == row["answer"]


def test_every_frames_option_chooses_frames(server, model, expected):
    video = {"type": "video", "video": str(ASSETS / "ball.mp4")}
    found = ask(server, model, part("ball.mp4"), extra_body={"chat_template_kwargs": {"max_frames": 4}})
    assert found.choices[0].message.content.strip() == expected(video, max_frames=4, max_tokens=2000)
    # null is no choice, as in the options of the processor.
    found = ask(server, model, part("ball.mp4"), extra_body={"chat_template_kwargs": {"num_frames": None}})
    assert found.choices[0].message.content.strip() == expected(video, codec=CODEC, max_tokens=2000)


def test_codec_options_are_laid_over_those_of_the_server(server, model, expected):
    video = {"type": "video", "video": str(ASSETS / "ball.mp4")}
    changed, whole = {"codec": {"selection": "state"}}, {"codec": {**CODEC, "selection": "state"}}
    found = ask(server, model, part("ball.mp4"), extra_body={"chat_template_kwargs": changed})
    assert found.usage == ask(server, model, part("ball.mp4"), extra_body={"chat_template_kwargs": whole}).usage
    assert found.choices[0].message.content.strip() == expected(video, **whole, max_tokens=2000)
    found = ask(server, model, part("ball.mp4"), extra_body={"chat_template_kwargs": {"codec": None}})
    assert found.choices[0].message.content.strip() == expected(video, codec=CODEC, max_tokens=2000)


def test_streaming_gives_the_same_answer(server, model):
    whole = ask(server, model, part("ball.mp4")).choices[0].message.content
    chunks = list(ask(server, model, part("ball.mp4"), stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.strip() == whole.strip() and len(chunks) > 2


def test_several_turns_and_a_second_video(server, model):
    question = [part("ball.mp4"), {"type": "text", "text": "What happens?"}]
    messages = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": "A ball bounces."},
        {"role": "user", "content": [part("lamp.mp4"), {"type": "text", "text": "And here?"}]},
    ]
    found = ask(server, model, messages=messages)
    once = ask(server, model, messages=messages[:1])
    assert found.usage.prompt_tokens > 1.5 * once.usage.prompt_tokens


def test_responses_endpoint(server, model):
    content = [
        {"type": "input_image", "image_url": data_url("image/png", picture())},
        {"type": "input_text", "text": "What happens?"},
    ]
    found = server.responses.create(
        model=model, input=[{"role": "user", "content": content}], max_output_tokens=4, stream=False, temperature=0
    )
    assert found.output_text.strip() == ask(server, model, part("picture")).choices[0].message.content.strip()


def test_eight_requests_at_once(server, model):
    names = ["ball.mp4", "cart.mp4", "lamp.mp4", "picture"] * 2
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: ask(server, model, part(name)).choices[0].message.content, names))
    assert found[:4] == found[4:]
    assert found[0] == ask(server, model, part("ball.mp4")).choices[0].message.content


def test_files_of_an_allowed_folder(server, model):
    path = {"type": "video_url", "video_url": {"url": (ASSETS / "ball.mp4").as_uri()}}
    assert ask(server, model, path).choices == ask(server, model, part("ball.mp4")).choices


BAD = {
    "a local file": ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "Local files are refused"),
    "a path": ({"type": "video_url", "video_url": {"url": "/etc/hostname"}}, "Local files are refused"),
    "a path that climbs": (
        {"type": "video_url", "video_url": {"url": f"{ASSETS}/../../setup.py"}},
        "Local files are refused",
    ),
    "a missing file": ({"type": "video_url", "video_url": {"url": f"{ASSETS}/none.mp4"}}, "no such file"),
    "the machine itself": (
        {"type": "video_url", "video_url": {"url": "http://127.0.0.1:9/a.mp4"}},
        "127.0.0.1",
    ),
    "an image of the machine itself": (
        {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/a.png"}},
        "127.0.0.1",
    ),
    "another scheme": ({"type": "image_url", "image_url": {"url": "ftp://example.com/a.png"}}, "scheme 'ftp'"),
    "no video": (
        {"type": "video_url", "video_url": {"url": data_url("video/mp4", b"nothing")}},
        "not a readable video",
    ),
    "no image": ({"type": "image_url", "image_url": {"url": data_url("image/png", b"nothing")}}, "cannot be read"),
    "no base64": ({"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}}, "not valid base64"),
    "audio": ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "'input_audio' is not supported"),
    "no url": ({"type": "video_url"}, "must be a string"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_refused_and_the_server_lives(server, model, case):
    content, sentence = BAD[case]
    with pytest.raises(openai.BadRequestError) as refused:
        ask(server, model, content)
    assert sentence in str(refused.value)
    assert ask(server, model, max_tokens=1).usage.completion_tokens == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="isolation needs Linux")
@pytest.mark.parametrize("options", [{}, {"num_frames": 4}], ids=["codec", "frames"])
def test_a_video_that_crashes_its_decoder_is_refused_and_the_server_lives(server, model, options, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(isolation, "_START", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
        with pytest.raises(openai.BadRequestError, match="died with status -11"):
            ask(server, model, part("ball.mp4"), extra_body={"chat_template_kwargs": options})
    assert ask(server, model, part("ball.mp4"), max_tokens=1).usage.completion_tokens == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"allow_private_network": True}, "may not be set by a request"),
        ({"images": ["/etc/passwd"]}, "may not be set by a request"),
        ({"chat_template": "{{ 1 }}"}, "may not be set by a request"),
        ({"max_tokens": 10**6}, "up to 2000"),
        ({"codec": {"canvases": 4}}, "no option of the codec-stream tokenizer"),
        ({"max_pixels": "many"}, "field 'max_pixels'"),
        ({"num_frames": 4, "codec": {"target_canvas": 4}}, "leave one of them out"),
        ({"codec": 4}, "field 'codec'"),
    ],
)
def test_options_that_belong_to_the_server(server, model, options, sentence):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(server, model, part("ball.mp4"), extra_body={"chat_template_kwargs": options})
    assert sentence in str(refused.value)


def test_no_other_model_is_loaded(server, model):
    with pytest.raises(openai.BadRequestError, match="pinned"):
        ask(server, "somebody/else")
    assert [each.id for each in server.models.list()] == [model]


def test_command_serves_until_it_is_interrupted(model, expected):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers_ov2", "serve", model, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--target-canvas", "4", "--max-pixels", "12544", "--device", "cpu", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            started = json.loads(process.stdout.readline())
            assert started == {"url": f"http://127.0.0.1:{port}/v1", "model": model}
            client = openai.OpenAI(base_url=started["url"], api_key="none", max_retries=8)
            found = ask(client, model, part("ball.mp4")).choices[0].message.content.strip()
            assert found == expected({"type": "video", "video": str(ASSETS / "ball.mp4")}, codec=CODEC)
        finally:
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=60)
    assert rest == "" and "POST /v1/chat/completions" in errors
    assert process.returncode in (0, 130) and "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--allowed-media", "nowhere"], 1, "nowhere: no such folder"),
        (["--backend", "frames", "--target-canvas", "4"], 2, "do not go with --backend frames"),
        (["--download-seconds", "0"], 1, "`download_seconds` must be a positive number"),
    ],
)
def test_wrong_options_of_the_command_are_one_sentence(capsys, arguments, code, sentence):
    try:
        found = main(["serve", "model", *arguments])
    except SystemExit as stop:
        found = stop.code
    assert found == code and sentence in capsys.readouterr().err
