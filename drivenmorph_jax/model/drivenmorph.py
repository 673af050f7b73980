"""DrivenMorph: a pyramid of driving force and Demons layer, coarse to fine."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.model.anatomy import init_anatomy, name_structures
from drivenmorph_jax.model.config import ModelConfig, Remat
from drivenmorph_jax.model.correlation import correlation_demons
from drivenmorph_jax.model.correlation_parameters import correlation_layers, with_correlation
from drivenmorph_jax.model.demons import (
    DemonsConfig,
    apply_velocity,
    demons_scan,
    demons_step,
    init_demons,
    smoothed_velocity,
)
from drivenmorph_jax.model.difference import Force, driving_force, init_difference
from drivenmorph_jax.model.encoder import Encoder, Features, encode
from drivenmorph_jax.model.ignored import Ignored, ignored_pyramid, mask_force
from drivenmorph_jax.model.named import Named
from drivenmorph_jax.model.result import LevelResult, Registration, root_mean_square
from drivenmorph_jax.spatial.materialise import materialise
from drivenmorph_jax.spatial.resize import upsample_displacement
from drivenmorph_jax.spatial.sampling import warp

Params = dict[str, Any]
"""{"encoder": …, "difference": {"level_0": …}, "demons": {"level_0": …}}: a plain pytree; with
"anatomy" where the architecture has one."""


# One program: operation by operation, its many small ones take more than twice as long to compile.
@functools.partial(jax.jit, static_argnames="cfg")
def init(key: jax.Array, cfg: ModelConfig) -> Params:
    """Random parameters of an architecture; they fit images of any size."""
    keys = iter(jax.random.split(key, 1 + 2 * cfg.levels))
    image = jnp.ones((2**cfg.levels,) * 3 + (1,), jnp.float32)
    encoder = Encoder(cfg).init(next(keys), image)["params"]
    features = encode(encoder, image, cfg)
    params: Params = {"encoder": encoder, "difference": {}, "demons": {}}
    for level in force_levels(cfg):
        name = f"level_{level}"
        at_level = features[level]
        params["difference"][name] = init_difference(
            next(keys), at_level, at_level, cfg, level=level
        )
        params["demons"][name] = init_demons(
            next(keys),
            fluid_sigma=cfg.fluid_sigma,
            diffusion_sigma=cfg.diffusion_sigma,
            residual_channels=cfg.residual_channels_at(level),
            convolution=cfg.head == "convolution",
        )
    if cfg.anatomy is not None:
        params["anatomy"] = init_anatomy(jax.random.fold_in(key, 1), cfg.anatomy)
    return with_correlation(params, cfg)


def force_levels(cfg: ModelConfig) -> list[int]:
    """Levels that carry a force, coarsest first."""
    return [level for level in reversed(range(cfg.levels)) if cfg.iterations[level]]


def register(
    params: Params,
    fixed: Float[Array, "d h w 1"],
    moving: Float[Array, "d h w 1"],
    cfg: ModelConfig,
    *,
    ignored: Ignored | None = None,
    remat: Remat = "iterations",
) -> Registration:
    """Displacement that carries the fixed grid into the moving image.

    Args:
      params: from `init`, a checkpoint, or released weights.
      fixed, moving: brain-extracted images on one grid, background exactly 0, any intensity scale,
        roughly aligned (affine).
      cfg: the architecture that the parameters belong to.
      ignored: where the images are not to be compared.
      remat: what a derivative works out again: "none" keeps all, "iterations" of each iteration
        its start, in less memory and more time; the values are the same.

    Returns:
      The displacement in voxels of the fixed grid, with velocity and driving force of every level,
      and of the correlation's iterations after them.
    """
    pair = jnp.stack([fixed, moving])
    features = jax.vmap(lambda image: encode(params["encoder"], image, cfg))(pair)
    fixed_features = jax.tree.map(lambda x: x[0], features)
    moving_features = jax.tree.map(lambda x: x[1], features)
    ignored_at = ignored_pyramid(ignored, cfg.levels)
    displacement, results = None, []
    for level in force_levels(cfg):
        at_fixed, at_moving = fixed_features[level], moving_features[level]
        shape = at_fixed.demon.shape[:3]
        if displacement is None:
            displacement = jnp.zeros((*shape, 3), at_fixed.demon.dtype)
        else:
            displacement = _up_to(displacement, shape)
        result = register_level(
            params["difference"][f"level_{level}"],
            params["demons"][f"level_{level}"],
            at_fixed,
            at_moving,
            displacement,
            cfg,
            level=level,
            ignored=ignored_at[level],
            remat=remat,
        )
        displacement = result.displacement
        results.append(result)
    assert displacement is not None
    displacement = _up_to(displacement, fixed.shape[:3])
    corrections, layers = [], correlation_layers(cfg)
    named = name_both(params, fixed, moving, cfg) if 0 in layers else None
    for level, layer in layers.items():
        corrected = correlation_demons(
            params["demons"][layer],
            fixed,
            moving,
            displacement,
            cfg,
            iterations=cfg.correlation_iterations[level],
            level=level,
            named=named if level == 0 else None,
            ignored=ignored,
            remat=remat,
        )
        displacement = corrected.displacement
        corrections.append(corrected)
    return Registration(displacement, tuple(results), tuple(corrections), named)


def name_both(
    params: Params,
    fixed: Float[Array, "d h w 1"],
    moving: Float[Array, "d h w 1"],
    cfg: ModelConfig,
) -> Named | None:
    """The structures of both images; None where the architecture does not name them."""
    if cfg.anatomy is None:
        return None
    anatomy, precision = cfg.anatomy, cfg.precision
    pair = jnp.stack([fixed, moving])
    both = jax.vmap(
        lambda image: name_structures(params["anatomy"], image, anatomy, precision=precision)
    )(pair)
    return Named(both[0], both[1], jnp.asarray(anatomy.weight, both.dtype))


def _up_to(displacement, shape):
    """Double the resolution until the shape is reached."""
    shapes = [tuple(shape)]
    while shapes[-1] != displacement.shape[:3]:
        shapes.append(tuple(-(-n // 2) for n in shapes[-1]))
    for finer in reversed(shapes[:-1]):
        displacement = upsample_displacement(displacement, finer)
    return displacement


def register_level(
    difference_params,
    demons_params,
    fixed: Features,
    moving: Features,
    displacement: Float[Array, "d h w 3"],
    cfg: ModelConfig,
    *,
    level: int,
    ignored: Ignored | None = None,
    remat: Remat = "iterations",
) -> LevelResult:
    """K iterations of force and Demons layer at one level.

    Args:
      difference_params, demons_params: the level's subtrees.
      fixed, moving: features on the level's grid, the moving ones not warped.
      displacement: u at the start, voxels of the level.
      cfg: the architecture.
      level: which one; the architecture says how many iterations it takes.
      ignored: where the images are not to be compared, on the level's grid.
      remat: see `register`.
    """
    layer = DemonsConfig(cfg.max_step, cfg.squarings_at(level), cfg.update == "diffeomorphic")

    def force_at(displacements) -> Force:
        warped = warp_features(moving, displacements[0])
        force = driving_force(difference_params, fixed, warped, cfg)
        return mask_force(force, ignored, displacements[0])

    def step(force: Force, displacements):
        displacement, force_displacement = displacements
        taken = demons_step(demons_params, force, displacement, layer)
        if "residual" in demons_params:
            velocity = smoothed_velocity(demons_params, taken.raw_step, layer)
            force_displacement = apply_velocity(demons_params, force_displacement, velocity, layer)
        else:
            force_displacement = taken.displacement
        gradient_force = force.force - force.attention_force
        record = (
            taken.velocity,
            force.force,
            taken.raw_step,
            root_mean_square(gradient_force),
            root_mean_square(force.attention_force),
        )
        return (taken.displacement, force_displacement), record

    (displacement, force_displacement), record = demons_scan(
        force_at,
        step,
        (displacement, displacement),
        cfg.iterations[level],
        recompute=remat != "none",
    )
    return LevelResult(displacement, force_displacement, *record)


def warp_features(features: Features, displacement: Float[Array, "d h w 3"]) -> Features:
    """M̃: every feature pulled back in one gather; q is brought back to unit norm."""
    widths = [features.demon.shape[-1], features.attention.shape[-1]]
    packed = jnp.concatenate([features.demon, features.attention, features.mask], axis=-1)
    warped = materialise(warp(packed, displacement))
    demon, attention, mask = jnp.split(warped, [widths[0], sum(widths)], axis=-1)
    norm = lax.rsqrt((attention**2).sum(-1, keepdims=True) + 1e-6)
    attention = attention * norm * jnp.minimum(mask, 1)
    return Features(demon, attention, lax.stop_gradient(mask))
