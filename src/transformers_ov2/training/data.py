# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""User rows to the rows that TRL's SFTTrainer needs, from plain captions and from the formats published for OV2."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from datasets import Dataset, Features, Image, IterableDataset, Json, List, Value
from datasets.exceptions import DatasetGenerationError
from PIL import Image as PILImage

from .. import __version__
from ..codec import CodecStream


# `Json` keeps Arrow from writing a `None` for every key that another block or row has. The `images` column makes TRL
# treat the rows as multimodal: without it, it drops images and videos silently.
SFT_FEATURES = Features({"messages": Json(), "images": List(Value("string"))})

_MARKER = re.compile(r"(<image>|<video>)")
_PREVIEW_TURN = re.compile(r"\[(system|user|assistant)\]\s?")
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
# (request, response) columns of rows that are no conversation; a missing request is `DEFAULT_PROMPT`.
_PAIRS = (("prompt", "completion"), ("question", "answer"), ("prompt", "answer"), ("prompt", "caption"))
DEFAULT_PROMPT = "Describe this {}."


def to_sft_row(row: Mapping[str, Any], media_root: str | Path | None = None) -> dict[str, Any]:
    """
    Convert a row to what TRL's `SFTTrainer` needs: `messages` made of typed blocks, and `images`.

    The text of a row is one of

    - `messages`: `{"role", "content"}`; a content is a string or a list of typed blocks,
    - `conversations`: `{"from", "value"}`,
    - `preview`: a string `[user] … [assistant] …`,
    - `prompt` and `completion`, `question` and `answer`, or `caption` (with `prompt`, or a standard one).

    Its media are `image`, `images`, `video` and `videos` (paths, or whatever the processor accepts). They go where
    `<image>` and `<video>` stand in the text, or before the first user message when it has no such marker. Bytes of a
    video or of a tokenized one become `data:` URLs, which a `messages` column can hold. Images with
    `patch_positions` (or `positions_thw`), the canvases of a tokenized video, become one video block that
    [`OV2DataCollator`] reads.

    Args:
        row (`Mapping[str, Any]`): the row.
        media_root (`str` or `Path`, *optional*): folder that relative paths start from.

    Returns:
        `dict[str, Any]`: `messages` and `images`, the images in the order of their blocks.

    Raises:
        ValueError: the row has no text, an unknown role, or another number of media than of markers.
    """
    row = {name: value for name, value in row.items() if value is not None}
    messages = [{"role": role, "content": content} for role, content in _turns(row)]
    videos = [{"type": "video", "video": _path(video, media_root)} for video in _as_list(row, "video", "videos")]
    images = [_path(image, media_root) for image in _as_list(row, "image", "images")]

    if positions := row.get("patch_positions") or row.get("positions_thw"):
        if videos:
            raise ValueError(f"Row {row.get('id', row)}: it has canvases with `patch_positions` and videos besides.")
        positions = [positions] if isinstance(positions, str) else list(positions)
        block = {
            "type": "video",
            "canvases": images,
            "patch_positions": [_path(p, media_root) for p in positions],
            "fps": float(row.get("fps", 1.0)),
        }
        if "timestamp_decimal" in row:
            block["timestamp_decimals"] = int(row["timestamp_decimal"])
        messages = [_join_markers(message, len(images)) for message in messages]
        videos, images = [block], []

    try:
        return _place_media(messages, images, videos, media_root)
    except ValueError as error:
        raise ValueError(f"Row {row.get('id', row)}: {error}") from error


