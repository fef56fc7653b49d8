# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
The harness itself, on records made by hand in the form of its data sets. Its metadata forbids the PyAV release of this
package, so it is not in the test extra; with it installed (see `transformers_ov2/evaluation/lmms_eval.py`) these run.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


pytest.importorskip("lmms_eval", reason="needs lmms-eval")

HERE = Path(__file__).parent
ASSETS = HERE.parents[1] / "examples" / "assets"

CHOICE = {"question": "What moves?", "answer": "B"}
TASKS = {
    "ov2_jumpscore": {
        "records": [
            {"id": n, "video_path": f"{n}.mp4", "question": "When?", "answer": "[1.0]"} for n in ("ball", "cart")
        ],
        "functions": {
            "doc_to_visual": "jumpscore_doc_to_visual",
            "doc_to_text": "jumpscore_doc_to_text",
            "doc_to_target": "jumpscore_doc_to_target",
            "doc_to_messages": "jumpscore_doc_to_messages",
            "process_results": "jumpscore_process_results",
        },
        "metrics": {"jumpscore_map": "jumpscore_aggregate_results"},
    },
    "ov2_timelens": {
        "records": [{"video_path": "ball.mp4", "query": "a bounce", "span": [[1.0, 2.0]]}],
        "functions": {
            "doc_to_visual": "timelens_doc_to_visual",
            "doc_to_text": "timelens_doc_to_text",
            "doc_to_target": "timelens_doc_to_target",
            "process_results": "timelens_process_results",
        },
        "metrics": {"timelens_mIOU": "timelens_aggregate_miou"},
    },
    "ov2_mvbench": {
        "records": [{"video": "cart.mp4", "candidates": ["a lamp", "a cart"], **CHOICE, "answer": "a cart"}],
        "functions": {
            "doc_to_visual": "mvbench_doc_to_visual",
            "doc_to_text": "mvbench_doc_to_text",
            "process_results": "mvbench_process_results",
        },
        "metrics": {"mvbench_accuracy": "mvbench_aggregate_results"},
        "specific": {"sub_task": "action_count", "post_prompt": "Only give the best option.\n"},
    },
    "ov2_videomme": {
        "records": [
            {
                "videoID": "lamp",
                "options": ["A. a ball", "B. a lamp"],
                "question_id": "1-1",
                "duration": "short",
                "domain": "Knowledge",
                "sub_category": "Astronomy",
                "task_type": "Action Recognition",
                **CHOICE,
            }
        ],
        "functions": {
            "doc_to_visual": "videomme_doc_to_visual",
            "doc_to_text": "videomme_doc_to_text",
            "process_results": "videomme_process_results",
        },
        "metrics": {"videomme_perception_score": "videomme_aggregate_results"},
        "specific": {"pre_prompt": "", "post_prompt": "\nAnswer with the option's letter."},
    },
    "ov2_rvos": {
        "records": [
            {
                "id": "ref-davis17_track_0",
                "qid": "0",
                "video": "ball",
                "expression": "the ball",
                "width": 8,
                "height": 8,
                "fps": 1.0,
                "n_frames": 2,
                "mask_ids": ["0"],
                "frame_trajectories": json.dumps([{"frame": 0, "points": [{"id": 0, "point": [1, 1]}]}]),
            }
        ],
        "functions": {
            "doc_to_visual": "rvos_doc_to_visual",
            "doc_to_text": "rvos_doc_to_text",
            "doc_to_messages": "rvos_doc_to_messages",
            "process_results": "rvos_process_results",
        },
        "metrics": {"rvos_f1": "rvos_aggregate_f1", "rvos_hota": "rvos_aggregate_hota"},
        "specific": {"prompt_template": "Track the {expression}"},
    },
    "ov2_several": {
        "records": [{"videos": ["ball.mp4", "lamp.mp4"], "image": "picture.png", "question": "Same?", "answer": "no"}],
        "functions": {"doc_to_messages": "several_doc_to_messages", "process_results": "several_process_results"},
        "metrics": {"length": None},
    },
}


