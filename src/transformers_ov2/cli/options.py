# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

import argparse
import importlib.util
import json
from collections.abc import Callable
from typing import Any


NEEDS_VIZ = 'pictures need matplotlib: pip install "transformers-ov2[viz]"'


def add_codec_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the codec-stream tokenizer that are asked for most, and `--codec` for all of them."""
    group = parser.add_argument_group("codec stream")
    group.add_argument("--target-canvas", type=_number_or_word, metavar="N", help="canvases of a video")
    group.add_argument("--max-pixels", type=int, metavar="N", help="pixels of a canvas or frame, at most")
    group.add_argument("--max-tokens", type=int, metavar="N", help="tokens of a video, timestamps included, at most")
    group.add_argument("--grouping", metavar="NAME", help="packet_energy, readiness or fixed")
    group.add_argument("--selection", metavar="NAME", help="evidence or state")
    group.add_argument(
        "--codec",
        type=_json_object,
        metavar="JSON",
        help='any options of CodecStreamConfig, as {"images_per_group": 2}',
    )


def add_network_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--allow-network", action="store_true", help="fetch http(s) URLs")


def codec_options(args: argparse.Namespace) -> dict[str, Any]:
    """The codec options that were given."""
    names = ("target_canvas", "max_pixels", "max_tokens", "grouping", "selection")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return {**(args.codec or {}), **given}


def codec_config(args: argparse.Namespace):
    """The `CodecStreamConfig` of the options given; a wrong one is wrong usage."""
    from ..codec import CodecStreamConfig

    try:
        return CodecStreamConfig.from_dict(codec_options(args))
    except (TypeError, ValueError) as error:
        args.usage_error(str(error))


def describe_signals(shares: dict[str, float]) -> str:
    """What the frames of a stream were chosen by, as `motion+residual (94%), residual (6%)`."""
    if len(shares) == 1:
        return next(iter(shares))
    return ", ".join(f"{source} ({share:.0%})" for source, share in shares.items())


def has_viz() -> bool:
    """Whether pictures can be drawn."""
    return importlib.util.find_spec("matplotlib") is not None


def positive(kind: type) -> Callable[[str], float]:
    """An argparse type: a number above zero."""

    def parse(text: str) -> float:
        if (value := kind(text)) <= 0:
            raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
        return value

    parse.__name__ = kind.__name__  # what argparse calls a text that is no number
    return parse


def _number_or_word(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object")
    return value