def to_sft_dataset(
    rows: str | Path | Iterable[Mapping[str, Any]] | Dataset | IterableDataset,
    media_root: str | Path | None = None,
) -> Dataset | IterableDataset:
    """
    Convert rows, see [`to_sft_row`], to a dataset for TRL's `SFTTrainer`.

    Args:
        rows: a jsonl file, a list of rows, a `Dataset` or an `IterableDataset` (streamed: its rows are converted when
            they are read).
        media_root (`str` or `Path`, *optional*):
            Folder that relative paths start from. Defaults to the folder of the jsonl file.

    Returns:
        `Dataset` or `IterableDataset` with the columns `messages` and `images`.

    Raises:
        ValueError: a row cannot be converted.
        TypeError: a video in `rows` is neither a path nor a URL, which only an `IterableDataset` can hold.
    """
    if isinstance(rows, Dataset | IterableDataset):
        # Python objects (decoded frames, codec streams) go through untouched when nothing declares their type.
        features = rows.features
        return rows.map(
            to_sft_row,
            fn_kwargs={"media_root": media_root},
            remove_columns=None if features is None else [name for name in features if name not in SFT_FEATURES],
            features=None if features is None else _sft_features(_holds_pictures(features)),
        )
    if isinstance(rows, str | Path):
        path = Path(rows).absolute()
        state = path.stat()
        if not state.st_size:
            raise ValueError(f"{path} is empty.")
        kwargs = {
            "path": str(path),
            "media_root": str(path.parent if media_root is None else media_root),
            # A part of the key under which the data set is kept: a file that was written again is read again.
            "state": (state.st_size, state.st_mtime_ns, __version__),
        }
        try:
            # Goes to disk, not to memory, whatever the size of the file.
            return Dataset.from_generator(_read_lines, features=SFT_FEATURES, gen_kwargs=kwargs)
        except DatasetGenerationError as error:
            raise error.__cause__ from None
    converted = [to_sft_row(row, media_root) for row in rows]
    pictures = any(not isinstance(image, str) for row in converted for image in row["images"])
    for row in converted:
        for block in _blocks(row["messages"]):
            if block["type"] == "video" and not _is_json(block):
                raise TypeError(
                    f"A `Dataset` holds videos as paths or URLs, not as {type(block['video']).__name__}. Write the "
                    "video to a file, or use an `IterableDataset`."
                )
    return Dataset.from_list(converted, features=_sft_features(pictures))


def _read_lines(path: str, media_root: str, state: tuple) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield to_sft_row(json.loads(line), media_root)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: {error}") from error


def _sft_features(pictures: bool) -> Features:
    return Features({**SFT_FEATURES, "images": List(Image())}) if pictures else SFT_FEATURES


def _holds_pictures(features: Features) -> bool:
    columns = [features[name] for name in ("image", "images") if name in features]
    return any(isinstance(getattr(column, "feature", column), Image) for column in columns)


