# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Write the canvases and positions of videos as asset folders.

Each video becomes the folder DIR/NAME, in the layout of the released codec tool: canvases, source positions of the
patches, frame numbers, meta.json; and source.json, what it was made from. Videos that are there already are skipped:
an interrupted run goes on when it is started again. A video that cannot be read is reported and the others go on.
--pictures adds a folder of pictures of each stream, and an mp4 of the video beside what its tokens keep.

examples:
  transformers-ov2 tokenize clip.mp4 --out assets
  transformers-ov2 tokenize clips/*.mp4 --out assets --target-canvas 16 --image-format png
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from .options import (
    NEEDS_VIZ,
    add_codec_arguments,
    add_network_argument,
    codec_config,
    describe_signals,
    has_viz,
)


SOURCE_FILE = "source.json"
PICTURES_FOLDER = "pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="path, or URL with --allow-network")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the folders go")
    parser.add_argument("--image-format", choices=("jpg", "png"), default="jpg", help="of the canvases (default: jpg)")
    parser.add_argument("--pictures", action="store_true", help="also draw what was selected and why (extra viz)")
    add_network_argument(parser)
    add_codec_arguments(parser)


def run(args: argparse.Namespace) -> int:
    config = codec_config(args)
    if args.out.exists() and not args.out.is_dir():
        args.usage_error(f"--out {args.out} is no folder")
    if args.pictures and not has_viz():
        raise ImportError(NEEDS_VIZ)
    failed = 0
    for number, video in enumerate(args.videos, 1):
        try:
            record = _tokenize(video, args, config)
        except (OSError, ValueError) as error:
            message = " ".join(str(error).split())
            failed += 1
            record = {"video": video, "error": message}
            if not args.json:
                print(f"transformers-ov2 tokenize: {message}", file=sys.stderr)
        if args.json:
            print(json.dumps(record), flush=True)
        elif "error" not in record:
            print(f"[{number}/{len(args.videos)}] {_summary(record)}", flush=True)
    if failed and len(args.videos) > 1:
        print(f"transformers-ov2 tokenize: {failed} of {len(args.videos)} videos failed", file=sys.stderr)
    return 1 if failed else 0


def _tokenize(video: str, args: argparse.Namespace, config) -> dict:
    from ..codec import CodecStream, iter_groups, write_assets
    from ..codec.reading.source import open_source

    start = time.perf_counter()
    source = open_source(video, allow_network=args.allow_network)
    folder = args.out / (Path(urlsplit(video).path if "://" in video else video).stem or "video")
    made_from = {
        "video": video,
        "sha256": source.fingerprint(),
        "image_format": args.image_format,
        "pictures": args.pictures,
        # The number of threads does not change the result.
        "options": {name: value for name, value in config.to_dict().items() if name != "num_threads"},
    }
    if folder.exists():
        _check_same(folder, made_from)
        return {"video": video, "output": str(folder), "skipped": True}

    groups = []
    for group in iter_groups(source, config, return_evidence=args.pictures):
        groups.append(group)
        if sys.stderr.isatty():
            done = sum(len(group.canvases) for group in groups)
            print(f"\r{video}: {done} canvases", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    stream = CodecStream.concatenate(groups)

    unfinished = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        write_assets(stream, unfinished, image_format=args.image_format)
        if args.pictures:
            _draw(source, stream, unfinished / PICTURES_FOLDER)
        (unfinished / SOURCE_FILE).write_text(json.dumps(made_from, indent=2) + "\n", encoding="utf-8")
        os.replace(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return {
        "video": video,
        "output": str(folder),
        "canvases": len(stream.canvases),
        "groups": len(stream.groups),
        "visual_tokens": stream.num_tokens,
        "signal_shares": stream.signal_shares,
        "seconds": round(time.perf_counter() - start, 3),
    }


def _draw(source, stream, folder: Path) -> None:
    from .. import visualization

    folder.mkdir()
    for name, figure in (
        ("energy", visualization.plot_energy(source, stream)),
        ("selection", visualization.show_selection(source, stream)),
        ("signals", visualization.show_signals(source, stream)),
        ("canvases", visualization.show_canvases(stream)),
        ("rebuild", visualization.show_rebuild(source, stream)),
        ("tokens", visualization.plot_tokens(stream)),
    ):
        figure.savefig(folder / f"{name}.png")
    visualization.write_video(source, stream, folder / "video.mp4")


def _check_same(folder: Path, made_from: dict) -> None:
    try:
        there = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        there = {}
    if any(there.get(key) != made_from[key] for key in ("sha256", "image_format", "pictures", "options")):
        raise ValueError(
            f"{made_from['video']}: {folder} holds something else, or the same with other options: choose another "
            "--out or remove it."
        )


def _summary(record: dict) -> str:
    if record.get("skipped"):
        return f"{record['video']}: {record['output']} is there already"
    signals = describe_signals(record["signal_shares"])
    return (
        f"{record['video']}: {record['canvases']} canvases in {record['groups']} groups, "
        f"{record['visual_tokens']:,} visual tokens by {signals}, {record['seconds']:.2f} s -> {record['output']}"
    )
