# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Show what the packets of a video say, and what the tokenizer plans with them.

Streams, GOPs, the energy of the P- and B-frames over time, the plan of groups with their canvases, the account of
tokens. Nothing is decoded but the first picture, which tells the true size.

examples:
  transformers-ov2 inspect clip.mp4
  transformers-ov2 inspect clip.mp4 --target-canvas 16 --max-tokens 2000
  transformers-ov2 inspect clips/*.mp4 --json
"""

import argparse
import json
import sys
from typing import Any

from .options import add_codec_arguments, add_network_argument, codec_config


ENERGY_BINS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="path, or URL with --allow-network")
    add_network_argument(parser)
    add_codec_arguments(parser)


def run(args: argparse.Namespace) -> int:
    config = codec_config(args)
    failed = 0
    for video in args.videos:
        try:
            found = inspect_video(video, config, allow_network=args.allow_network)
        except (OSError, ValueError) as error:
            failed += 1
            found = {"video": video, "error": " ".join(str(error).split())}
            if not args.json:
                print(f"transformers-ov2 inspect: {found['error']}", file=sys.stderr)
        if args.json:
            print(json.dumps(found))
        elif "error" not in found:
            print("\n".join(_report(found)))
    return 1 if failed else 0


def inspect_video(video: str, config, *, allow_network: bool = False) -> dict[str, Any]:
    """
    What is known of a video before it is decoded.

    Args:
        video (`str`): path or URL.
        config (`CodecStreamConfig`): options of the tokenizer.
        allow_network (`bool`, *optional*, defaults to `False`): fetch http(s) URLs.

    Returns:
        `dict` of plain values: `streams`, `length` (seconds, frames, bytes), `gops`, `energy` (bytes of P- and
        B-frames per bin of `bin_seconds`), `plan` (one entry per group; `None` with `grouping="readiness"`, which
        needs the pictures) and `tokens`.

    Raises:
        VideoError: the video cannot be read.
    """
    from ..codec.packing.canvas import canvas_size
    from ..codec.reading.packets import read_packets
    from ..codec.reading.source import open_source

    source = open_source(video, allow_network=allow_network)
    with source.open() as (container, _):
        streams = [_stream(stream) for stream in container.streams]
        container_format = container.format.name
    table = read_packets(source)
    duration = float(table.seconds[-1]) + 1 / table.fps
    size = canvas_size(source.height, source.width, config)
    return {
        "video": video,
        "format": container_format,
        "streams": streams,
        "picture": {
            "codec": source.codec,
            "width": source.width,
            "height": source.height,
            "coded_height": source.coded_size[0],
            "coded_width": source.coded_size[1],
            "transposed": source.orientation.transposed,
            "mirrored": [source.orientation.flipped_x, source.orientation.flipped_y],
            "pix_fmt": source.pix_fmt,
            "interlaced": source.interlaced,
        },
        "length": {
            "seconds": duration,
            "frames": table.num_frames,
            "fps": table.fps,
            "bytes": int(table.size.sum()),
        },
        "gops": _gops(table),
        "energy": _energy(table, duration),
        **_plan(table, size, config, duration),
    }


def _stream(stream) -> dict[str, Any]:
    found = {"index": stream.index, "type": stream.type}
    context = stream.codec_context
    if context is not None:
        found["codec"] = context.name
    if stream.type == "video":
        found |= {"width": context.width, "height": context.height, "fps": float(stream.average_rate or 0) or None}
    elif stream.type == "audio":
        found |= {"sample_rate": context.sample_rate, "channels": context.channels}
    return found


def _gops(table) -> dict[str, Any]:
    import numpy as np

    starts = np.flatnonzero(table.is_key)
    if not len(starts):
        return {"count": 0, "key_bytes": 0, "reference_frames": int(table.is_reference.sum())}
    lengths = np.diff(starts, append=table.num_frames)
    return {
        "count": len(starts),
        "min_frames": int(lengths.min()),
        "median_frames": float(np.median(lengths)),
        "max_frames": int(lengths.max()),
        "key_bytes": int(table.size[starts].sum()),
        "reference_frames": int(table.is_reference.sum()),
    }


def _energy(table, duration: float) -> dict[str, Any]:
    import numpy as np

    bins = min(ENERGY_BINS, table.num_frames)
    place = np.minimum((table.seconds / duration * bins).astype(np.int64), bins - 1)
    energy = np.bincount(place, weights=np.where(table.is_key, 0, table.size), minlength=bins)
    return {"bin_seconds": duration / bins, "bytes": energy.astype(np.int64).tolist()}


def _plan(table, size: tuple[int, int], config, duration: float) -> dict[str, Any]:
    from ..codec.deciding.budget import plan_groups, timestamp_text_tokens

    per_canvas = size[0] * size[1] // config.factor**2
    tokens = {"canvas_height": size[0], "canvas_width": size[1], "per_canvas": per_canvas}
    if config.grouping == "readiness":
        # It aims at this many; its groups follow from the scores of pictures.
        return {"plan": None, "tokens": {**tokens, "canvases": config.num_canvases(duration)}}
    plans = plan_groups(table, per_canvas, config)
    groups, timestamps = [], 0
    for plan in plans:
        end = float(table.seconds[plan.end]) if plan.end < table.num_frames else duration
        timestamps += plan.max_timestamps * max(map(timestamp_text_tokens, table.seconds[plan.frames].tolist()))
        groups.append(
            {
                "start": plan.start,
                "end": plan.end,
                "start_seconds": float(table.seconds[plan.start]),
                "end_seconds": end,
                "bytes": int(table.size[plan.start : plan.end].sum()),
                "scored_frames": len(plan.frames),
                "canvases": plan.num_canvases,
                "max_timestamps": plan.max_timestamps,
            }
        )
    canvases = sum(plan.num_canvases for plan in plans)
    tokens |= {"canvases": canvases, "visual": canvases * per_canvas, "timestamps_at_most": timestamps}
    return {"plan": groups, "tokens": {**tokens, "total_at_most": canvases * per_canvas + timestamps}}


def _report(found: dict[str, Any]) -> list[str]:
    picture, length, gops, tokens = found["picture"], found["length"], found["gops"], found["tokens"]
    lines = [f"{found['video']} ({found['format']})"]
    for stream in found["streams"]:
        details = f"{stream['type']} {stream.get('codec', '')}".rstrip()
        if stream["type"] == "video":
            details += f" {stream['width']}x{stream['height']}"
        elif stream["type"] == "audio":
            details += f" {stream['sample_rate']} Hz, {stream['channels']} channels"
        lines.append(f"  stream {stream['index']}   {details}")
    notes = [picture["pix_fmt"]]
    if (picture["transposed"], picture["mirrored"]) != (False, [False, False]):
        notes.append(f"turned upright from {picture['coded_width']}x{picture['coded_height']}")
    notes += ["interlaced"] * picture["interlaced"]
    kilobits = length["bytes"] * 8 / length["seconds"] / 1000
    lines += [
        f"  picture    {picture['width']}x{picture['height']}, {', '.join(notes)}",
        f"  length     {length['seconds']:.2f} s, {length['frames']} frames, {length['fps']:.2f} fps, "
        f"{kilobits:,.0f} kbit/s",
    ]
    if gops["count"]:
        share = gops["key_bytes"] / max(length["bytes"], 1)
        lines.append(
            f"  GOPs       {gops['count']} of {gops['min_frames']} to {gops['max_frames']} frames (median "
            f"{gops['median_frames']:g}), {share:.0%} of the bytes in key frames, {gops['reference_frames']} "
            "reference frames"
        )
    else:
        lines.append("  GOPs       none: no key frame is marked")
    energy = found["energy"]
    lines.append(f"  energy     {_bars(energy['bytes'])}")
    if found["plan"] is None:
        lines.append("  groups     not known before decoding (grouping readiness)")
        lines.append(
            f"  tokens     about {tokens['canvases']} canvases of {tokens['canvas_width']}x{tokens['canvas_height']}, "
            f"{tokens['per_canvas']} tokens each, and timestamps"
        )
        return lines
    lines.append(f"  groups     {_bounds(found['plan'], len(energy['bytes']), energy['bin_seconds'])}")
    lines.append(f"             {'group':>5} {'seconds':>17} {'frames':>13} {'scored':>7} {'canvases':>9} {'kB':>9}")
    for index, group in enumerate(found["plan"]):
        seconds = f"{group['start_seconds']:.2f} - {group['end_seconds']:.2f}"
        frames = f"{group['start']} - {group['end'] - 1}"
        lines.append(
            f"             {index:>5} {seconds:>17} {frames:>13} {group['scored_frames']:>7} {group['canvases']:>9} "
            f"{group['bytes'] / 1000:>9.1f}"
        )
    lines += [
        f"  canvases   {tokens['canvases']} of {tokens['canvas_width']}x{tokens['canvas_height']} pixels, "
        f"{tokens['per_canvas']} tokens each",
        f"  tokens     {tokens['visual']:,} visual + at most {tokens['timestamps_at_most']:,} of timestamps = at most "
        f"{tokens['total_at_most']:,}",
    ]
    return lines


def _bars(values: list[int]) -> str:
    levels = "▁▂▃▄▅▆▇█" if _prints_unicode() else "_.-=+*%#"
    highest = max(values) or 1
    return "".join(levels[round(value / highest * (len(levels) - 1))] for value in values)


def _bounds(plan: list[dict], bins: int, bin_seconds: float) -> str:
    """A mark in every bin in which a group starts."""
    marks = [" "] * bins
    for group in plan:
        marks[min(int(group["start_seconds"] / bin_seconds), bins - 1)] = "|"
    return "".join(marks).rstrip()


def _prints_unicode() -> bool:
    try:
        "▁█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
