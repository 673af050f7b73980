"""A network of two levels that compiles in seconds, and images for it."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from drivenmorph_jax.model import ModelConfig, Params, init, register

TINY = ModelConfig(
    channels=(4,),
    iterations=(1, 2),
    demon_channels=3,
    attention_channels=4,
    cross_attention=(1,),
    self_attention=(1,),
    token_channels=4,
    window=2,
    residual_channels=(0, 2),
    squarings=(1, 1),
)
SHAPE = (10, 9, 12)


def _perturbed(params: Params, *, size: float = 0.3, seed: int = 7) -> Params:
    """Every leaf moved, those that start at zero too, as training would leave them."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    moved = [leaf + jnp.asarray(size * rng.normal(size=leaf.shape), leaf.dtype) for leaf in leaves]
    return jax.tree.unflatten(tree, moved)


def _brain(seed: int, shape: Sequence[int] = SHAPE, *, margin: float = 1.0) -> jax.Array:
    """Smooth noise in (0.5, 1.5) inside an ellipsoid, 0 outside: (*shape, 1)."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 1.2)
    image = 1 + 0.5 * noise / np.abs(noise).max()
    half = np.array(shape).reshape(3, 1, 1, 1) / 2
    place = (np.indices(shape) + 0.5 - half) / (half - margin)
    return jnp.asarray(np.where((place**2).sum(0) < 1, image, 0)[..., None], jnp.float32)


@pytest.fixture(scope="session")
def tiny() -> ModelConfig:
    """An architecture with every part of the default one, at two levels."""
    return TINY


@pytest.fixture(scope="session")
def compiled_register() -> Callable:
    """`register`, compiled once for each architecture and shape."""
    return jax.jit(register, static_argnames="cfg")


@pytest.fixture(scope="session")
def perturbed() -> Callable[..., Params]:
    """(params, size=, seed=) to parameters as training would leave them."""
    return _perturbed


@pytest.fixture(scope="session")
def params() -> Params:
    """Parameters of `tiny`, none of them at its initial value."""
    return _perturbed(init(jax.random.key(0), TINY))


@pytest.fixture(scope="session")
def brain() -> Callable[..., jax.Array]:
    """(seed, shape, margin=) to an image."""
    return _brain


@pytest.fixture(scope="session")
def pair() -> tuple[jax.Array, jax.Array]:
    """Two images of unequal content on the grid of (10, 9, 12) voxels."""
    return _brain(1), _brain(2)
