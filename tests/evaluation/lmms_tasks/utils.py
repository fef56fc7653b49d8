# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The harness's own functions of five benchmarks, for local records in the form of their data sets."""

from lmms_eval.tasks.jumpscore.utils import (  # noqa: F401
    jumpscore_aggregate_results,
    jumpscore_doc_to_messages,
    jumpscore_doc_to_target,
    jumpscore_doc_to_text,
    jumpscore_doc_to_visual,
    jumpscore_process_results,
)
from lmms_eval.tasks.mvbench.utils import (  # noqa: F401
    mvbench_aggregate_results,
    mvbench_doc_to_text,
    mvbench_doc_to_visual,
    mvbench_process_results,
)
from lmms_eval.tasks.rvos.utils import (  # noqa: F401
    rvos_aggregate_f1,
    rvos_aggregate_hota,
    rvos_doc_to_messages,
    rvos_doc_to_text,
    rvos_doc_to_visual,
    rvos_process_results,
)
from lmms_eval.tasks.timelens.utils import (  # noqa: F401
    timelens_aggregate_miou,
    timelens_doc_to_target,
    timelens_doc_to_text,
    timelens_doc_to_visual,
    timelens_process_results,
)
from lmms_eval.tasks.videomme.utils import (  # noqa: F401
    videomme_aggregate_results,
    videomme_doc_to_text,
    videomme_doc_to_visual,
    videomme_process_results,
)


def several_doc_to_messages(doc):
    """Two videos and an image in one question: of this project, for what no benchmark above asks."""
    blocks = [{"type": "video", "url": path} for path in doc["videos"]] + [{"type": "image", "url": doc["image"]}]
    return [{"role": "user", "content": [*blocks, {"type": "text", "text": doc["question"]}]}]


def several_process_results(doc, results):
    return {"length": len(results[0])}