def write_task(folder: Path, name: str, task: dict) -> None:
    records = folder / f"{name}.jsonl"
    records.write_text("".join(json.dumps(record) + "\n" for record in task["records"]))
    lines = [
        f"task: {name}",
        "dataset_path: json",
        "dataset_kwargs:",
        f"  data_files: {{test: {records}}}",
        "test_split: test",
        "output_type: generate_until",
        "generation_kwargs: {max_new_tokens: 4, temperature: 0, until: ['\\n\\n']}",
        *(f"{key}: !function utils.{function}" for key, function in task["functions"].items()),
        *(["doc_to_text: question"] if "doc_to_text" not in task["functions"] else []),
        *(["doc_to_target: answer"] if "doc_to_target" not in task["functions"] else []),
        f"lmms_eval_specific_kwargs: {json.dumps({'default': task.get('specific', {})})}",
        "metric_list:",
    ]
    for metric, aggregation in task["metrics"].items():
        lines += [f"  - metric: {metric}", "    higher_is_better: true"]
        lines += [f"    aggregation: {'!function utils.' + aggregation if aggregation else 'mean'}"]
    (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Clips where the tasks look for them, the masks of one, and the tasks."""
    from PIL import Image

    home = tmp_path_factory.mktemp("home")
    for folder in ("jumpscore/videos", "timelens", "mvbench_video/perception/videos", "videomme/data"):
        (home / folder).mkdir(parents=True)
        for name in ("ball", "cart", "lamp"):
            shutil.copy(ASSETS / f"{name}.mp4", home / folder)
    masks = home / "rvos_ref_davis17" / "masks" / "ball"
    masks.mkdir(parents=True)
    (masks / "0.json").write_text(json.dumps({"0": [{"size": [8, 8], "counts": [0, 64]}] * 2}))
    (home / "rvos_ref_davis17" / "videos").mkdir()
    shutil.copy(ASSETS / "ball.mp4", home / "rvos_ref_davis17" / "videos")
    Image.new("RGB", (64, 64), "red").save(home / "picture.png")

    tasks = home / "tasks"
    shutil.copytree(HERE / "lmms_tasks", tasks)
    for name, task in TASKS.items():
        records = task["records"]
        if name == "ov2_several":
            records = [
                record
                | {"videos": [str(ASSETS / path) for path in record["videos"]], "image": str(home / "picture.png")}
                for record in records
            ]
        write_task(tasks, name, task | {"records": records})
    return home


@pytest.mark.slow
@pytest.mark.parametrize("options", ["target_canvas=4,selection=state", "backend=frames,num_frames=4"])
def test_benchmarks_of_the_harness(home, tmp_path, tiny_model, options):
    command = [sys.executable, "-m", "lmms_eval", "--model", "transformers_ov2", "--tasks", ",".join(TASKS)]
    command += ["--model_args", f"pretrained={tiny_model},{options}", "--include_path", str(home / "tasks")]
    command += ["--batch_size", "2", "--device", "cpu", "--log_samples", "--output_path", str(tmp_path)]
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    (results,) = tmp_path.rglob("*_results.json")
    scores = json.loads(results.read_text())["results"]
    for name, task in TASKS.items():
        for metric in task["metrics"]:
            assert isinstance(scores[name][f"{metric},none"], int | float), f"{name}: {scores[name]}"
        (samples,) = tmp_path.rglob(f"*_samples_{name}.jsonl")
        records = [json.loads(line) for line in samples.read_text().splitlines()]
        assert len(records) == len(task["records"])
        assert all(record["filtered_resps"][0] for record in records), f"{name}: an empty answer"


def test_unknown_model_arguments_are_named(tiny_model):
    from transformers_ov2.evaluation.lmms_eval import OV2Chat

    with pytest.raises(ValueError, match="`canvases` is no model argument"):
        OV2Chat.create_from_arg_string(f"pretrained={tiny_model},canvases=4")
