"""PyTorch's seconds for the operations of operations.py, as JSON; it needs PyTorch and NumPy alone.

python benchmarks/torch_operations.py D H W REPEATS THREADS wall|cpu cpu|gpu OPERATION …
"""

import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

DEVICE = {"cpu": "cpu", "gpu": "cuda"}[sys.argv[7]]
SIGMA, WINDOW = 1.0, 7
NOW = time.process_time if sys.argv[6] == "cpu" else time.perf_counter


def main() -> None:
    shape = tuple(int(n) for n in sys.argv[1:4])
    repeats, threads = (int(n) for n in sys.argv[4:6])
    torch.set_num_threads(threads)
    half, quarter = (tuple(n // factor for n in shape) for factor in (2, 4))
    cases = {
        "convolution": [
            lambda: convolution(shape, 16),
            lambda: convolution(half, 32),
            lambda: convolution(quarter, 48),
        ],
        "warp": [lambda: warping(shape, 1), lambda: warping(half, 13)],
        "box": [lambda: box(shape)],
        "gaussian": [lambda: gaussian(shape)],
        "attention": [lambda: attention(quarter)],
    }
    found = {}
    for case in (case for name in sys.argv[8:] for case in cases[name]):
        name, function, tensors = case()
        found[f"{name}, forward"] = best_seconds(lambda f=function, t=tensors: f(*t), repeats)
        for tensor in tensors:
            tensor.requires_grad_()
        run = gradient(function, tensors)
        found[f"{name}, gradient"] = best_seconds(run, repeats)
    print(json.dumps(found))


def gradient(function: Callable[..., Any], tensors: Any) -> Callable[[], Any]:
    def run() -> Any:
        result = function(*tensors)
        parts = result if isinstance(result, tuple) else (result,)
        return torch.autograd.grad(sum((part**2).sum() for part in parts), tensors)

    return run


def best_seconds(run: Callable[[], Any], repeats: int) -> float:
    seconds = []
    for _ in range(repeats + 1):
        start = NOW()
        run()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        seconds.append(NOW() - start)
    return min(seconds[1:])


def convolution(shape: Any, width: int) -> Any:
    last = torch.channels_last_3d
    image = normal(1, width, *shape).to(memory_format=last)
    kernel = normal(width, width, 3, 3, 3).to(memory_format=last)
    name = f"convolution 3³ {width}→{width}, {by(shape)}"
    return name, lambda x, k: functional.conv3d(x, k, padding=1), (image, kernel)


def warping(shape: Any, channels: int) -> Any:
    axes = [torch.arange(n, device=DEVICE, dtype=torch.float32) for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    size = torch.tensor(shape, device=DEVICE, dtype=torch.float32)

    def warp(image: Any, displacement: Any) -> Any:
        place = (2 * (grid + displacement) + 1) / size - 1
        return functional.grid_sample(image, place.flip(-1)[None], align_corners=False)

    tensors = (normal(1, channels, *shape), 2 * normal(*shape, 3))
    return f"warp of {channels} channel(s), {by(shape)}", warp, tensors


def box(shape: Any) -> Any:
    def mean(image: Any) -> Any:
        for axis in range(3):
            window = [WINDOW if n == axis else 1 for n in range(3)]
            padding = [n // 2 for n in window]
            image = functional.avg_pool3d(image, window, 1, padding)
        return image

    return f"box mean {WINDOW}³ of 5 channels, {by(shape)}", mean, (normal(1, 5, *shape),)


def gaussian(shape: Any) -> Any:
    reach = torch.arange(-4, 5, device=DEVICE, dtype=torch.float32)
    weights = torch.exp(-0.5 * (reach / SIGMA) ** 2)
    weights = weights / weights.sum()

    def smooth(field: Any) -> Any:
        for axis in range(3):
            size = [9 if n == axis else 1 for n in range(3)]
            kernel = weights.reshape(1, 1, *size)
            field = functional.conv3d(field, kernel, padding=[n // 2 for n in size])
        return field

    # The three components as a batch: faster here than as three groups.
    return f"Gaussian σ = {SIGMA:g} of a field, {by(shape)}", smooth, (normal(3, 1, *shape),)


def attention(shape: Any) -> Any:
    offsets = list(itertools.product(range(3), repeat=3))
    steps = torch.tensor(offsets, device=DEVICE, dtype=torch.float32) - 1
    d, h, w = shape

    def attend(query: Any, key: Any, value: Any) -> Any:
        packed = functional.pad(torch.cat([key, value]), (1, 1, 1, 1, 1, 1))
        shifted = [packed[:, i : i + d, j : j + h, k : k + w] for i, j, k in offsets]
        window = torch.stack(shifted)
        weights = torch.softmax((query * window[:, :8]).sum(1) / 0.4, 0)
        motion = torch.einsum("odhw,ox->xdhw", weights, steps)
        return motion, (weights[:, None] * window[:, 8:]).sum(0)

    def both(query_fixed: Any, query_moving: Any, value_fixed: Any, value_moving: Any) -> Any:
        one = attend(query_fixed, query_moving, value_moving)
        other = attend(query_moving, query_fixed, value_fixed)
        return 0.5 * (one[0] - other[0]), one[1], other[1]

    queries = [functional.normalize(normal(8, *shape), dim=0) for _ in range(2)]
    tensors = (*queries, *(normal(4, *shape) for _ in range(2)))
    return f"cross-attention 3³, 8 + 4 channels, {by(shape)}", both, tensors


def normal(*shape: int) -> Any:
    return torch.randn(shape, device=DEVICE)


def by(shape: Any) -> str:
    return "×".join(map(str, shape))


if __name__ == "__main__":
    main()
