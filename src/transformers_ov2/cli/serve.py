# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Serve a model over the OpenAI API.

Starts the server of transformers with one model. Videos (content of the type video_url) are read as codec streams;
a request chooses frames with "chat_template_kwargs": {"num_frames": 16}. Images and videos come as data: URLs, from
public http(s) addresses, or from folders that --allowed-media names; other files are refused.

examples:
  transformers-ov2 serve ./ov2-8b --port 8000
  transformers-ov2 serve ./ov2-8b --target-canvas 32 --max-tokens 8000 --allowed-media /data/clips
  curl localhost:8000/v1/chat/completions -H "Content-Type: application/json" -d '{"model": "./ov2-8b", "messages": \
[{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "file:///data/clips/a.mp4"}}, \
{"type": "text", "text": "What happens?"}]}]}'
"""

import argparse
import copy
import json
from pathlib import Path

from .options import add_codec_arguments, codec_config, codec_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder or repository; requests name it the same")
    parser.add_argument("--host", default="localhost", help="address to listen on (default: localhost)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="port to listen on (default: 8000)")
    parser.add_argument("--enable-cors", action="store_true", help="let pages of any origin call the server")
    parser.add_argument("--log-level", default="info", metavar="NAME", help="of the server (default: info)")
    model = parser.add_argument_group("model")
    model.add_argument("--device", default="auto", metavar="NAME", help="such as cuda:0 or cpu (default: auto)")
    model.add_argument("--dtype", default="auto", metavar="NAME", help="such as bfloat16 (default: auto)")
    model.add_argument("--attn-implementation", metavar="NAME", help="such as sdpa or flash_attention_2")
    model.add_argument("--quantization", choices=("bnb-4bit", "bnb-8bit"))
    media = parser.add_argument_group("images and videos of requests")
    media.add_argument(
        "--allowed-media", type=Path, action="append", default=[], metavar="DIR", help="folder whose files may be read"
    )
    media.add_argument("--no-network", action="store_true", help="refuse http(s) URLs")
    media.add_argument("--allow-private-network", action="store_true", help="also fetch from addresses not public")
    media.add_argument("--download-seconds", type=float, default=60, metavar="N", help="of a download (default: 60)")
    media.add_argument(
        "--max-download-mb", type=float, default=512, metavar="N", help="of a download or data: URL (default: 512)"
    )
    media.add_argument("--backend", choices=("codec", "frames"), help="how videos are read (default: the model's)")
    add_codec_arguments(parser)


def run(args: argparse.Namespace) -> int:
    for folder in args.allowed_media:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder.")
    codec = codec_options(args)
    options = {name: codec.pop(name) for name in ("max_pixels", "max_tokens") if name in codec}
    if codec:
        if args.backend == "frames":
            args.usage_error("options of the codec stream do not go with --backend frames")
        codec_config(args)
        options["codec"] = codec
    if args.backend:
        options["video_backend"] = args.backend

    try:
        import uvicorn

        from ..serving import MediaPolicy, build_app
    except ImportError as error:
        raise ImportError(f'{error}. The server needs pip install "transformers-ov2[serve]".') from error
    from ..codec.reading.network import NetworkLimits

    limits = NetworkLimits(
        allow_network=not args.no_network,
        allow_private_network=args.allow_private_network,
        download_seconds=args.download_seconds,
        max_download_bytes=round(args.max_download_mb * 2**20),
    )
    app = build_app(
        args.model,
        media=MediaPolicy(folders=tuple(args.allowed_media), limits=limits),
        processor_options=options,
        enable_cors=args.enable_cors,
        device=args.device,
        dtype=args.dtype,
        attn_implementation=args.attn_implementation,
        quantization=args.quantization,
    )
    url = f"http://{args.host}:{args.port}/v1"
    print(json.dumps({"url": url, "model": args.model}) if args.json else f"{args.model} at {url}", flush=True)
    # uvicorn writes its access log to stdout, which is for results.
    logs = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    logs["handlers"]["access"]["stream"] = "ext://sys.stderr"
    uvicorn.run(app, host=args.host, port=args.port, log_level=args.log_level, log_config=logs)
    return 0
