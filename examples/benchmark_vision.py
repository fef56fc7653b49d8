# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Vision tower against the same layers on a plain dense batch.

    python examples/benchmark_vision.py

Layers of the released width (1024, 16 heads) run on 32 canvases of 28x28 patches in windows of 4, and on 64 isolated
frames. The yardstick is the same weights written as plain PyTorch on a dense batch ([8, 3136, 1024] and
[64, 784, 1024]) with `scaled_dot_product_attention`, timed in turns with the tower in one process. Wanted: at most
1.15 times the time and 1.2 times the peak memory. A third case, without a yardstick of its own shape, packs images of
many sizes.
"""

import argparse
import statistics
import threading
import time

import torch
import torch.nn.functional as F

from transformers_ov2 import OV2VisionConfig, OV2VisionModel
from transformers_ov2.modeling_ov2_vision import apply_rotary_pos_emb_vision, get_grid_positions


CASES = {
    "32 canvases, windows of 4": ([[32, 28, 28]], 4),
    "64 isolated frames": ([[64, 28, 28]], 1),
}


class DenseBaseline:
    """The tower's layers on `(batch, length, hidden_size)`: no packing, no windows, one SDPA call."""

    def __init__(self, model: OV2VisionModel):
        self.model = model

    def __call__(self, pixel_values, positions, batch: int):
        model, config = self.model, self.model.config
        heads, head_dim = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        cos, sin = model.rotary_pos_emb(positions)
        hidden = model.layernorm_pre(model.embeddings(pixel_values)).view(batch, -1, config.hidden_size)
        length = hidden.shape[1]
        for layer in model.encoder.layers:
            attention = layer.self_attn
            query, key, value = attention.qkv(layer.layer_norm1(hidden)).view(-1, 3, heads, head_dim).unbind(1)
            query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
            query, key, value = (x.view(batch, length, heads, head_dim).transpose(1, 2) for x in (query, key, value))
            output = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, length, -1)
            hidden = hidden + attention.proj(output)
            hidden = hidden + layer.mlp(layer.layer_norm2(hidden))
        return model.merger(hidden.flatten(0, 1))


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def measure(function, device: str) -> tuple[float, int]:
    """Seconds of one call and the memory it took beyond what was there before, in bytes."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before, start = torch.cuda.memory_allocated(), time.perf_counter()
        function()
        torch.cuda.synchronize()
        return time.perf_counter() - start, torch.cuda.max_memory_allocated() - before
    peak, done = resident_bytes(), threading.Event()
    before = peak

    def sample():
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, resident_bytes())

    sampler = threading.Thread(target=sample)
    sampler.start()
    start = time.perf_counter()
    function()
    seconds = time.perf_counter() - start
    done.set()
    sampler.join()
    return seconds, max(peak, resident_bytes()) - before


@torch.no_grad()
def main() -> None:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--layers", type=int, default=24 if cuda else 2)
    parser.add_argument("--repeats", type=int, default=20 if cuda else 3)
    args = parser.parse_args()
    dtype = torch.bfloat16 if args.device == "cuda" else torch.float32
    config = OV2VisionConfig(num_hidden_layers=args.layers, out_hidden_size=4096)
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    model = OV2VisionModel(config).to(args.device, dtype).eval()
    dense = DenseBaseline(model)
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{args.layers} layers of 1024, {dtype}, {where}, torch {torch.__version__}, median of {args.repeats}")
    print(f"{'case':<28}{'tower s':>10}{'dense s':>10}{'time':>8}{'tower MB':>10}{'dense MB':>10}{'memory':>8}")

    for name, (grid, window) in CASES.items():
        grid = torch.tensor(grid, device=args.device)
        num_patches = int(grid.prod(-1).sum())
        pixel_values = torch.randn(num_patches, 588, device=args.device)
        positions = get_grid_positions(grid, 2, num_patches)
        windows = torch.tensor([window])
        batch = int(grid[0, 0]) // window

        def run_tower(pixel_values=pixel_values, grid=grid, positions=positions, windows=windows):
            return model(pixel_values, grid, positions, windows).pooler_output

        def run_dense(pixel_values=pixel_values, positions=positions, batch=batch):
            return dense(pixel_values, positions, batch)

        torch.testing.assert_close(run_tower(), run_dense(), atol=2e-2, rtol=2e-2)  # warm-up, and equal work
        results = {run_tower: [], run_dense: []}
        for _ in range(args.repeats):
            for function, measured in results.items():
                measured.append(measure(function, args.device))
        (tower_s, tower_b), (dense_s, dense_b) = (
            (statistics.median(s for s, _ in measured), statistics.median(b for _, b in measured))
            for measured in results.values()
        )
        print(
            f"{name:<28}{tower_s:>10.3f}{dense_s:>10.3f}{tower_s / dense_s:>8.2f}"
            f"{tower_b / 2**20:>10.0f}{dense_b / 2**20:>10.0f}{tower_b / max(dense_b, 1):>8.2f}"
        )

    # Sixteen images of sixteen sizes: one dense call for each distinct size.
    grid = torch.tensor([[1, 16 + 2 * i, 28] for i in range(16)], device=args.device)
    pixel_values = torch.randn(int(grid.prod(-1).sum()), 588, device=args.device)
    model(pixel_values, grid)
    seconds = statistics.median(
        measure(lambda: model(pixel_values, grid), args.device)[0] for _ in range(args.repeats)
    )
    print(f"{'16 images of 16 sizes':<28}{seconds:>10.3f}   ({len(pixel_values)} patches)")


if __name__ == "__main__":
    main()
