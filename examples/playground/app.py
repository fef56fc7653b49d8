# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""A page to play with the codec stream: upload a clip, move the budget, the policy and the weights, and ask a model.

    pip install "transformers-ov2[viz]" gradio
    python examples/playground/app.py --model lmms-lab-encoder/LLaVA-OneVision-2-8B-Instruct

Without --model, the bundled one answers. Uploads are limited in bytes, pixels and frames; a file that is no video
gives a message.
"""

import argparse
from pathlib import Path

import gradio as gr

from transformers_ov2 import visualization
from transformers_ov2.cli.loading import load
from transformers_ov2.codec import CodecStreamConfig, VideoError, tokenize_video
from transformers_ov2.codec.reading.source import open_source
from transformers_ov2.evaluation.answers import answer


ASSETS = Path(__file__).parents[1] / "assets"
EXAMPLES = sorted(str(path) for path in ASSETS.glob("*.mp4"))
MAX_UPLOAD = "200mb"
MAX_PIXELS = 4096 * 2304
MAX_FRAMES = 20_000
PICTURES = ("Energy", "Signals", "Selection", "Rebuild", "Canvases", "Tokens")


def config(canvases: int, selection: str, motion: float, residual: float, bitrate: float) -> CodecStreamConfig:
    return CodecStreamConfig(
        target_canvas=int(canvases),
        selection=selection,
        motion_weight=motion,
        residual_weight=residual,
        bitrate_weight=bitrate,
    )


def open_clip(path: str | None):
    if not path:
        raise gr.Error("Choose a clip first.", print_exception=False)
    try:
        return open_source(path, max_source_pixels=MAX_PIXELS, max_source_frames=MAX_FRAMES)
    except VideoError as error:
        raise message(error, path) from error


def message(error: Exception, path: str) -> gr.Error:
    """An error as the page shows it, without the folder that uploads lie in."""
    return gr.Error(str(error).replace(path, Path(path).name), print_exception=False)


def look(path: str | None, *options):
    """All pictures of a clip under the options, and a line that says what it became."""
    source = open_clip(path)
    try:
        stream = tokenize_video(source, config(*options), return_evidence=True)
        figures = [
            visualization.plot_energy(source, stream),
            visualization.show_signals(source, stream),
            visualization.show_selection(source, stream),
            visualization.show_rebuild(source, stream),
            visualization.show_canvases(stream),
            visualization.plot_tokens(stream),
        ]
    except (VideoError, ValueError) as error:
        raise message(error, path) from error
    summary = [
        f"{len(stream.canvases)} canvases of {len(stream.groups)} groups",
        f"{stream.num_tokens} visual tokens",
        f"made in {sum(stream.timings.values()):.2f} s",
    ]
    return ", ".join(summary), *figures


class Model:
    """Answers from codec streams and from frames, at equal tokens."""

    def __init__(self, name: str):
        self.processor, self.model, _ = load(name)

    def ask(self, path: str | None, prompt: str, *options) -> tuple[str, str, str]:
        open_clip(path)
        if not prompt.strip():
            raise gr.Error("Write a question.", print_exception=False)
        blocks = [{"type": "video", "video": path}, {"type": "text", "text": prompt}]
        conversation = [{"role": "user", "content": blocks}]
        codec = {"video_backend": "codec", "codec": config(*options).to_dict()}
        try:
            budget = self.tokens(conversation, codec)
            # As many whole frames as the same number of tokens holds.
            of_eight = self.tokens(conversation, {"video_backend": "frames", "num_frames": 8})
            frames = {"video_backend": "frames", "num_frames": max(1, 8 * budget // of_eight)}
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


def build(model: Model) -> gr.Blocks:
    default = CodecStreamConfig()
    with gr.Blocks(title="OV2 codec stream", fill_width=True) as page:
        gr.Markdown("## Codec-stream tokenization: tokens go to events")
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                clip = gr.Video(label="Clip", sources=["upload"], height=240)
                gr.Examples(EXAMPLES, clip, label="Bundled clips")
                canvases = gr.Slider(4, 64, 16, step=4, label="Canvases")
                selection = gr.Radio(["evidence", "state"], value="evidence", label="Selection")
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
                    prompt = gr.Textbox("What happens in the video?", label="Question", scale=3)
                    ask = gr.Button("Ask", variant="primary", scale=1)
                with gr.Row():
                    codec_answer = gr.Textbox(label="From the codec stream", interactive=False)
                    frames_answer = gr.Textbox(label="From frames, at equal tokens", interactive=False)
                account = gr.Textbox(label="Tokens", interactive=False)
        options = [canvases, selection, motion, residual, bitrate]
        # While a slider moves, only its last place counts.
        shared = {"trigger_mode": "always_last", "concurrency_limit": 1, "show_progress": "minimal"}
        changes = [clip.change, selection.change, *(each.release for each in (canvases, motion, residual, bitrate))]
        gr.on(changes, look, [clip, *options], [summary, *plots], **shared)
        ask.click(model.ask, [clip, prompt, *options], [codec_answer, frames_answer, account], concurrency_limit=1)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default=str(ASSETS / "ov2-micro"), help="repository or folder (default: the bundled model)"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7860)
    args = parser.parse_args()
    page = build(Model(args.model))
    page.launch(server_name=args.host, server_port=args.port, max_file_size=MAX_UPLOAD, allowed_paths=[str(ASSETS)])


if __name__ == "__main__":
    main()
