"""bfloat16 is for convolutions and projections: all that measures or moves stays float32."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from drivenmorph_jax.model import init, register
from drivenmorph_jax.objective.loss import LossConfig, registration_loss

# Products, and what carries values about unchanged. Sums of more than two are not among them.
ALLOWED = {
    "conv_general_dilated",
    "dot_general",
    "convert_element_type",
    "add",
    "add_any",
    "mul",
    "select_n",
    "transpose",
    "reshape",
    "squeeze",
    "slice",
    "dynamic_slice",
    "pad",
    "concatenate",
    "broadcast_in_dim",
    "split",
    "rev",
    "copy",
}


def operations(jaxpr) -> Iterator:
    """Every operation, those inside loops, branches and nested functions too."""
    for equation in jaxpr.eqns:
        inner = list(jaxprs_in_params(equation.params))
        if inner:
            for part in inner:
                yield from operations(part)
        else:
            yield equation


def in_bfloat16(jaxpr) -> set[str]:
    def low(variable) -> bool:
        return getattr(variable.aval, "dtype", None) == jnp.bfloat16

    return {
        str(operation.primitive)
        for operation in operations(jaxpr)
        if any(map(low, [*operation.invars, *operation.outvars]))
    }


def test_fields_solves_and_losses_stay_float32(tiny):
    cfg = dataclasses.replace(tiny, precision="bfloat16")
    params = jax.eval_shape(lambda: init(jax.random.key(0), cfg))
    image = jax.ShapeDtypeStruct((10, 9, 12, 1), jnp.float32)

    def loss(params, fixed, moving):
        result = register(params, fixed, moving, cfg)
        return registration_loss(result, fixed, moving, LossConfig())[0], result

    forward = jax.make_jaxpr(loss)(params, image, image)
    used = in_bfloat16(forward.jaxpr)
    assert "conv_general_dilated" in used or "dot_general" in used
    assert used <= ALLOWED
    assert {aval.dtype for aval in forward.out_avals} == {jnp.dtype("float32")}
    gradient = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    backward = gradient(params, image, image)
    assert {aval.dtype for aval in backward.out_avals} == {jnp.dtype("float32")}
    # The derivative of a bias is a sum over voxels; "empty" is room that a loop's derivative fills.
    assert in_bfloat16(backward.jaxpr) <= ALLOWED | {"reduce_sum", "empty", "empty2"}
