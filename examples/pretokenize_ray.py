# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Tokenizes a data set of any size with Ray Data: a manifest in, Parquet shards of codec streams out.

    python examples/pretokenize_ray.py --manifest clips/captions.jsonl --output shards
    python examples/pretokenize_ray.py --manifest s3://bucket/manifest.parquet --output s3://bucket/shards \
        --codec '{"target_canvas": 32}'

The manifest is a .jsonl or .parquet file in any store that fsspec reads; its column `video` holds paths or URLs,
relative ones start from its folder, and all other columns go along. Every shard is one file of --rows-per-shard
rows, in which `video` is an archive of canvases (JPEG of quality 95) and `num_tokens` their number. Shards train as
they are:

    to_sft_dataset(load_dataset("parquet", data_files="shards/*.parquet", split="train", streaming=True))

Stopped and started again, it makes the shards that are not there yet. A clip that cannot be read is left out and
listed in OUTPUT/bad.jsonl with the reason. One task makes one shard with one decoding thread, so Ray keeps as many
clips in memory as it has CPUs, and starts a shard again if its worker dies.

Needs `pip install "transformers-ov2[train]" "ray[data]"`.
"""

import argparse
import json
import os
import time
from pathlib import PurePosixPath

import fsspec
import pyarrow
import pyarrow.parquet
import ray

from transformers_ov2.codec import CodecStreamConfig, VideoError, tokenize_video, write_archive


def read_manifest(url: str) -> list[dict]:
    with fsspec.open(url, "rb") as file:
        if url.endswith(".parquet"):
            return pyarrow.parquet.read_table(file).to_pylist()
        return [json.loads(line) for line in file.read().decode().split("\n") if line.strip()]


def place(video: str, folder: str) -> str:
    """A path of the manifest as one that a worker can open."""
    return video if "://" in video or os.path.isabs(video) else f"{folder}/{video}"


def make_shard(shard: dict, output: str, codec: dict, image_format: str) -> dict:
    """Tokenize the rows of one shard and write it; returns what it cost."""
    config = CodecStreamConfig.from_dict({**codec, "num_threads": 1})
    rows, bad, seconds, start = [], [], 0.0, time.process_time()
    for row in json.loads(shard["rows"]):
        try:
            with fsspec.open(row["video"], "rb") as file:
                stream = tokenize_video(file, config)
        except (VideoError, OSError) as error:
            bad.append({"video": row["video"], "error": str(error)})
            continue
        seconds += float(stream.timestamps[-1] + 1 / stream.fps)
        archive = write_archive(stream, image_format)
        rows.append({**row, "video": archive, "source": row["video"], "num_tokens": stream.num_tokens})
    spent = time.process_time() - start
    store, path = fsspec.core.url_to_fs(f"{output}/{shard['name']}")
    # Appears under its name when it is whole: a worker that dies leaves nothing that looks like a shard.
    with store.open(f"{path}.part", "wb") as file:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file, compression="none")
    store.pipe_file(f"{path}.bad.jsonl", "".join(json.dumps(each) + "\n" for each in bad).encode())
    store.mv(f"{path}.part", path)
    size = sum(len(row["video"]) for row in rows)
    return {"clips": len(rows), "bad": len(bad), "seconds": seconds, "cpu": spent, "bytes": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", required=True, help=".jsonl or .parquet, path or fsspec URL")
    parser.add_argument("--output", required=True, help="folder of the shards, path or fsspec URL")
    parser.add_argument("--codec", type=json.loads, default={}, help="fields of CodecStreamConfig as JSON")
    parser.add_argument("--rows-per-shard", type=int, default=256)
    parser.add_argument("--image-format", choices=("jpg", "png"), default="jpg", help="png keeps pixels exactly")
    parser.add_argument("--num-cpus", type=int, help="workers, where Ray is not running already (default: all)")
    args = parser.parse_args()
    CodecStreamConfig.from_dict(args.codec)  # a wrong option ends here, not in every worker

    store, folder = fsspec.core.url_to_fs(args.output)
    store.makedirs(folder, exist_ok=True)
    done = {PurePosixPath(path).name for path in store.ls(folder, detail=False)}
    root = (
        os.path.dirname(args.manifest) if "://" in args.manifest else os.path.dirname(os.path.abspath(args.manifest))
    )
    rows = [{**row, "video": place(row["video"], root)} for row in read_manifest(args.manifest)]
    starts = range(0, len(rows), args.rows_per_shard)
    shards = [
        {"name": f"{number:06d}.parquet", "rows": json.dumps(rows[start : start + args.rows_per_shard])}
        for number, start in enumerate(starts)
    ]
    missing = [shard for shard in shards if shard["name"] not in done]
    print(f"{len(rows)} clips in {len(shards)} shards, {len(shards) - len(missing)} of them there already")
    if missing:
        ray.init(num_cpus=args.num_cpus, ignore_reinit_error=True, include_dashboard=False, log_to_driver=False)
        output = args.output if "://" in args.output else os.path.abspath(args.output)
        arguments = {"output": output, "codec": args.codec, "image_format": args.image_format}
        start = time.perf_counter()
        made = ray.data.from_items(missing, override_num_blocks=len(missing))
        made = made.map(make_shard, fn_kwargs=arguments, num_cpus=1).sum(["clips", "bad", "seconds", "cpu", "bytes"])
        report(made, time.perf_counter() - start)
    lists = [store.cat_file(path) for path in sorted(store.glob(f"{folder}/*.bad.jsonl"))]
    store.pipe_file(f"{folder}/bad.jsonl", b"".join(lists))
    if count := sum(each.count(b"\n") for each in lists):
        print(f"{count} clips could not be read: {args.output}/bad.jsonl")


def report(made: dict, elapsed: float) -> None:
    clips, seconds, cpu, size = (made[f"sum({name})"] for name in ("clips", "seconds", "cpu", "bytes"))
    print(f"{clips} clips, {seconds / 60:.1f} minutes of video in {elapsed:.1f} s")
    if seconds:
        print(f"{seconds / cpu:.0f} seconds of video per CPU second, {3600 * size / seconds / 1e6:.0f} MB per hour")
        days = 1e6 * 3600 * cpu / seconds / 86400
        print(f"a million hours like these: {days:,.0f} CPU days, {3600e6 * size / seconds / 1e12:,.1f} TB")


if __name__ == "__main__":
    main()
