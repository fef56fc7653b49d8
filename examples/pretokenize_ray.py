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

Stopped and started again, it makes the shards that are not there yet; OUTPUT/settings.json tells what they are made
with, and other settings or another manifest are refused. A clip that cannot be read is left out and listed in
OUTPUT/bad.jsonl with the reason. One task makes one shard with one decoding thread, so Ray keeps as many clips in
memory as it has CPUs, and starts a shard again if its worker dies.

Needs `pip install "transformers-ov2[train]" "ray[data]"`.
"""

import argparse
import hashlib
import io
import json
import os
import sys
import time
from pathlib import PurePosixPath

import fsspec
import pyarrow
import pyarrow.parquet

from transformers_ov2.codec import CodecStreamConfig, tokenize_video, write_archive


def read_manifest(url: str) -> tuple[pyarrow.Table, str]:
    """The rows, with videos that a worker can open, and a digest of the file."""
    with fsspec.open(url, "rb") as file:
        content = file.read()
    if url.endswith(".parquet"):
        table = pyarrow.parquet.read_table(io.BytesIO(content))
    else:
        rows = [json.loads(line) for line in content.decode().split("\n") if line.strip()]
        names = dict.fromkeys(name for row in rows for name in row)
        table = pyarrow.table({name: column(url, name, rows) for name in names})
    if "video" not in table.column_names:
        raise ValueError(f"{url} has no column `video`.")
    if taken := {"source", "num_tokens"} & set(table.column_names):
        raise ValueError(f"{url} has a column `{min(taken)}`, which the shards need: rename it.")
    folder = os.path.dirname(url if "://" in url else os.path.abspath(url))
    videos = pyarrow.array([place(video, folder) for video in table["video"].to_pylist()], pyarrow.string())
    return table.set_column(table.column_names.index("video"), "video", videos), hashlib.sha256(content).hexdigest()


def column(url: str, name: str, rows: list[dict]) -> pyarrow.Array:
    try:
        return pyarrow.array([row.get(name) for row in rows])
    except pyarrow.ArrowException as error:
        raise ValueError(f"{url}: the values of `{name}` have different types ({error}).") from error


def place(video: str | None, folder: str) -> str | None:
    """A path of the manifest as one that a worker can open."""
    return video if video is None or "://" in video or os.path.isabs(video) else f"{folder}/{video}"


def to_bytes(table: pyarrow.Table) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def make_shard(shard: dict, output: str, codec: dict, image_format: str) -> dict:
    """Tokenize the rows of one shard and write it; returns what it cost."""
    config = CodecStreamConfig.from_dict(codec)
    table = pyarrow.ipc.open_stream(shard["rows"]).read_all()
    rows, bad, seconds, start = [], [], 0.0, time.process_time()
    for row in table.to_pylist():
        try:
            if row["video"] is None:
                raise ValueError("the row names no video.")
            with fsspec.open(row["video"], "rb") as file:
                stream = tokenize_video(file, config)
        except (ValueError, OSError) as error:
            bad.append({"video": row["video"], "error": str(error)})
            continue
        seconds += float(stream.timestamps[-1] + 1 / stream.fps)
        archive = write_archive(stream, image_format)
        rows.append({**row, "video": archive, "source": row["video"], "num_tokens": stream.num_tokens})
    spent = time.process_time() - start
    # That of the manifest in every shard, whatever its rows hold, and if all of them are bad.
    made = {"video": pyarrow.binary(), "source": pyarrow.string(), "num_tokens": pyarrow.int64()}
    types = {**dict(zip(table.schema.names, table.schema.types)), **made}
    schema = pyarrow.schema(types.items())
    store, path = fsspec.core.url_to_fs(f"{output}/{shard['name']}")
    # Appears under its name when it is whole: a worker that dies leaves nothing that looks like a shard.
    with store.open(f"{path}.part", "wb") as file:
        with pyarrow.parquet.ParquetWriter(file, schema, compression="none") as writer:
            if rows:  # `datasets` reads a file without row groups, but no group without rows
                writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    store.pipe_file(f"{path}.bad.jsonl", "".join(json.dumps(each) + "\n" for each in bad).encode())
    store.mv(f"{path}.part", path)
    size = sum(len(row["video"]) for row in rows)
    return {"clips": len(rows), "bad": len(bad), "seconds": seconds, "cpu": spent, "bytes": size}


def make_shards(shards: list[dict], arguments: dict, num_cpus: int | None) -> dict[str, float]:
    """All of them, by Ray's workers; returns what they cost together."""
    import ray  # here, because nothing else needs it

    ray.init(num_cpus=num_cpus, ignore_reinit_error=True, include_dashboard=False, log_to_driver=False)
    made = ray.data.from_items(shards, override_num_blocks=len(shards))
    costs = ("clips", "bad", "seconds", "cpu", "bytes")
    sums = made.map(make_shard, fn_kwargs=arguments, num_cpus=1).sum(list(costs))
    return {name: sums[f"sum({name})"] for name in costs}


