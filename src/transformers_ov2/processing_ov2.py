# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Processor of LLaVA-OneVision-2: images, videos and text to the inputs of the model."""

import functools
import re
from collections.abc import Callable, Mapping

import PIL.Image
import transformers
from transformers import AutoTokenizer, Qwen2VLImageProcessorPil
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import get_image_size, make_flat_list_of_images
from transformers.processing_utils import MultiModalData, ProcessorMixin
from transformers.utils import auto_docstring, logging

from .codec.reading.network import NetworkLimits
from .image_inputs import load_image
from .video_inputs import flatten_videos, is_picture
from .video_processing_ov2 import OV2VideoProcessor


logger = logging.get_logger(__name__)

# Qwen2-VL's layout. Branches on `content.type` alone, because datasets stored as Arrow carry every key in every block;
# marks what the assistant says, which TRL needs for `assistant_only_loss`.
CHAT_TEMPLATE = """\
{%- set image_count = namespace(value=0) -%}
{%- set video_count = namespace(value=0) -%}
{%- macro render(content) -%}
{%- if content is string -%}
{{- content -}}
{%- else -%}
{%- for part in content -%}
{%- if part.type == 'image' or part.type == 'image_url' -%}
{%- set image_count.value = image_count.value + 1 -%}
{%- if add_vision_id -%}{{- 'Picture ' ~ image_count.value ~ ': ' -}}{%- endif -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part.type == 'video' -%}
{%- set video_count.value = video_count.value + 1 -%}
{%- if add_vision_id -%}{{- 'Video ' ~ video_count.value ~ ': ' -}}{%- endif -%}
{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
{%- elif part.type == 'text' -%}
{{- part.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- if messages[0].role != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' ~ message.role ~ '\\n' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}
{{- render(message.content) ~ '<|im_end|>' -}}
{%- endgeneration -%}
{%- else -%}
{{- render(message.content) ~ '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
CONTENT_TYPES = ("text", "image", "image_url", "video", "video_url")
IMAGE_PROCESSORS = {"pil": "Qwen2VLImageProcessorPil", "torchvision": "Qwen2VLImageProcessor"}


def has_generation_markers(chat_template: str) -> bool:
    """Whether a chat template marks what the assistant says, with `{% generation %}`."""
    return re.search(r"{%[-+]?\s*generation\b", chat_template) is not None


@auto_docstring(
    custom_intro="""
    Processor of LLaVA-OneVision-2: Qwen2-VL's image processor, [`OV2VideoProcessor`] and a tokenizer. Images and
    videos may be mixed in any order, over several turns and in batches. `min_pixels` and `max_pixels` of a call hold
    for images and videos; put them in `images_kwargs` or `videos_kwargs` to set one of them.

    Batches are padded on the left, for generation, whatever the tokenizer's own default; `padding_side="right"` in a
    call, in `from_pretrained`, or set on the tokenizer afterwards, changes that.

    Pixels, grids and positions are torch tensors, of images and of videos, when `return_tensors` is not given; ids
    and masks are lists.

    `from_pretrained` takes `backend="pil"` (default: the pixels of the released processor) or `"torchvision"` for
    the image processor, and `save_pretrained` keeps it.
    """
)
class OV2Processor(ProcessorMixin):
    def __init__(self, image_processor=None, tokenizer=None, video_processor=None, chat_template=None, **kwargs):
        self.image_token = getattr(tokenizer, "image_token", None) or "<|image_pad|>"
        self.video_token = getattr(tokenizer, "video_token", None) or "<|video_pad|>"
        self.vision_start_token = getattr(tokenizer, "vision_start_token", None) or "<|vision_start|>"
        self.vision_end_token = getattr(tokenizer, "vision_end_token", None) or "<|vision_end|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        self.vision_start_token_id = tokenizer.convert_tokens_to_ids(self.vision_start_token)
        self.vision_end_token_id = tokenizer.convert_tokens_to_ids(self.vision_end_token)
        # Generation goes on at the right end of every row. Training pads on the right, and asks for it in its calls.
        tokenizer.padding_side = "left"
        super().__init__(
            image_processor, tokenizer, video_processor, chat_template=chat_template or CHAT_TEMPLATE, **kwargs
        )
        if image_processor.temporal_patch_size != 1:
            raise ValueError(
                f"The image processor's `temporal_patch_size` must be 1, got {image_processor.temporal_patch_size}: "
                "the encoder embeds single images."
            )
        for name in ("patch_size", "merge_size"):
            if getattr(image_processor, name) != getattr(video_processor, name):
                raise ValueError(
                    f"The image processor's `{name}` is {getattr(image_processor, name)}, the video processor's "
                    f"{getattr(video_processor, name)}: both feed one encoder and must agree."
                )

    @functools.wraps(ProcessorMixin.apply_chat_template, assigned=())
    def apply_chat_template(self, conversation, chat_template=None, *args, **kwargs):
        """
        [`~ProcessorMixin.apply_chat_template`], which takes the same arguments.

        Content may be of type `text`, `image`, `image_url`, `video` and `video_url`, the last as in OpenAI's interface
        (`{"type": "video_url", "video_url": {"url": ...}}`).

        Raises:
            ValueError: the conversation is empty, content is of another type, or `return_assistant_tokens_mask` is
                asked of a template that does not mark what the assistant says.
        """
        if kwargs.pop("load_audio_from_video", False):
            # Servers ask it of every multimodal model.
            logger.warning_once("LLaVA-OneVision-2 takes no audio: the sound of videos is not used.")
        if kwargs.get("return_assistant_tokens_mask"):
            templates = self.chat_template if isinstance(self.chat_template, dict) else {"default": self.chat_template}
            template = templates.get(chat_template or "default", chat_template)
            if template is not None and not has_generation_markers(template):
                raise ValueError(
                    "The chat template does not mark what the assistant says (`{% generation %}`). "
                    "`transformers_ov2.training.set_training_chat_template(processor)` sets one that does."
                )
        return super().apply_chat_template(_checked_conversation(conversation), chat_template, *args, **kwargs)

    def prepare_inputs_layout(self, images=None, text=None, videos=None, audio=None, **kwargs):
        if audio is not None:
            raise ValueError("LLaVA-OneVision-2 takes no audio.")
        images = _drop_empty(images)
        if images is not None:
            limits = self.video_processor.network_limits(**{**(kwargs.get("videos_kwargs") or {}), **kwargs})
            images = _load_images(images, limits)
        return super().prepare_inputs_layout(images=images, text=text, videos=_drop_empty(videos), **kwargs)

    def validate_inputs(self, images=None, text=None, videos=None, audio=None, **kwargs):
        """
        Raises:
            ValueError: nothing is given, `text` is no string or list of strings, or the images or videos do not match
                the placeholders: in number, and per sample when they come as one list per sample.
        """
        if images is None and text is None and videos is None:
            raise ValueError(f"You need to provide at least one input to call {self.__class__.__name__}")
        if text is None:
            return
        if not all(isinstance(sample, str) for sample in text):
            raise ValueError("`text` must be a string or list of strings.")
        for name, token, (items, per_sample) in (
            ("images", self.image_token, _flatten_images(images)),
            ("videos", self.video_token, flatten_videos([] if videos is None else videos)),
        ):
            found = [sample.count(token) for sample in text]
            if sum(found) and not items:
                raise ValueError(f"Found {sum(found)} {token} tokens in the text but no {name} were passed.")
            if sum(found) != len(items):
                lists = any(isinstance(item, (list, tuple)) and len(item) > 1 for item in items)
                raise ValueError(
                    f"The total number of {token} tokens in the prompts should be the same as the number of {name} "
                    f"passed. Found total {sum(found)} {token} tokens and {len(items)} {name}."
                    + (" A list of images is one video: nest it to pass several, `[[a], [b]]`." * lists)
                )
            if per_sample is not None and len(per_sample) == len(text) and per_sample != found:
                raise ValueError(
                    f"The number of {token} tokens of every prompt should be the number of its {name}. Found {found} "
                    f"{token} tokens and {per_sample} {name}."
                )

    def _process_images(self, images, **kwargs):
        images, _ = _flatten_images(images)
        do_resize = kwargs.get("do_resize")
        if not (self.image_processor.do_resize if do_resize is None else do_resize):
            self._check_sizes(images, kwargs.get("input_data_format"))
        # Qwen2-VL's image processor keeps the pixel limits in `size` and deprecates them as arguments of a call.
        limits = {"shortest_edge": kwargs.pop("min_pixels", None), "longest_edge": kwargs.pop("max_pixels", None)}
        limits = {edge: pixels for edge, pixels in limits.items() if pixels is not None}
        if limits:
            kwargs["size"] = {**dict(self.image_processor.size), **dict(kwargs.get("size") or {}), **limits}
        features, replacements = super()._process_images(images, **kwargs)
        if kwargs.get("return_tensors") is None:
            features.convert_to_tensors("pt")  # as the torchvision backend and the video processor
        return features, replacements

    def _check_sizes(self, images: list, input_data_format: str | None):
        factor = self.image_processor.patch_size * self.image_processor.merge_size
        for image in images:
            if isinstance(image, PIL.Image.Image):
                width, height = image.size
            else:
                height, width = get_image_size(image, input_data_format)
            if height % factor or width % factor:
                raise ValueError(f"Without `do_resize`, sides must be multiples of {factor} pixels: {height}x{width}.")

    def _process_videos(self, videos, **kwargs):
        videos, _ = flatten_videos(videos)
        kwargs["return_metadata"] = True
        features = self.video_processor(videos, timestamp_tokens=self._timestamp_tokens(kwargs), **kwargs)
        return features, [self.replace_video_token(features, index, **kwargs) for index in range(len(videos))]

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs) -> str:
        num_patches = int(image_inputs["image_grid_thw"][image_idx].prod())
        return self.image_token * (num_patches // self.image_processor.merge_size**2)

    def replace_video_token(self, video_inputs: dict, video_idx: int, **kwargs) -> str:
        """
        The prompt of one video: per frame, or per run of tokens from one source frame, `<1.5 seconds>` and the
        placeholders between vision start and end. Blocks of a codec video end with a newline, those of frames do not.
        """
        metadata = video_inputs["video_metadata"][video_idx]
        decimals = self._timestamp_decimals(kwargs)
        end = "\n" if metadata.video_backend == "codec" else ""
        return "".join(
            f"<{seconds:.{decimals}f} seconds>"
            f"{self.vision_start_token}{self.video_token * run_length}{self.vision_end_token}{end}"
            for seconds, run_length in zip(metadata.seconds, metadata.run_lengths)
        )

    def _timestamp_decimals(self, videos_kwargs: dict) -> int:
        decimals = videos_kwargs.get("timestamp_decimals")
        return self.video_processor.timestamp_decimals if decimals is None else decimals

    def _timestamp_tokens(self, videos_kwargs: dict) -> Callable[[float], int]:
        """Counts the tokens around the placeholders of a timestamp as `replace_video_token` writes it."""
        decimals = self._timestamp_decimals(videos_kwargs)

        @functools.cache
        def count(text: str) -> int:
            return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

        # The newline of codec videos counts for frames as well: at most one token too much per timestamp.
        return lambda seconds: count(
            f"\n<{seconds:.{decimals}f} seconds>{self.vision_start_token}{self.vision_end_token}"
        )

    def get_text_with_replacements(self, text, *args, **kwargs):
        # The base class finds the placeholders. A video brings its own vision start and end tokens, a pair for each
        # timestamp, so the pair around its placeholder goes; so does one newline after it when the video ends in one.
        prompts = list(text)
        _, batch_offsets = super().get_text_with_replacements(text, *args, **kwargs)
        expanded = []
        for prompt, offsets in zip(prompts, batch_offsets):
            pieces, last, length = [], 0, 0
            for entry in offsets:
                start, end = entry["span"]
                if entry["type"] == "video":
                    if prompt.endswith(self.vision_start_token, last, start) and prompt.startswith(
                        self.vision_end_token, end
                    ):
                        start, end = start - len(self.vision_start_token), end + len(self.vision_end_token)
                    if entry["replacement"].endswith("\n") and prompt.startswith("\n", end):
                        end += 1
                pieces += [prompt[last:start], entry["replacement"]]
                length += len(pieces[-2])
                entry["span"], entry["text"] = (start, end), prompt[start:end]
                entry["new_span"] = (length, length + len(entry["replacement"]))
                length, last = entry["new_span"][1], end
            expanded.append("".join([*pieces, prompt[last:]]))
        return expanded, batch_offsets

    def _get_num_multimodal_tokens(self, image_sizes=None, video_sizes=None, **kwargs) -> MultiModalData:
        """
        Number of placeholder tokens of inputs of the given sizes, for serving engines.

        Args:
            image_sizes (`list[list[int]]`, *optional*): (height, width) of every image in pixels.
            video_sizes (`list[list[int]]`, *optional*):
                (number of frames, height, width) of every video. For `video_backend="codec"` the result is an upper
                bound, see [`OV2VideoProcessor.get_num_of_video_patches`].

        Returns:
            `MultiModalData`: `num_image_tokens`, `num_image_patches` and `num_video_tokens`, a list each. Tokens of
            timestamps are text and not counted.
        """
        merged_kwargs = self._merge_kwargs(self.valid_processor_kwargs, **kwargs)
        block = self.image_processor.merge_size**2
        vision_data = {}
        if image_sizes is not None:
            patches = [
                self.image_processor.get_number_of_image_patches(*size, merged_kwargs["images_kwargs"])
                for size in image_sizes
            ]
            vision_data["num_image_tokens"] = [count // block for count in patches]
            vision_data["num_image_patches"] = patches
        if video_sizes is not None:
            vision_data["num_video_tokens"] = [
                self.video_processor.get_num_of_video_patches(*size, merged_kwargs["videos_kwargs"]) // block
                for size in video_sizes
            ]
        return MultiModalData(**vision_data)

    def to_dict(self):
        # transformers saves the class name of the image processor without its backend.
        backend = "pil" if isinstance(self.image_processor, PilBackend) else "torchvision"
        return {**super().to_dict(), "backend": backend}

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        processor = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if kwargs.get("padding_side") is not None:
            processor.tokenizer.padding_side = kwargs["padding_side"]
        return processor

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        # The classes are known, so no name or `auto_map` of the repository decides what is run.
        kwargs["trust_remote_code"] = False
        # Released files may be those of a Qwen2-VL processor, which joins two frames per patch; OV2 never does.
        kwargs["temporal_patch_size"] = 1
        vision_options = {
            *Qwen2VLImageProcessorPil.valid_kwargs.__annotations__,
            *OV2VideoProcessor.valid_kwargs.__annotations__,
        }
        backend, use_fast = kwargs.pop("backend", None), kwargs.get("use_fast")
        if backend is None and use_fast is not None:
            backend = "torchvision" if use_fast else "pil"
        if backend is None:
            backend = (processor_dict or {}).get("backend", "pil")
        if backend not in IMAGE_PROCESSORS:
            raise ValueError(f"`backend` must be one of {tuple(IMAGE_PROCESSORS)}, got {backend!r}.")
        image_processor_class = getattr(transformers, IMAGE_PROCESSORS[backend])
        image_processor = image_processor_class.from_pretrained(pretrained_model_name_or_path, **kwargs)
        video_processor = OV2VideoProcessor.from_pretrained(pretrained_model_name_or_path, **kwargs)
        tokenizer = AutoTokenizer.from_pretrained(
            pretrained_model_name_or_path, **{k: v for k, v in kwargs.items() if k not in vision_options}
        )
        # What would be saved again but belongs to the repository that was read.
        for processor in (image_processor, video_processor):
            for name in ("auto_map", "codec") if processor is image_processor else ("auto_map",):
                processor.__dict__.pop(name, None)
        tokenizer.init_kwargs.pop("auto_map", None)
        tokenizer.init_kwargs.pop("processor_class", None)
        return [image_processor, tokenizer, video_processor]


def _drop_empty(items):
    """`None` in place of a nested list that holds nothing; Arrow writes `None` for every missing key."""
    if not isinstance(items, (list, tuple)):
        return items
    items = [_drop_empty(item) if isinstance(item, (list, tuple)) else item for item in items]
    if all(item is None for item in items):
        return None
    return [([] if item is None else item) for item in items]


def _load_images(images, limits: NetworkLimits):
    if isinstance(images, (list, tuple)):
        return [_load_images(image, limits) for image in images]
    return load_image(images, limits)


def _checked_conversation(conversation):
    """A conversation, or a batch of them, with content that every chat template renders; copied where it changes."""
    if len(conversation) == 0:
        raise ValueError("The conversation is empty: pass at least one message.")
    checked = []
    for message in conversation:
        if isinstance(message, (list, tuple)):
            message = _checked_conversation(message)
        elif isinstance(message, Mapping) and isinstance(message.get("content"), (list, tuple)):
            message = {**message, "content": [_checked_block(block) for block in message["content"]]}
        checked.append(message)
    return checked


def _checked_block(block: Mapping) -> Mapping:
    kind = block.get("type") if isinstance(block, Mapping) else None
    if kind not in CONTENT_TYPES:
        what = f"{str(block)[:64]!r} without a type" if kind is None else f"of type {kind!r}"
        raise ValueError(f"Content {what} is not supported: the types are {', '.join(CONTENT_TYPES)}.")
    # Arrow writes every key into every block, and there are templates that look at keys.
    block = {key: value for key, value in block.items() if value is not None}
    if kind.endswith("_url"):
        # {"type": "video_url", "video_url": {"url": ...}}
        url = block.get(kind)
        block = {"type": kind.removesuffix("_url"), "url": url.get("url") if isinstance(url, Mapping) else url}
    if block["type"] == "video":
        for key in ("video", "url", "path"):
            # A picture is a video of one frame. Next to another one it would be taken for a frame of the same video.
            if is_picture(block.get(key)):
                block = {**block, key: [block[key]]}
    return block


def _flatten_images(images) -> tuple[list, list[int] | None]:
    """The images in order, and the number of images per sample when they came as a list of samples."""
    if images is None:
        return [], None
    if isinstance(images, (list, tuple)) and any(isinstance(sample, (list, tuple)) for sample in images):
        samples = [_flatten_images(sample)[0] for sample in images]
        return [image for sample in samples for image in sample], [len(sample) for sample in samples]
    return (list(images) if isinstance(images, (list, tuple)) else make_flat_list_of_images(images)), None


__all__ = ["CHAT_TEMPLATE", "OV2Processor"]
