"""Brain-like phantoms, alone and in pairs whose true displacement is known."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32
from numpy import ndarray

from drivenmorph_jax.data.anatomy import Anatomy, draw_anatomy, render
from drivenmorph_jax.data.deformation import random_deformation
from drivenmorph_jax.data.subject import Subject

# Half a brain is this share of the grid: the rest is background, as after a tight crop.
_EXTENT = 0.45
# Every voxel of the brain stays above zero whatever the noise: zero means background.
_FLOOR = 0.02


class PhantomPair(NamedTuple):
    """Two images of one anatomy, one of them deformed.

    Attributes:
      fixed: (D, H, W) float32, brain in (0, about 1.2], background exactly 0.
      moving: as fixed, with a bias field and noise of its own.
      fixed_labels: (D, H, W) int32, FreeSurfer's numbers.
      moving_labels: as fixed_labels.
      true_displacement: (D, H, W, 3) float32 in voxels on the fixed grid: the moving anatomy at
        x + true_displacement(x) is the fixed anatomy at x.
    """

    fixed: Float[ndarray, "d h w"]
    moving: Float[ndarray, "d h w"]
    fixed_labels: Int32[ndarray, "d h w"]
    moving_labels: Int32[ndarray, "d h w"]
    true_displacement: Float[ndarray, "d h w 3"]


def phantom_subject(
    seed: int,
    shape: tuple[int, int, int] = (48, 56, 48),
    *,
    noise: float = 0.02,
    bias: float = 0.15,
) -> Subject:
    """A brain of its own anatomy, named after its seed."""
    rng = np.random.default_rng([seed, 0])
    clean, labels = _image(draw_anatomy(rng), None, shape)
    return Subject(f"phantom{seed:04d}", _corrupt(rng, clean, noise, bias), labels)


def phantom_pair(
    seed: int,
    shape: tuple[int, int, int] = (48, 56, 48),
    *,
    deformation: float = 1.0,
    noise: float = 0.02,
    bias: float = 0.15,
) -> PhantomPair:
    """A pair of phantoms and the displacement between them; the same seed, the same pair.

    Args:
      seed: not negative; of the anatomy, the deformation and the noise.
      shape: voxels of both images.
      deformation: 1 moves the tissue by about 3 % of the box on average, 10 % at most.
      noise: standard deviation of the noise (white matter is about 0.9).
      bias: standard deviation of the logarithm of the intensity bias.
    """
    rng = np.random.default_rng([seed, 1])
    anatomy = draw_anatomy(rng)
    field = random_deformation(rng, shape, size=0.06 * deformation)
    fixed, fixed_labels = _image(anatomy, None, shape)
    moving, moving_labels = _image(anatomy, field.inverse, shape)
    return PhantomPair(
        fixed=_corrupt(rng, fixed, noise, bias),
        moving=_corrupt(rng, moving, noise, bias),
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        true_displacement=field.forward,
    )


def _image(
    anatomy: Anatomy, displacement: Float[ndarray, "d h w 3"] | None, shape: tuple[int, int, int]
) -> tuple[Float[ndarray, "d h w"], Int32[ndarray, "d h w"]]:
    """The anatomy at x + displacement(x), free of noise."""
    points = np.moveaxis(np.indices(shape, dtype=np.float32), 0, -1)
    if displacement is not None:
        points = points + displacement
    size = np.array(shape, np.float32)
    points = (points - (size - 1) / 2) / (_EXTENT * size)
    softness = 1.2 / (_EXTENT * float(size.mean()))
    intensity, labels = render(anatomy, points.reshape(-1, 3), softness=softness)
    return intensity.reshape(shape), labels.reshape(shape)


def _corrupt(
    rng: np.random.Generator, clean: Float[ndarray, "d h w"], noise: float, bias: float
) -> Float[ndarray, "d h w"]:
    """With a smooth bias and noise inside the brain; the background stays exactly zero."""
    bases = [np.cos(np.pi * np.outer(np.linspace(0, 1, n), np.arange(3))) for n in clean.shape]
    coefficients = rng.normal(size=(3, 3, 3))
    coefficients[0, 0, 0] = 0
    smooth = np.einsum("abc,ia,jb,kc->ijk", coefficients, *bases, optimize=True)
    smooth *= bias / smooth.std()
    image = clean * np.exp(smooth) + noise * rng.standard_normal(clean.shape)
    return np.where(clean > 0, np.maximum(image, _FLOOR), 0).astype(np.float32)
