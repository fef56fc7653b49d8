# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Pictures of a codec stream: where a video spends its bytes, what the signals say, which blocks became tokens, and what
a model can know from them.

Every function returns a matplotlib `Figure` (`figure.savefig("a.png")`); [`write_video`] writes an mp4. They need
`pip install "transformers-ov2[viz]"`. Colours are those of Okabe and Ito and the map cividis, which people with any
form of colour blindness can tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from .codec import CodecStream
from .codec.deciding.budget import timestamp_text_tokens
from .codec.reading.decoding import decode_frames
from .codec.reading.packets import read_packets
from .codec.reading.source import VideoSource, open_source
from .evaluation.fidelity import rebuild


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


BLUE, SKY, GREEN, ORANGE, VERMILLION, GREY = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#999999"
# Brightness of what was not selected.
DIMMED = 0.3
# The title of each signal and its unit, in the order in which they are shown.
SIGNALS = {
    "motion": "motion (pixels per frame)",
    "residual": "residual (grey levels)",
    "bitrate": "bitrate (bits)",
    "score": "fused score",
}


def plot_energy(source: Any, stream: CodecStream) -> Figure:
    """
    The packet-energy curve: bytes of every packet over time, key frames, and the groups that they were cut into.

    Args:
        source: the video, as [`~transformers_ov2.codec.tokenize_video`] takes it.
        stream (`CodecStream`): what it was made into.

    Raises:
        ValueError: the source has no packets (decoded frames).
    """
    table = read_packets(_opened(source))
    if not table.size.any():
        raise ValueError("Decoded frames have no packets, so there is no packet energy to draw.")
    figure = _figure(10, 3.4)
    axes = figure.add_subplot()
    kilobytes, key = table.size / 1000, table.is_key
    step = 1 / table.fps
    top = max(float(np.quantile(kilobytes[~key], 0.999)), 1e-3) * 1.25 if (~key).any() else float(kilobytes.max())
    _shade_groups(axes, stream, table.seconds, step)
    axes.bar(table.seconds[~key], kilobytes[~key], width=step, color=BLUE, linewidth=0, label="P- and B-frames")
    keys, tokens = table.seconds[key], table.seconds[_frames_with_tokens(stream)[0]]
    style = {"linestyle": "none", "clip_on": False}
    axes.plot(keys, np.full(len(keys), 0.97 * top), marker="v", color=VERMILLION, label="key frames", **style)
    axes.plot(tokens, np.full(len(tokens), -0.03 * top), marker="|", color=GREEN, label="frames in tokens", **style)
    axes.set(xlim=(0, table.seconds[-1] + step), ylim=(-0.08 * top, top), xlabel="seconds", ylabel="kB per packet")
    axes.set_title(f"Packet energy: {len(stream.groups)} groups, {len(stream.canvases)} canvases", loc="left")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, frameon=False)
    _plain(axes)
    return figure


