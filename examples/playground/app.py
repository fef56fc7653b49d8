# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""A page to play with the codec stream: upload a clip, move the budget, the policy and the weights, and ask a model.

    pip install "transformers-ov2[viz]" gradio
    python examples/playground/app.py --model lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct

Without --model, the bundled one answers. The page starts with the model's own budget; pictures and answers are of the
same stream. Uploads are limited in bytes, pixels and frames; a file that is no video gives a message.
"""

import argparse
import json
from pathlib import Path

import gradio as gr

from transformers_ov2 import visualization
from transformers_ov2.cli.loading import codec_stream, load_model, load_processor
from transformers_ov2.codec import VideoError
from transformers_ov2.codec.reading.source import VideoSource, open_source
from transformers_ov2.evaluation.answers import answer


ASSETS = Path(__file__).parents[1] / "assets"
MAX_UPLOAD = "200mb"
MAX_PIXELS = 4096 * 2304
MAX_FRAMES = 20_000
PICTURES = ("Energy", "Signals", "Selection", "Rebuild", "Canvases", "Tokens")


def examples() -> list[list[str]]:
    """The bundled clips, each with a question about it."""
    rows = []
    for name in ("questions.jsonl", "captions.jsonl"):
        rows += map(json.loads, (ASSETS / name).read_text(encoding="utf-8").splitlines())
    questions = {}
    for row in rows:
        questions.setdefault(str(ASSETS / row["video"]), row["question"])
    return [list(pair) for pair in questions.items()]


def open_clip(path: str | None) -> VideoSource:
    if not path:
        raise gr.Error("Choose a clip first.", print_exception=False)
    try:
        return open_source(path, max_source_pixels=MAX_PIXELS, max_source_frames=MAX_FRAMES)
    except VideoError as error:
        raise message(error, path) from error


def message(error: Exception, path: str) -> gr.Error:
    """An error as the page shows it, without the folder that uploads lie in."""
    return gr.Error(str(error).replace(path, Path(path).name), print_exception=False)


class Page:
    """What the page does: pictures of codec streams, and answers from them and from frames at equal tokens."""

    def __init__(self, name: str):
        self.processor, self.model = load_processor(name), load_model(name)
        self.default = self.processor.video_processor._resolve_options({"video_backend": "codec"})["codec"]
        self.canvases = 16 if self.default.target_canvas == "auto" else self.default.target_canvas

    def options(self, canvases: int, selection: str, motion: float, residual: float, bitrate: float) -> dict:
        """Options of the video processor. A limit of the model on tokens grows with the canvases."""
        codec = {
            "target_canvas": int(canvases),
            "selection": selection,
            "motion_weight": motion,
            "residual_weight": residual,
            "bitrate_weight": bitrate,
        }
        options = {"video_backend": "codec", "codec": codec}
        if (limit := self.processor.video_processor.max_tokens) is not None:
            options["max_tokens"] = limit * int(canvases) // self.canvases
        return options

    def look(self, path: str | None, *options):
        """The clip for the player, a line that says what it became, and all pictures of it."""
        source = open_clip(path)
        try:
            stream = codec_stream(self.processor, source, self.options(*options), return_evidence=True)
            figures = [
                visualization.plot_energy(source, stream),
                visualization.show_signals(source, stream),
                visualization.show_selection(source, stream),
                visualization.show_rebuild(source, stream),
                visualization.show_canvases(stream),
                visualization.plot_tokens(stream, self.processor._timestamp_tokens({})),
            ]
        except (VideoError, ValueError) as error:
            raise message(error, path) from error
        summary = [
            f"{len(stream.canvases)} canvases of {len(stream.groups)} groups",
            f"{stream.num_tokens} visual tokens",
            f"made in {sum(stream.timings.values()):.2f} s",
        ]
        return path, ", ".join(summary), *figures

    def ask(self, path: str | None, prompt: str, *options) -> tuple[str, str, str]:
        open_clip(path)
        if not prompt.strip():
            raise gr.Error("Write a question.", print_exception=False)
        blocks = [{"type": "video", "video": path}, {"type": "text", "text": prompt}]
        conversation = [{"role": "user", "content": blocks}]
        codec = self.options(*options)
        frames = {"video_backend": "frames", "num_frames": 8}
        if "max_tokens" in codec:
            frames["max_tokens"] = codec["max_tokens"]
        try:
            budget = self.tokens(conversation, codec)
            # As many whole frames as the same number of tokens holds.
            frames["num_frames"] = max(1, 8 * budget // self.tokens(conversation, frames))
            account = f"{budget} tokens of video as codec stream, {self.tokens(conversation, frames)} as frames"
            answers = [
                answer(self.model, self.processor, [conversation], processor_kwargs=each, max_new_tokens=128)[0]
                for each in (codec, frames)
            ]
        except (VideoError, ValueError) as error:
            raise message(error, path) from error
        return *answers, account

    def tokens(self, conversation: list[dict], options: dict) -> int:
        """Tokens of the video in a prompt, its timestamps included."""

        def length(messages: list[dict], **kwargs) -> int:
            settings = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
            return self.processor.apply_chat_template(messages, **settings, **kwargs)["input_ids"].shape[1]

        text = [{**conversation[0], "content": conversation[0]["content"][1:]}]
        return length(conversation, processor_kwargs=options) - length(text)


def build(name: str) -> gr.Blocks:
    """The page for the model of a folder or repository."""
    this, clips = Page(name), examples()
    default = this.default
    with gr.Blocks(title="OV2 codec stream", fill_width=True) as blocks:
        gr.Markdown("## Codec-stream tokenization: tokens go to events")
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                # Not gr.Video, which encodes anew what the browser does not play, examples too.
                clip = gr.File(label="Clip", type="filepath", height=120)
                player = gr.Video(label="Played", interactive=False, height=240)
                canvases = gr.Slider(4, 64, this.canvases, step=4, label="Canvases")
                selection = gr.Radio(["evidence", "state"], value=default.selection, label="Selection")
                motion = gr.Slider(0, 3, default.motion_weight, step=0.05, label="Weight of motion")
                residual = gr.Slider(0, 3, default.residual_weight, step=0.05, label="Weight of residual")
                bitrate = gr.Slider(0, 3, default.bitrate_weight, step=0.05, label="Weight of bitrate")
            with gr.Column(scale=3):
                summary = gr.Textbox(label="Stream", interactive=False)
                plots = []
                with gr.Tabs():
                    for name in PICTURES:
                        with gr.Tab(name):
                            plots.append(gr.Plot(show_label=False))
                with gr.Row():
                    prompt = gr.Textbox(clips[0][1], label="Question", scale=3)
                    ask = gr.Button("Ask", variant="primary", scale=1)
                with gr.Row():
                    codec_answer = gr.Textbox(label="From the codec stream", interactive=False)
                    frames_answer = gr.Textbox(label="From frames, at equal tokens", interactive=False)
                account = gr.Textbox(label="Tokens", interactive=False)
                gr.Examples(clips, [clip, prompt], label="Bundled clips")
        options = [canvases, selection, motion, residual, bitrate]
        # While a slider moves, only its last place counts.
        shared = {"trigger_mode": "always_last", "concurrency_limit": 1, "show_progress": "minimal"}
        changes = [clip.change, selection.change, *(each.release for each in (canvases, motion, residual, bitrate))]
        gr.on(changes, this.look, [clip, *options], [player, summary, *plots], **shared)
        ask.click(this.ask, [clip, prompt, *options], [codec_answer, frames_answer, account], concurrency_limit=1)
    return blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default=str(ASSETS / "ov2-micro"), help="repository or folder (default: the bundled model)"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7860)
    args = parser.parse_args()
    build(args.model).launch(
        server_name=args.host, server_port=args.port, max_file_size=MAX_UPLOAD, allowed_paths=[str(ASSETS)]
    )


if __name__ == "__main__":
    main()
