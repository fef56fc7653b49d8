# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import av
import numpy as np
import pytest

from transformers_ov2.codec.reading.decoding import decode_frames
from transformers_ov2.evaluation.policies import POLICIES, Clip, gradients, keep, vector_lengths


SIZE = 280  # 10 x 10 blocks: the canvas is the picture


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Grey; a sharp checkerboard that never changes at block (1, 1), a soft spot that slides through block row 8, and
    a square that is there in frames 20 to 23 at block (4, 4)."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    rng = np.random.default_rng(0)
    spot = rng.integers(90, 160, (28, 56, 3)).astype(np.uint8)
    spot = np.stack([spot] * 3).mean(axis=0).astype(np.uint8)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "x264-params": "cpu-independent=1"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for index in range(50):
            picture = np.full((SIZE, SIZE, 3), 120, dtype=np.uint8)
            picture[28:56, 28:56] = np.kron(np.indices((7, 7)).sum(axis=0) % 2 * 255, np.ones((4, 4)))[:, :, None]
            picture[224:252, 4 * index : 4 * index + 56] = spot
            if 20 <= index < 24:
                picture[112:140, 112:140] = (200, 60, 60)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return Clip(path)


def blocks_of(kept):
    """Blocks that come from frames which are not shown whole, as a set of (row, column)."""
    frames, counts = np.unique(kept.positions[:, 0], return_counts=True)
    single = kept.positions[np.isin(kept.positions[:, 0], frames[counts < 400])]
    return {(row // 2, column // 2) for _, row, column in single.tolist()}


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_keep_to_the_tokens(clip, policy):
    assert clip.grid == (20, 20)
    kept = keep(policy, clip, 2, clip.limit(2))
    assert clip.tokens(kept) <= clip.limit(2) == 2 * (100 + 8 * 10)
    assert len(kept.positions) == 400 * kept.num_canvases  # nothing is left empty
    assert len(np.unique(kept.positions, axis=0)) == len(kept.positions)
    assert np.array_equal(np.unique(kept.positions[:, 0]), np.unique(kept.runs))
    again = keep(policy, clip, 2, clip.limit(2))
    assert np.array_equal(kept.positions, again.positions)


def test_uniform_shows_whole_frames(clip):
    kept = keep("uniform", clip, 2, clip.limit(2))
    assert kept.runs.tolist() == [0, 24, 49]  # three whole frames cost what two canvases and 16 timestamps may


def test_each_ranking_prefers_what_it_is_made_for(clip):
    chosen = {policy: blocks_of(keep(policy, clip, 2, clip.limit(2))) for policy in POLICIES if policy != "uniform"}
    assert (1, 1) in chosen["gradient"]
    assert (4, 4) in chosen["difference"] and (1, 1) not in chosen["difference"]
    assert {row for row, _ in chosen["vectors"]} >= {8}
    assert (4, 4) in chosen["evidence"] and (4, 4) in chosen["state"]


def test_scores_on_hand_made_pictures(clip):
    image = np.zeros((56, 84, 3), dtype=np.uint8)
    image[:, 70:] = 100  # one upright edge, inside the last column of blocks
    found = gradients(image, (2, 3))
    assert found[:, :2].max() == 0
    assert found[:, 2] == pytest.approx(2 * 400 / 28, rel=1e-5)  # both sides of it, |Gx| = 4 · 100 on one column in 28

    frame = next(iter(decode_frames(clip.source, clip.table, np.array([0]), size=clip.size, side_data=True)))
    assert frame.motion_vectors is None and not vector_lengths(frame, (10, 10), (SIZE, SIZE)).any()
    fields = ["dst_x", "dst_y", "w", "h", "motion_x", "motion_y", "motion_scale"]
    frame.motion_vectors = np.array(
        [(8, 8, 16, 16, 12, 16, 4), (36, 8, 8, 16, 8, 0, 4)], dtype=[(name, np.int32) for name in fields]
    )
    found = vector_lengths(frame, (10, 10), (SIZE, SIZE))
    assert found[0, 0] == pytest.approx(5 * 256 / 784) and found[0, 1] == pytest.approx(2 * 128 / 784)
    assert np.count_nonzero(found) == 2


def test_vectors_need_a_codec_that_gives_them(tmp_path):
    path = tmp_path / "clip.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for index in range(16):
            picture = np.full((64, 64, 3), 10 * index, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    clip = Clip(path)
    assert keep("vectors", clip, 4, clip.limit(4)) is None
    assert keep("difference", clip, 4, clip.limit(4)) is not None


def test_unknown_policies_and_options_are_refused(clip):
    with pytest.raises(ValueError, match="uniform, random, difference"):
        keep("attention", clip, 2, clip.limit(2))
    with pytest.raises(ValueError, match="no options"):
        keep("random", clip, 2, clip.limit(2), crowding_penalty=1.0)