def show_selection(source: Any, stream: CodecStream, num_frames: int = 8) -> Figure:
    """
    Source frames with their selected blocks lit and the rest dimmed.

    Args:
        source: the video.
        stream (`CodecStream`): what it was made into.
        num_frames (`int`): how many; in each of as many equal parts of the token stream the frame of which most
            blocks were selected. Whole frames, of which there is nothing to see, only at the start of the video and
            where a part has no others.
    """
    frames, blocks = _frames_with_tokens(stream)
    parts = np.array_split(np.arange(len(frames)), min(num_frames, len(frames)))
    selected = np.where(blocks < stream.num_tokens // len(stream.canvases), blocks, 0)
    chosen = np.array([part[np.argmax(selected[part])] for part in parts])
    if len(chosen) > 1:
        chosen[0] = 0
    lit = _selected(stream, frames[chosen])
    figure, grid = _sheet(len(chosen), _aspect(stream))
    for axes, picture, mask, at in zip(grid, _pictures(source, stream, frames[chosen]), lit, chosen.tolist()):
        _show(axes, _dim(picture, mask, stream.patch))
        whole = " (I-canvas)" if mask.all() else ""
        axes.set_title(f"{_second(stream, frames[at])}  {blocks[at]} tokens{whole}", fontsize=9)
    figure.suptitle("Selected blocks are lit", x=0.01, ha="left")
    return figure


def show_signals(source: Any, stream: CodecStream, num_frames: int = 4) -> Figure:
    """
    Heat maps of motion, residual, bitrate and the fused score, side by side, next to their frame.

    Args:
        source: the video.
        stream (`CodecStream`): made with `return_evidence=True`.
        num_frames (`int`): how many frames; those of highest score in each of as many equal parts of the video.

    Raises:
        ValueError: the stream has no evidence.
    """
    evidence = _evidence(stream)
    strongest = np.partition(evidence.score.reshape(len(evidence.score), -1), -3, axis=1)[:, -3:].mean(axis=1)
    parts = np.array_split(np.arange(len(strongest)), min(num_frames, len(strongest)))
    chosen = np.array([part[np.argmax(strongest[part])] for part in parts])
    height = 1.9 * _aspect(stream)
    figure = _figure(2.1 * (1 + len(SIGNALS)) + 0.6, (height + 0.35) * len(chosen) + 0.7)
    grid = figure.subplots(len(chosen), 1 + len(SIGNALS), squeeze=False)
    below = {"orientation": "horizontal", "shrink": 0.85, "aspect": 22, "pad": 0.03}
    images = {}
    for name in SIGNALS:
        values = getattr(evidence, name)[chosen]
        # One scale for all frames, so that they compare; the strongest hundredth shares its end.
        images[name] = values, float(np.quantile(values, 0.99) or values.max())
    for row, (axes, picture) in enumerate(zip(grid, _pictures(source, stream, evidence.frame_ids[chosen]))):
        _show(axes[0], picture)
        axes[0].set_ylabel(_second(stream, evidence.frame_ids[chosen[row]]), fontsize=9)
        for column, (name, title) in enumerate(SIGNALS.items(), start=1):
            values, top = images[name]
            drawn = axes[column].imshow(values[row], cmap="cividis", vmin=0, vmax=top or 1, interpolation="nearest")
            axes[column].set(xticks=[], yticks=[])
            if row == 0:
                axes[column].set_title(title if top else f"{name}: none", fontsize=9)
            if row == len(chosen) - 1:
                # One that is not seen keeps the pictures of its column as large as the others.
                figure.colorbar(drawn, ax=grid[:, column], **below).ax.set_visible(bool(top))
    grid[0][0].set_title("frame", fontsize=9)
    figure.colorbar(drawn, ax=grid[:, 0], **below).ax.set_visible(False)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in stream.signal_shares.items())
    figure.suptitle(f"Signals per block (known of the frames: {shares})", x=0.01, ha="left", fontsize=10)
    return figure


