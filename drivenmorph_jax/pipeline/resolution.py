"""At which resolution a pair is registered: the method's own, or finer where the images are."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.images import Volume
from drivenmorph_jax.model import Ignored, Registration
from drivenmorph_jax.pipeline.methods import Finish, Method, Solve
from drivenmorph_jax.spatial.resize import downsample

# A voxel this much larger than the finer grid's still counts as as fine: T1 slices of 1.2 mm do.
_NEARLY = 1.25


def at_resolution_of(method: Method, *images: Volume) -> Method:
    """The method on a grid of half its spacing, where it has a use for that and all images are as
    fine along every axis; else the method as it is."""
    if method.finish is None or method.spacing is None:
        return method
    x, y, z = (size / 2 for size in method.spacing)
    if max(max(image.spacing) for image in images) > _NEARLY * max(x, y, z):
        return method
    shape = method.least_shape
    return method._replace(
        spacing=(x, y, z),
        least_shape=None if shape is None else (2 * shape[0], 2 * shape[1], 2 * shape[2]),
        solve=_finished(method.solve, method.finish),
        finish=None,
    )


def _finished(solve: Solve, finish: Finish) -> Solve:
    """Solve at half the resolution, and finish what was found at the whole."""

    def solve_finer(fixed, moving, ignored: Ignored | None) -> Registration:
        half = ignored and Ignored(*(downsample(share) for share in ignored))
        found = solve(_halved(fixed), _halved(moving), half)
        return found._replace(
            displacement=finish(fixed, moving, ignored, np.asarray(found.displacement))
        )

    return solve_finer


def _halved(image: Float[ndarray, "d h w"]) -> Float[ndarray, "d2 h2 w2"]:
    return np.asarray(downsample(jnp.asarray(image)[..., None])[..., 0])