def check_settings(store: fsspec.AbstractFileSystem, folder: str, settings: dict) -> None:
    """Writes down what the shards of a folder are made with; ends the script where those that are there differ."""
    path = f"{folder}/settings.json"
    if not store.exists(path):
        if store.glob(f"{folder}/*.parquet"):
            sys.exit(f"{folder} holds files that this script did not make: choose another --output.")
        store.pipe_file(path, json.dumps(settings, indent=2).encode())
        return
    earlier = json.loads(store.cat_file(path))
    names = sorted(name for name in earlier.keys() | settings.keys() if earlier.get(name) != settings.get(name))
    if names:
        changes = ", ".join(f"{name} was {earlier.get(name)!r} and is {settings.get(name)!r}" for name in names)
        sys.exit(f"{folder} holds shards made with other settings ({changes}): choose another --output or remove it.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", required=True, help=".jsonl or .parquet, path or fsspec URL")
    parser.add_argument("--output", required=True, help="folder of the shards, path or fsspec URL")
    parser.add_argument("--codec", type=json.loads, default={}, help="fields of CodecStreamConfig as JSON")
    parser.add_argument("--rows-per-shard", type=int, default=256)
    parser.add_argument("--image-format", choices=("jpg", "png"), default="jpg", help="png keeps pixels exactly")
    parser.add_argument("--num-cpus", type=int, help="workers, where Ray is not running already (default: all)")
    args = parser.parse_args()
    try:
        codec = CodecStreamConfig.from_dict({**args.codec, "num_threads": 1}).to_dict()
        table, digest = read_manifest(args.manifest)
    except (ValueError, TypeError, OSError) as error:
        sys.exit(str(error))

    store, folder = fsspec.core.url_to_fs(args.output)
    store.makedirs(folder, exist_ok=True)
    settings = {
        "manifest": f"sha256 {digest}",
        "rows-per-shard": args.rows_per_shard,
        "image-format": args.image_format,
        **{f"codec {name}": value for name, value in codec.items()},
    }
    check_settings(store, folder, settings)
    done = {PurePosixPath(path).name for path in store.ls(folder, detail=False)}
    names = {start: f"{number:06d}.parquet" for number, start in enumerate(range(0, len(table), args.rows_per_shard))}
    missing = {start: name for start, name in names.items() if name not in done}
    print(f"{len(table)} clips in {len(names)} shards, {len(names) - len(missing)} of them there already")
    if missing:
        output = args.output if "://" in args.output else os.path.abspath(args.output)
        arguments = {"output": output, "codec": codec, "image_format": args.image_format}
        shards = [
            {"name": name, "rows": to_bytes(table.slice(start, args.rows_per_shard))}
            for start, name in missing.items()
        ]
        start = time.perf_counter()
        made = make_shards(shards, arguments, args.num_cpus)
        report(made, time.perf_counter() - start)
    lists = [store.cat_file(path) for path in sorted(store.glob(f"{folder}/*.bad.jsonl"))]
    store.pipe_file(f"{folder}/bad.jsonl", b"".join(lists))
    if count := sum(each.count(b"\n") for each in lists):
        print(f"{count} clips could not be read: {args.output}/bad.jsonl")


def report(made: dict[str, float], elapsed: float) -> None:
    clips, seconds, cpu, size = (made[name] for name in ("clips", "seconds", "cpu", "bytes"))
    print(f"{clips} clips, {seconds / 60:.1f} minutes of video in {elapsed:.1f} s")
    if seconds:
        print(f"{seconds / cpu:.0f} seconds of video per CPU second, {3600 * size / seconds / 1e6:.0f} MB per hour")
        days = 1e6 * 3600 * cpu / seconds / 86400
        print(f"a million hours like these: {days:,.0f} CPU days, {3600e6 * size / seconds / 1e12:,.1f} TB")


if __name__ == "__main__":
    main()
