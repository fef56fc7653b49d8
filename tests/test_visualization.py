# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import av
import numpy as np
import pytest
from synth import make_clip, moving_frames

from transformers_ov2 import visualization
from transformers_ov2.codec import tokenize_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path, moving_frames(48, 112, 168))
    return str(path)


@pytest.fixture(scope="module")
def stream(clip):
    return tokenize_video(clip, target_canvas=8, return_evidence=True)


def titles(figure) -> list[str]:
    return [axes.get_title() + axes.get_title(loc="left") for axes in figure.axes]


def test_energy_shows_packets_groups_and_key_frames(clip, stream):
    figure = visualization.plot_energy(clip, stream)
    (axes,) = figure.axes
    (bars,) = axes.containers
    keys, tokens = axes.lines
    assert len(bars) + len(keys.get_xdata()) == 48
    assert len(tokens.get_xdata()) == len(np.unique(stream.patch_positions[..., 0]))
    assert axes.get_xlabel() == "seconds"
    with pytest.raises(ValueError, match="no packets"):
        frames = np.zeros((8, 56, 56, 3), dtype=np.uint8)
        visualization.plot_energy(frames, tokenize_video(frames, target_canvas=4))


def test_selection_lights_the_blocks_of_the_stream(clip, stream):
    figure = visualization.show_selection(clip, stream, num_frames=3)
    # Whole frames show no selection: the first one alone is drawn.
    assert ["(I-canvas)" in title for title in titles(figure)] == [True, False, False]
    source, counts = visualization._frames_with_tokens(stream)
    masks = visualization._selected(stream, source)
    assert (masks.sum(axis=(1, 2)) == counts * stream.merge**2).all()
    picture = np.full(stream.canvases.shape[1:], 200, dtype=np.uint8)
    dimmed = visualization._dim(picture, masks[1], stream.patch)
    assert ((dimmed == 200).all(axis=2).sum()) == counts[1] * (stream.merge * stream.patch) ** 2
    assert "s  " in titles(figure)[0] and "tokens" in titles(figure)[0]


def test_signals_draw_the_maps_with_their_units(clip, stream):
    figure = visualization.show_signals(clip, stream, num_frames=2)
    for title in ("motion (pixels per frame)", "residual (grey levels)", "bitrate (bits)", "fused score"):
        assert title in titles(figure)
    maps = [axes.images[0].get_array() for axes in figure.axes if axes.images and axes.images[0].get_array().ndim == 2]
    rows, columns = stream.evidence.score.shape[1:]
    assert len(maps) == 8 and all(each.shape == (rows, columns) for each in maps)
    with pytest.raises(ValueError, match="return_evidence=True"):
        visualization.show_signals(clip, tokenize_video(clip, target_canvas=4))


def test_a_signal_that_is_nowhere_has_no_scale(clip, stream):
    evidence = dataclasses.replace(stream.evidence, motion=np.zeros_like(stream.evidence.motion))
    figure = visualization.show_signals(clip, dataclasses.replace(stream, evidence=evidence), num_frames=1)
    assert "motion: none" in titles(figure)
    (drawn,) = (axes.images[0] for axes in figure.axes if axes.get_title() == "motion: none")
    assert drawn.get_clim() == (0, 1)  # all of it dark
    scales = [axes.get_visible() for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert scales.count(False) == 2 and scales.count(True) == 3  # those of the frame and of motion


def test_canvases_are_whole_groups_labelled_in_seconds(stream):
    assert len([title for title in titles(visualization.show_canvases(stream)) if title]) == len(stream.canvases)
    few = [title for title in titles(visualization.show_canvases(stream, max_canvases=5)) if title]
    assert len(few) == 4 and few[0] == "I  0.00 s" and few[1].startswith("P  ")


def test_rebuild_of_a_whole_video_is_near_it(clip, stream):
    figure = visualization.show_rebuild(clip, stream, num_frames=2)
    source, rebuilt = figure.axes[0].images[0].get_array(), figure.axes[2].images[0].get_array()
    assert source.shape == rebuilt.shape == stream.canvases.shape[1:]
    assert (rebuilt > 0).any() and "dB" in figure.axes[2].get_title()
    assert visualization._quality(source, source) == "exact"


def test_token_account_adds_up(stream):
    video = stream.num_tokens + sum(7 for _ in stream.runs())
    figure = visualization.plot_tokens(stream, timestamp_tokens=lambda seconds: 7, prompt_tokens=video + 11)
    assert f"{video} tokens of video, 11 of other text" in titles(figure)[0]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert sum(int(label.split(": ")[1]) for label in labels) == video
    with pytest.raises(ValueError, match="does not hold"):
        visualization.plot_tokens(stream, prompt_tokens=10)


def test_video_holds_three_panels_for_every_frame(tmp_path, clip, stream):
    path = tmp_path / "out.mp4"
    visualization.write_video(clip, stream, path)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    height, width = stream.canvases.shape[1:3]
    label = 20
    assert len(frames) == 48 and frames[0].shape == (label + height, 3 * width + 8, 3)
    # The first frame is an anchor: all of it is lit, and the rebuild is the frame.
    panels = [frames[0][label:, at : at + width].astype(int) for at in (0, width + 4, 2 * width + 8)]
    assert np.abs(panels[0] - panels[1]).mean() < 3 and np.abs(panels[0] - panels[2]).mean() < 3
    # Above each panel stands something, and the second changes.
    first, last = (frame[:label].astype(int) for frame in (frames[0], frames[-1]))
    assert all((first[:, at : at + width] < 100).any() for at in (0, width + 4, 2 * width + 8))
    assert np.abs(first - last)[:, :width].max() > 100


def test_figures_are_written(tmp_path, stream):
    visualization.show_canvases(stream).savefig(tmp_path / "canvases.png")
    assert (tmp_path / "canvases.png").read_bytes().startswith(b"\x89PNG")
