"""The released weights for any contrast, on one patient's T1, T2 and FLAIR."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.images import load_volume, resample, working_grid
from drivenmorph_jax.pipeline import load_pretrained, network_method
from drivenmorph_jax.spatial.fields import exponential
from drivenmorph_jax.spatial.filters import gaussian_smooth
from drivenmorph_jax.spatial.sampling import warp


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("contrast", ["t2", "flair"])
def test_a_known_deformation_is_found_in_another_contrast(contrast, real_data):
    method = network_method(load_pretrained("brain-any"))
    paths = [real_data / "contrasts_1mm" / f"patient07_{name}.nii.gz" for name in ("t1", contrast)]
    volumes = [load_volume(path) for path in paths]
    grid = working_grid(volumes[0], 2.0, shape=method.least_shape)
    original, fixed = (np.maximum(resample(volume, *grid).data, 0) for volume in volumes)

    noise = jax.random.normal(jax.random.key(0), (*fixed.shape, 3))
    velocity = gaussian_smooth(noise, 7.0)
    imposed = exponential(3 * velocity / jnp.abs(velocity).max(), squarings=6)
    moving = np.asarray(warp(jnp.asarray(original)[..., None], imposed))[..., 0]

    found = method.solve(fixed, moving, None).displacement
    # A point is where it was once the imposed displacement has followed the one that was found.
    left = np.linalg.norm(found + warp(imposed, found), axis=-1)
    brain = (fixed > 0) & (original > 0)
    before = np.linalg.norm(imposed, axis=-1)[brain].mean()
    assert before > 1
    assert left[brain].mean() < 0.4 * before
