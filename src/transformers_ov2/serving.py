# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
transformers' OpenAI-compatible server with OV2 in it, for requests of people who are not trusted.

The server, its routes and its generation are transformers' own (`transformers.cli.serving`). What is added: it serves
one model; videos are codec streams unless a request says otherwise; images and videos come from the request itself
(`data:` URLs), from public http(s) addresses within limits, or from folders that were allowed; a bad request is
answered with status 400 and a sentence. A video that crashes its decoder is one, because every video is read in a
process of its own (on Linux). Needs `pip install "transformers-ov2[serve]"`.
"""

import asyncio
import io
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import PIL.Image
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from huggingface_hub.errors import StrictDataclassError
from transformers.cli.serving.chat_completion import ChatCompletionHandler
from transformers.cli.serving.completion import CompletionHandler
from transformers.cli.serving.model_manager import ModelManager
from transformers.cli.serving.response import ResponseHandler
from transformers.cli.serving.server import build_server
from transformers.cli.serving.systemone import SystemOneHandler
from transformers.cli.serving.transcription import TranscriptionHandler
from transformers.cli.serving.utils import GenerationState, Modality
from transformers.utils import logging

from .codec import VideoError
from .codec.reading.network import NetworkLimits, fetch_bytes
from .video_inputs import local_path
from .video_options import FRAMES_OPTIONS, choose_backend
from .video_sources import decode_data_url


logger = logging.get_logger(__name__)

# What a request may set of the processor, in `chat_template_kwargs`. The rest belongs to whoever runs the server: a
# template, files to read, where to connect.
REQUEST_OPTIONS = (
    "codec",
    "enable_thinking",
    "fps",
    "frame_window_size",
    "max_frames",
    "max_pixels",
    "max_tokens",
    "min_pixels",
    "num_frames",
    "timestamp_decimals",
    "video_backend",
)
# Content that is understood, and the key of its URL.
MEDIA = {"image_url": "image_url", "input_image": "image_url", "video_url": "video_url"}
TEXT = ("text", "input_text", "output_text")


@dataclass(frozen=True)
class MediaPolicy:
    """
    Where images and videos of requests may come from.

    Attributes:
        folders (`tuple[Path, ...]`): local files are read from these folders only; none by default.
        limits (`NetworkLimits`): of downloads. `max_download_bytes` also limits what a request carries itself.
        max_pixels (`int`): most pixels of an image.
    """

    folders: tuple[Path, ...] = ()
    limits: NetworkLimits = field(default_factory=lambda: NetworkLimits(allow_network=True))
    max_pixels: int = 64_000_000

    def load(self, kind: str, url: Any) -> Any:
        """
        What the processor may be given for a URL of a request: an image, the bytes or path of a video, or the http(s)
        URL of one, which the tokenizer fetches within its own limits.

        Args:
            kind (`str`): `"image"` or `"video"`.
            url (`str`): `data:`, `http(s):` or `file:` URL, or a path.

        Raises:
            ValueError: it is refused or cannot be read; the sentence says why.
        """
        if not isinstance(url, str) or not url:
            raise ValueError(f"The URL of {_article(kind)} must be a string, got {type(url).__name__}.")
        scheme = urlsplit(url).scheme.lower()
        if scheme == "data":
            return self._picture(self._decode(url), "The image") if kind == "image" else self._decode(url)
        if scheme in ("http", "https"):
            return url if kind == "video" else self._picture(fetch_bytes(url, url, self.limits), url)
        path = self._allowed(url)
        return self._picture(path.read_bytes(), path.name) if kind == "image" else str(path)

    def _decode(self, url: str) -> bytes:
        if len(url.partition(",")[2]) * 3 // 4 > self.limits.max_download_bytes:
            raise ValueError(f"The content of a `data:` URL exceeds {self.limits.max_download_bytes} bytes.")
        return decode_data_url(url)

    def _allowed(self, url: str) -> Path:
        parts = urlsplit(url)
        if parts.scheme.lower() == "file" or not parts.scheme:
            path = (local_path(url) or Path(url)).resolve()
            if any(path.is_relative_to(folder.resolve()) for folder in self.folders):
                if not path.is_file():
                    raise ValueError(f"{path.name}: no such file.")
                return path
            raise ValueError("Local files are refused: the server was started without `--allowed-media` for them.")
        raise ValueError(f"URLs of the scheme {parts.scheme!r} are refused: use data:, http: or https:.")

    def _picture(self, content: bytes, name: str) -> PIL.Image.Image:
        try:
            image = PIL.Image.open(io.BytesIO(content))
            if image.width * image.height > self.max_pixels:
                raise ValueError(f"{name}: {image.width}x{image.height} pixels exceed the limit of {self.max_pixels}.")
            image.load()
        except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
            raise ValueError(f"{name} cannot be read ({error}).") from error
        return image


class OV2ModelManager(ModelManager):
    """
    Holds the one model that is served; its video processor fetches within the limits of the server and, on Linux,
    reads every video in a child process.
    """

    def __init__(self, model: str, limits: NetworkLimits, **options: Any):
        self.limits = limits
        super().__init__(force_model=model, **options)

    def _load_processor(self, model_id_and_revision: str, gguf_file: str | None = None):
        processor = super()._load_processor(model_id_and_revision, gguf_file=gguf_file)
        for name, value in vars(self.limits).items():
            setattr(processor.video_processor, name, value)
        if sys.platform.startswith("linux"):
            processor.video_processor.isolate = True
        else:
            logger.warning("Videos are read in the process of the server: one that crashes its decoder ends it.")
        return processor

    def load_model_and_processor(self, model_id_and_revision: str, *args: Any, **kwargs: Any):
        if model_id_and_revision != self.process_model_name(self.force_model):
            raise ValueError(f"This server serves {self.force_model} alone.")
        return super().load_model_and_processor(model_id_and_revision, *args, **kwargs)

    @staticmethod
    def get_model_modality(model, processor=None) -> Modality:
        """Images and videos. OV2 is in the table of multimodal models too, for which the server would load audio."""
        return Modality.VLM

    def get_gen_models(self, cache_dir: str | None = None) -> list[dict]:
        return [{"id": self.force_model, "object": "model", "owned_by": "", "created": 0}]


class _Guarded:
    """A handler that checks requests and reads their media, away from the event loop, before it goes on."""

    def __init__(self, *, media: MediaPolicy, max_tokens: int | None = None, **arguments: Any):
        super().__init__(**arguments)
        self.media = media
        self.max_tokens = max_tokens

    async def handle_request(self, body: dict, request_id: str):
        try:
            self._check_options(body)
            return await super().handle_request(await asyncio.to_thread(self._with_media, body), request_id)
        except HTTPException:
            raise
        # What the processor and `generate` raise for input that they cannot take.
        except (VideoError, ValueError, TypeError, OSError, StrictDataclassError) as error:
            raise HTTPException(400, detail=" ".join(str(error).split())) from error
        except (KeyError, AttributeError, StopIteration) as error:
            raise HTTPException(400, detail=f"The request is malformed ({type(error).__name__}: {error}).") from error

    def _check_options(self, body: dict) -> None:
        options = body.get("chat_template_kwargs") or {}
        if not isinstance(options, dict):
            raise ValueError("`chat_template_kwargs` must be an object.")
        for name in options:
            if name not in REQUEST_OPTIONS:
                raise ValueError(
                    f"`{name}` may not be set by a request. The options are: {', '.join(REQUEST_OPTIONS)}."
                )
        # null is no choice, as in a call of the processor.
        options = {name: value for name, value in options.items() if value is not None}
        if self.max_tokens is not None:
            asked = options.get("max_tokens", self.max_tokens)
            if not isinstance(asked, int) or asked > self.max_tokens:
                raise ValueError(f"`max_tokens` must be a number up to {self.max_tokens} on this server.")
        # What the server says of the other backend does not apply.
        backend = choose_backend(options)
        if backend == "frames":
            options = {"video_backend": backend, "codec": None, **options}
        elif backend == "codec":
            served = self.chat_template_kwargs
            unset = dict.fromkeys(name for name in FRAMES_OPTIONS if name in served)
            options = {"video_backend": backend, **unset, **options}
            if isinstance(options.get("codec"), dict):
                options["codec"] = {**(served.get("codec") or {}), **options["codec"]}
        if "chat_template_kwargs" in body:
            body["chat_template_kwargs"] = options

    def _with_media(self, body: dict) -> dict:
        key = "messages" if "messages" in body else "input"
        messages = body.get(key)
        if not isinstance(messages, list):
            return body
        return {**body, key: [self._message(message) for message in messages]}

    def _message(self, message: Any) -> Any:
        if not isinstance(message, dict):
            raise ValueError(f"A message must be an object, got {type(message).__name__}.")
        if message.get("type") in MEDIA:  # the Responses API takes content without a message around it
            return self._content(message)
        content = message.get("content")
        return (
            {**message, "content": [self._content(part) for part in content]} if isinstance(content, list) else message
        )

    def _content(self, part: Any) -> dict:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in TEXT:
            return part
        if kind not in MEDIA:
            raise ValueError(f"Content of the type {kind!r} is not supported: use {', '.join((*TEXT, *MEDIA))}.")
        url = part.get(MEDIA[kind])
        url = url.get("url") if isinstance(url, dict) else url
        return {"type": kind, MEDIA[kind]: {"url": self.media.load("video" if kind == "video_url" else "image", url)}}


class ChatHandler(_Guarded, ChatCompletionHandler):
    """`/v1/chat/completions`."""


class ResponsesHandler(_Guarded, ResponseHandler):
    """`/v1/responses`."""


def build_app(
    model: str,
    *,
    media: MediaPolicy | None = None,
    processor_options: dict[str, Any] | None = None,
    enable_cors: bool = False,
    **model_options: Any,
) -> FastAPI:
    """
    The server as an ASGI application. The model is loaded by this call.

    Args:
        model (`str`): repository or folder.
        media (`MediaPolicy`, *optional*): where images and videos may come from.
        processor_options (`dict`, *optional*): of the processor, for requests that do not set them; its `max_tokens`
            is the most that a request may ask for.
        enable_cors (`bool`, defaults to `False`): let pages of any origin call the server.
        model_options: of transformers' `ModelManager`: `device`, `dtype`, `attn_implementation`, `quantization`.
    """
    media = media or MediaPolicy()
    options = dict(processor_options or {})
    manager = OV2ModelManager(model, media.limits, **model_options)
    state = GenerationState()
    shared = {"model_manager": manager, "generation_state": state}
    # The server asks for 32 frames of every video unless it is told otherwise; here the processor decides.
    defaults = {"num_frames": None, **options}
    guard = {"media": media, "max_tokens": options.get("max_tokens"), "chat_template_kwargs": defaults}
    app = build_server(
        manager,
        ChatHandler(**shared, **guard),
        completion_handler=CompletionHandler(**shared),
        response_handler=ResponsesHandler(**shared, **guard),
        transcription_handler=TranscriptionHandler(manager, state),
        systemone_handler=SystemOneHandler(**shared),
        generation_state=state,
        enable_cors=enable_cors,
    )

    @app.exception_handler(HTTPException)
    async def explain(request: Request, error: HTTPException) -> JSONResponse:
        # The form in which the clients of the OpenAI API look for the sentence.
        message = {"message": str(error.detail), "type": "invalid_request_error", "code": error.status_code}
        return JSONResponse({"error": message}, status_code=error.status_code)

    return app


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "image" else f"a {kind}"