def show_canvases(stream: CodecStream, max_canvases: int = 32) -> Figure:
    """
    The canvases, which are what the model reads, one row per group.

    Args:
        stream (`CodecStream`): any.
        max_canvases (`int`): at most so many, from the first on; whole groups.
    """
    sizes = stream.canvases_per_group
    rows = max(1, int(np.searchsorted(np.cumsum(sizes), max_canvases, side="right")))
    columns = int(sizes[:rows].max())
    figure = _figure(2.3 * columns + 0.5, (2.3 * _aspect(stream) + 0.3) * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for row, axes_row in enumerate(grid):
        for column, axes in enumerate(axes_row):
            if column >= sizes[row]:
                axes.set_axis_off()
                continue
            canvas = starts[row] + column
            _show(axes, stream.canvases[canvas])
            times = stream.patch_positions[canvas, :, 0]
            first, last = (stream.seconds(np.array([frame]))[0] for frame in (times[times >= 0].min(), times.max()))
            span = f"{first:.2f} s" if first == last else f"{first:.2f}–{last:.2f} s"
            axes.set_title(f"{'I' if column == 0 else 'P'}  {span}", fontsize=9)
        axes_row[0].set_ylabel(f"group {row + 1}", fontsize=9)
    more = "" if rows == len(sizes) else f", the first {starts[rows]} of {len(stream.canvases)}"
    figure.suptitle(f"Canvases{more}", x=0.01, ha="left")
    return figure


def show_rebuild(source: Any, stream: CodecStream, num_frames: int = 4) -> Figure:
    """
    Frames of the video above what can be rebuilt of them from the tokens alone.

    Args:
        source: the video.
        stream (`CodecStream`): what it was made into.
        num_frames (`int`): how many, evenly over the video.
    """
    source = _opened(source)
    table = read_packets(source)
    wanted = np.unique(np.linspace(0, table.num_frames - 1, num_frames + 2)[1:-1].round().astype(np.int64))
    found = []
    for index, (frame, state, _) in enumerate(_rebuilt(source, table, stream)):
        if index in wanted:
            found.append((frame, state.copy()))
    figure = _figure(2.6 * len(found) + 0.4, 2 * (2.6 * _aspect(stream) + 0.3) + 0.4)
    grid = figure.subplots(2, len(found), squeeze=False)
    for column, (frame, state) in enumerate(found):
        _show(grid[0][column], frame)
        _show(grid[1][column], state)
        grid[0][column].set_title(f"{table.seconds[wanted[column]]:.2f} s", fontsize=9)
        grid[1][column].set_title(_quality(frame, state), fontsize=9)
    grid[0][0].set_ylabel("source", fontsize=9)
    grid[1][0].set_ylabel("from tokens", fontsize=9)
    figure.suptitle(f"The video from its {stream.num_tokens} visual tokens", x=0.01, ha="left")
    return figure


def plot_tokens(
    stream: CodecStream,
    timestamp_tokens: Callable[[float], int] = timestamp_text_tokens,
    prompt_tokens: int | None = None,
) -> Figure:
    """
    The token account of a video in a prompt: whole frames, selected blocks and timestamps, group by group.

    Args:
        stream (`CodecStream`): any.
        timestamp_tokens (`Callable[[float], int]`): tokens of the timestamp for a time in seconds; an upper bound by
            default, as for `tokenize_video`.
        prompt_tokens (`int`, *optional*): length of the whole prompt, whose other text is then named as well.

    Raises:
        ValueError: the prompt is shorter than the video in it.
    """
    per_canvas = stream.num_tokens // len(stream.canvases)
    ends = np.cumsum(stream.canvases_per_group)
    whole = np.full(len(ends), per_canvas)
    blocks = (stream.canvases_per_group - 1) * per_canvas
    runs = stream.runs()
    group = np.searchsorted(ends * per_canvas, np.cumsum(runs[:, 1]), side="left")
    costs = [timestamp_tokens(second) for second in stream.seconds(runs[:, 0]).tolist()]
    text = np.bincount(group, weights=costs, minlength=len(ends)).astype(np.int64)
    bounds = [(stream.seconds(inside[:1])[0]) for inside in _frames_of_groups(stream)]

    figure = _figure(10, 3.4)
    axes = figure.add_subplot()
    x = np.arange(len(ends))
    parts = {"I-canvases": (whole, SKY), "P-canvases": (blocks, BLUE), "timestamps": (text, ORANGE)}
    bottom = np.zeros(len(ends))
    for name, (values, colour) in parts.items():
        axes.bar(x, values, bottom=bottom, color=colour, width=0.8, label=f"{name}: {values.sum()}")
        bottom += values
    total = int(whole.sum() + blocks.sum() + text.sum())
    named = f"Token account: {total} tokens of video"
    if prompt_tokens is not None:
        if prompt_tokens < total:
            raise ValueError(
                f"A prompt of {prompt_tokens} tokens does not hold the {total} of this video: pass the "
                "`timestamp_tokens` of its tokenizer, and the length of the prompt that this stream is in."
            )
        named += f", {prompt_tokens - total} of other text"
    axes.set(ylabel="tokens", xlabel="group, by its first second")
    shown = x[:: max(1, len(x) // 16)]
    axes.set_xticks(shown, [f"{bounds[index]:.1f} s" for index in shown])
    axes.set_title(named, loc="left")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3, frameon=False)
    _plain(axes)
    return figure


def write_video(source: Any, stream: CodecStream, path: str | Path) -> None:
    """
    Write an mp4 (H.264) of the video, its selected blocks, and the rebuild from the tokens, side by side, with the
    second, the tokens of the frame and the PSNR of the rebuild above them.

    A selected block stays lit for a third of a second, so that the eye can follow.

    Args:
        source: the video.
        stream (`CodecStream`): what it was made into.
        path (`str` or `Path`): the file to write.
    """
    source = _opened(source)
    table = read_packets(source)
    height, width = stream.canvases.shape[1:3]
    rate = Fraction(table.fps).limit_denominator(1001)
    hold = max(1, round(table.fps / 3))
    gap, label = 4, 20
    age = None
    write = _writer(width, label)
    with av.open(str(path), "w", format="mp4") as container:
        encoder = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        encoder.width, encoder.height = (3 * width + 2 * gap) // 2 * 2, (label + height) // 2 * 2
        encoder.pix_fmt = "yuv420p"
        bar = np.full((label + height, gap, 3), 255, dtype=np.uint8)
        for second, (frame, state, shown) in zip(table.seconds.tolist(), _rebuilt(source, table, stream)):
            age = np.full(shown.shape, hold) if age is None else age + 1
            age[shown] = 0
            panels = {
                f"{second:.2f} s": frame,
                f"{shown.sum() // stream.merge**2} tokens": _dim(frame, age < hold, stream.patch),
                f"from tokens, {_quality(frame, state)}": state,
            }
            labelled = [np.concatenate([write(text), panel]) for text, panel in panels.items()]
            picture = np.concatenate([labelled[0], bar, labelled[1], bar, labelled[2]], axis=1)
            picture = np.ascontiguousarray(picture[: encoder.height, : encoder.width])
            container.mux(encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(encoder.encode(None))


# ---------------------------------------------------------------------------------------------------------------------
# What pictures are made of
# ---------------------------------------------------------------------------------------------------------------------
def _opened(source: Any) -> VideoSource:
    return source if isinstance(source, VideoSource) else open_source(source)


def _evidence(stream: CodecStream):
    if stream.evidence is None:
        raise ValueError("This stream was made without its evidence: tokenize_video(..., return_evidence=True).")
    return stream.evidence


def _frames_with_tokens(stream: CodecStream) -> tuple[np.ndarray, np.ndarray]:
    """Source frames that give tokens, ascending, and how many each."""
    frames = stream.block_positions()[:: stream.merge**2, 0]
    return np.unique(frames[frames >= 0], return_counts=True)


def _frames_of_groups(stream: CodecStream) -> Iterator[np.ndarray]:
    for start, end in stream.groups.tolist():
        yield stream.frame_ids[(stream.frame_ids >= start) & (stream.frame_ids < end)]


def _selected(stream: CodecStream, frames: np.ndarray) -> np.ndarray:
    """Which patches of each of the frames are tokens, bool `(num_frames, patch_rows, patch_columns)`."""
    positions = stream.patch_positions.reshape(-1, 3)
    _, rows, columns = stream.grid_thw
    mask = np.zeros((len(frames), rows, columns), dtype=bool)
    index = np.searchsorted(frames, positions[:, 0]).clip(max=len(frames) - 1)
    here = frames[index] == positions[:, 0]
    mask[index[here], positions[here, 1], positions[here, 2]] = True
    return mask


def _pictures(source: Any, stream: CodecStream, frames: np.ndarray) -> Iterator[np.ndarray]:
    """The frames at canvas size, uint8 RGB."""
    source = _opened(source)
    for frame in decode_frames(source, read_packets(source), frames, size=stream.canvases.shape[1:3]):
        yield frame.image


def _rebuilt(source: VideoSource, table, stream: CodecStream) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    decoded = decode_frames(source, table, np.arange(table.num_frames), size=stream.canvases.shape[1:3])
    return rebuild((frame.image for frame in decoded), stream.patch_positions, stream.patch)


def _dim(picture: np.ndarray, lit: np.ndarray, patch: int) -> np.ndarray:
    weight = np.where(np.kron(lit, np.ones((patch, patch), dtype=bool)), 1.0, DIMMED).astype(np.float32)
    return (picture * weight[..., None]).astype(np.uint8)


def _quality(frame: np.ndarray, state: np.ndarray) -> str:
    """The PSNR of a rebuilt frame."""
    error = np.mean((frame.astype(np.float32) - state) ** 2)
    return f"{10 * np.log10(255**2 / error):.1f} dB" if error else "exact"


def _writer(width: int, height: int) -> Callable[[str], np.ndarray]:
    """Draws a line of text, black on white, uint8 `(height, width, 3)`; what does not fit is cut off."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 12)

    def write(text: str) -> np.ndarray:
        image = Image.new("RGB", (width, height), "white")
        ImageDraw.Draw(image).text((3, 2), text, font=font, fill="black")
        return np.asarray(image)

    return write


def _second(stream: CodecStream, frame: int) -> str:
    return f"{stream.seconds(np.array([frame]))[0]:.2f} s"


def _aspect(stream: CodecStream) -> float:
    return stream.canvases.shape[1] / stream.canvases.shape[2]


def _figure(width: float, height: float) -> Figure:
    # A canvas of its own: pyplot would choose a backend for the whole process, and may look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    return figure


def _sheet(count: int, aspect: float) -> tuple[Figure, list[Axes]]:
    columns = min(4, count)
    rows = -(-count // columns)
    figure = _figure(2.6 * columns + 0.2, (2.6 * aspect + 0.35) * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def _show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture)
    axes.set(xticks=[], yticks=[])


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _shade_groups(axes: Axes, stream: CodecStream, seconds: np.ndarray, step: float) -> None:
    for index, (start, end) in enumerate(stream.groups.tolist()):
        left, right = seconds[start], seconds[end] if end < len(seconds) else seconds[-1] + step
        if index % 2 == 0:
            axes.axvspan(left, right, color=GREY, alpha=0.18, linewidth=0, label="groups" if index == 0 else None)
