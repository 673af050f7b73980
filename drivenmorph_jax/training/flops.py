"""How many floating-point operations a program's products take.

Counted in the traced program, for XLA's own count of a compiled one (`cost_analysis`) takes the
body of a loop once, however often it runs: here most of the work is in loops.
"""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend import core


def product_flops(jaxpr: core.Jaxpr, platform: str) -> float:
    """Operations of all convolutions and matrix products, on all devices together.

    A multiplication and its addition are two. Elementwise work, gathers and reductions are left
    out, as is usual where a chip's peak is that of its matrix units. Loops count as often as they
    run, those that end by a condition once; of branches the dearest, of code for several platforms
    that for `platform`, as a device names it.
    """
    return sum(_flops(equation, platform) for equation in jaxpr.eqns)


def _flops(equation: Any, platform: str) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * _size(equation) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        features = kernel[params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * _size(equation) * math.prod(kernel) / features
    if name == "cond":
        branches = [product_flops(branch.jaxpr, platform) for branch in params["branches"]]
        for flops, served in zip(branches, params.get("branches_platforms") or (), strict=False):
            if served is None or platform in served:
                return flops
        return max(branches)
    inner = sum(product_flops(jaxpr, platform) for jaxpr in _inner(params))
    if name == "scan":
        return params["length"] * inner
    if name == "shard_map":
        # A program of one shard; along the other axes of the mesh XLA divides the whole of it.
        axes = params.get("newly_manual_axes", params["mesh"].axis_names)
        return inner * math.prod(params["mesh"].shape[axis] for axis in axes)
    return inner


def _size(equation: Any) -> int:
    return math.prod(equation.outvars[0].aval.shape)


def _inner(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """The programs that an equation holds."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item