def read_canvases(
    canvases: Sequence[str | Path], patch_positions: Sequence[str | Path], fps: float, patch: int = 14, merge: int = 2
) -> CodecStream:
    """
    Read the canvases of a tokenized video that is stored as images and `.npy` files of positions.

    Args:
        canvases (`Sequence[str | Path]` of length `num_canvases`): image files of one size.
        patch_positions (`Sequence[str | Path]`):
            One `.npy` file per canvas or one for all: int `(num_patches, 3)` source (frame, row, column) of every
            patch, row-major per canvas or in merge-block order (blocks tell which).
        fps (`float`): frames per second of the source.
        patch (`int`), merge (`int`): side of a patch in pixels, and of a block in patches.

    Returns:
        `CodecStream`: groups of four canvases, as the reference makes them.

    Raises:
        ValueError: the canvases differ in size, or the positions are not those of whole blocks.
        OSError: a file cannot be read.
    """
    pixels = []
    for path in canvases:
        with PILImage.open(path) as image:
            pixels.append(np.asarray(image.convert("RGB")))
    if len({image.shape for image in pixels}) != 1:
        raise ValueError(f"The canvases of a video must have one size, got {sorted({i.shape for i in pixels})}.")
    num_canvases = len(pixels)
    height, width, _ = pixels[0].shape
    rows, columns = height // patch, width // patch
    if height % (patch * merge) or width % (patch * merge):
        raise ValueError(f"Canvases must be multiples of {patch * merge} pixels, got {height}x{width}.")
    positions = np.concatenate([np.load(path, allow_pickle=False).reshape(-1, 3) for path in patch_positions])
    if len(positions) != num_canvases * rows * columns:
        raise ValueError(
            f"{num_canvases} canvases of {rows}x{columns} patches need {num_canvases * rows * columns} positions, got "
            f"{len(positions)}."
        )
    positions = positions.astype(np.int64)
    grid = (num_canvases, rows // merge, columns // merge, merge, merge, 3)
    row_major = positions.reshape(num_canvases, rows // merge, merge, columns // merge, merge, 3).swapaxes(2, 3)
    if _whole_blocks(row_major):
        blocks = row_major
    elif _whole_blocks(positions.reshape(grid)):
        blocks = positions.reshape(grid)
    else:
        raise ValueError("The patch positions are no whole blocks, neither row-major nor in merge-block order.")

    frames = np.unique(blocks[..., 0][blocks[..., 0] >= 0])
    starts = np.arange(0, num_canvases, 4)
    first = [int(_first_frame(blocks[start:])) for start in starts]
    return CodecStream(
        canvases=np.stack(pixels),
        patch_positions=blocks.swapaxes(2, 3).reshape(num_canvases, rows * columns, 3),
        groups=np.stack([first, [*first[1:], int(frames[-1]) + 1]], axis=1).astype(np.int64),
        canvases_per_group=np.diff(starts, append=num_canvases),
        frame_ids=frames,
        timestamps=frames / fps,
        fps=fps,
        signal_source=["bits"] * len(frames),
        patch=patch,
        merge=merge,
    )


def _first_frame(blocks: np.ndarray) -> int:
    frames = blocks[..., 0]
    return frames[frames >= 0].flat[0] if (frames >= 0).any() else 0


def _whole_blocks(blocks: np.ndarray) -> bool:
    """Whether `[..., merge, merge, 3]` holds blocks: one frame, adjacent rows and columns, or padding throughout."""
    merge = blocks.shape[-2]
    corner = blocks[..., :1, :1, :]
    step = np.stack(np.broadcast_arrays(0, np.arange(merge)[:, None], np.arange(merge)), axis=-1)
    return bool((blocks == np.where(corner < 0, corner, corner + step)).all())


def _turns(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if "messages" in row:
        turns = [(message["role"], message["content"]) for message in row["messages"]]
    elif "conversations" in row:
        turns = [(message["from"], message["value"]) for message in row["conversations"]]
    elif "preview" in row:
        pieces = _PREVIEW_TURN.split(row["preview"])
        turns = [(role, text.strip()) for role, text in zip(pieces[1::2], pieces[2::2])]
        if pieces[0].strip() or not turns:
            raise ValueError(f"Row {row.get('id', row)}: its `preview` does not start with a [user] or [system] turn.")
    else:
        for request, response in _PAIRS:
            if response in row and (request in row or response == "caption"):
                kind = "video" if "video" in row or "videos" in row else "image"
                turns = [("user", row.get(request, DEFAULT_PROMPT.format(kind))), ("assistant", row[response])]
                break
        else:
            raise ValueError(
                f"Row {row.get('id', row)}: it needs `messages`, `conversations`, `preview`, `caption`, or a pair "
                f"such as `prompt` and `completion`; it has {sorted(row)}."
            )
        if not isinstance(turns[1][1], str) or not isinstance(turns[0][1], str):
            # TRL's conversational prompt-completion rows, whose videos TRL would refuse.
            turns = [
                (message["role"], message["content"])
                for (role, part) in turns
                for message in ([{"role": role, "content": part}] if isinstance(part, str) else part)
            ]
    for role, _ in turns:
        if role not in _ROLES:
            raise ValueError(f"Row {row.get('id', row)}: role {role!r} is none of {sorted(_ROLES)}.")
    return [(_ROLES[role], content) for role, content in turns]


def _place_media(messages: list[dict], images: list, videos: list[dict], media_root) -> dict[str, Any]:
    """Typed blocks in the place of the markers, and the images in their order, inline ones included."""
    messages = [
        {"role": message["role"], "content": _split(message["content"], bool(images), bool(videos))}
        for message in messages
    ]
    blocks = list(_blocks(messages))
    if images and not any(block["type"] == "image" for block in blocks):
        _first_user(messages)["content"][:0] = [{"type": "image"} for _ in images]
    if videos and not any(block["type"] == "video" for block in blocks):
        _first_user(messages)["content"][:0] = [{"type": "video"} for _ in videos]

    ordered, remaining_images, remaining_videos = [], iter(images), iter(videos)
    counts = {"image": 0, "video": 0}
    for block in _blocks(messages):
        if block["type"] == "image":
            inline = [block.pop(key) for key in ("image", "url", "path") if key in block]
            counts["image"] += not inline
            ordered.append(_path(inline[0], media_root) if inline else next(remaining_images, None))
        elif block["type"] == "video":
            inline = [block.pop(key) for key in ("video", "url", "path") if key in block]
            if inline:
                block["video"] = _path(inline[0], media_root)
            elif "canvases" not in block:
                counts["video"] += 1
                block.update(next(remaining_videos, {}))
        elif block["type"] != "text":
            raise ValueError(f"content of type {block['type']!r} is none of text, image and video.")
    for kind, given in (("image", images), ("video", videos)):
        if counts[kind] != len(given):
            raise ValueError(f"its text has {counts[kind]} places for a {kind}, but it brings {len(given)}.")
    return {"messages": messages, "images": ordered}


def _split(content, with_images: bool, with_videos: bool) -> list[dict]:
    """A content as typed blocks. Markers count only where the row has such media: else they are plain text."""
    if not isinstance(content, str):
        # Blocks that went through Arrow carry every key of every other block, with `None`.
        blocks = [{key: value for key, value in block.items() if value is not None} for block in content]
        return [part for block in blocks for part in (_split_block(block, with_images, with_videos))]
    markers = {"<image>": with_images, "<video>": with_videos}
    pieces = []
    for piece in _MARKER.split(content):
        if markers.get(piece):
            pieces.append({"type": piece[1:-1]})
        elif piece:
            if pieces and pieces[-1]["type"] == "text":
                pieces[-1]["text"] += piece
            else:
                pieces.append({"type": "text", "text": piece})
    return pieces


def _split_block(block: dict, with_images: bool, with_videos: bool) -> list[dict]:
    if block.get("type") != "text":
        return [block]
    return _split(block["text"], with_images, with_videos)


def _join_markers(message: dict, count: int) -> dict:
    """The markers of the canvases of one video as one `<video>` marker."""
    content = message["content"]
    if not isinstance(content, str):
        raise ValueError("canvases with patch positions need messages whose content is a string.")
    joined = re.sub(r"<image>(?:\s*<image>)*", "<video>", content)
    found = content.count("<image>")
    if found not in (0, count) or joined.count("<video>") > 1:
        raise ValueError(
            f"the {count} canvases of a video need as many adjacent <image> markers, found {found} in {content!r}."
        )
    return {**message, "content": joined}


def _first_user(messages: list[dict]) -> dict:
    for message in messages:
        if message["role"] == "user":
            return message
    raise ValueError("it has media, but no user message that they could stand in.")


def _blocks(messages: list[dict]) -> Iterable[dict]:
    for message in messages:
        yield from message["content"]


def _as_list(row: Mapping[str, Any], single: str, several: str) -> list:
    media = [*row.get(several, ())]
    if single in row:
        value = row[single]
        # The older format keeps a list in the column `image`.
        media = [*(value if isinstance(value, list | tuple) else [value]), *media]
    return media


def _path(media, root):
    """Paths as strings, relative ones under `root`; URLs and everything that is no path stay as they are."""
    if isinstance(media, list | tuple):
        return [_path(item, root) for item in media]
    if isinstance(media, bytes):
        return f"data:application/octet-stream;base64,{base64.b64encode(media).decode()}"
    if not isinstance(media, str | Path):
        return media
    if isinstance(media, str) and len(urlparse(media).scheme) > 1:
        return media
    return str(media if root is None else Path(root) / media)


def _is_json(value) -> bool:
    if isinstance(value, Mapping):
        return all(_is_json(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)
