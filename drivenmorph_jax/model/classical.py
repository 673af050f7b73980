"""Classical Demons on the code of the neural layer: intensities for features, nothing learned."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from drivenmorph_jax.model.config import ClassicalConfig
from drivenmorph_jax.model.demons import DemonsConfig, demons_scan, demons_step
from drivenmorph_jax.model.difference import Force, channel_force
from drivenmorph_jax.model.ignored import Ignored, ignored_pyramid, mask_force
from drivenmorph_jax.model.result import LevelResult, Registration, root_mean_square
from drivenmorph_jax.model.seen import seen_pyramid
from drivenmorph_jax.spatial.resize import upsample_displacement
from drivenmorph_jax.spatial.sampling import warp


def classical_demons(
    fixed: Float[Array, "d h w c"],
    moving: Float[Array, "d h w c"],
    cfg: ClassicalConfig = ClassicalConfig(),
    *,
    ignored: Ignored | None = None,
) -> Registration:
    """Multi-resolution Demons: Thirion's, symmetric (ESM) or diffeomorphic.

    Thirion, MedIA 1998; Vercauteren et al., NeuroImage 2009. Each image is scaled to mean square 1
    inside its brain (voxels that are not 0).

    Args:
      fixed, moving: images on one grid; several channels are weighed alike.
      cfg: the variant and its constants.
      ignored: where the images are not to be compared.

    Returns:
      The same result as `register`: the displacement, with every level's velocities and forces.
    """
    levels = len(cfg.iterations)
    fixed_images, _ = seen_pyramid(fixed, levels, cfg.sees)
    moving_images, _ = seen_pyramid(moving, levels, cfg.sees)
    ignored_at = ignored_pyramid(ignored, levels)
    displacement, results = None, []
    for level in reversed(range(levels)):
        shape = fixed_images[level].shape[:3]
        if displacement is None:
            displacement = jnp.zeros((*shape, 3), fixed_images[level].dtype)
        else:
            displacement = upsample_displacement(displacement, shape)
        if cfg.iterations[level]:
            images = fixed_images[level], moving_images[level]
            result = _level(*images, displacement, cfg, level, ignored_at[level])
            displacement = result.displacement
            results.append(result)
    assert displacement is not None
    return Registration(displacement, tuple(results))


def classical_parameters(cfg: ClassicalConfig) -> dict[str, Array]:
    """Constants of a classical variant in the form of one level of the "demons" subtree."""
    named = {
        "log_scale": 1.0,
        "log_alpha": cfg.alpha,
        # The difference alone damps the step; this only settles 0/0 in flat, equal regions.
        "log_epsilon": 1e-6,
        "log_fluid_sigma": cfg.fluid_sigma,
        "log_diffusion_sigma": cfg.diffusion_sigma,
    }
    return {name: jnp.asarray(math.log(value)) for name, value in named.items() if value > 0}


def _level(
    fixed, moving, displacement, cfg: ClassicalConfig, level: int, ignored: Ignored | None
) -> LevelResult:
    params = classical_parameters(cfg)
    layer = DemonsConfig(cfg.max_step, cfg.squarings, cfg.variant == "diffeomorphic")

    def force_at(u) -> Force:
        force = channel_force(fixed, warp(moving, u), symmetric=cfg.variant != "thirion")
        return mask_force(force, ignored, u)

    def step(force: Force, u):
        taken = demons_step(params, force, u, layer)
        return taken.displacement, (taken.velocity, force.force, taken.raw_step)

    displacement, (velocity, force, raw) = demons_scan(
        force_at, step, displacement, cfg.iterations[level]
    )
    return LevelResult(
        displacement,
        displacement,
        velocity,
        force,
        raw,
        root_mean_square(force),
        jnp.zeros(force.shape[0], force.dtype),
    )
