"""Changing the resolution of images and displacement fields.

Voxel centres of level l sit at x_l = (x_0 + 1/2) / 2^l - 1/2, so a coarse voxel is centred on the
2×2×2 fine ones that it covers. Everything here keeps to that rule: images are halved by mean
pooling, fields are resized with the same alignment and rescaled to the new voxels.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from drivenmorph_jax.spatial.sampling import sample
from drivenmorph_jax.spatial.split import as_slabs, multiply_axis


def downsampled_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Shape after `downsample`: half, odd sizes rounded up."""
    return tuple(-(-n // 2) for n in shape)


def downsample(image: Float[Array, "*space c"]) -> Float[Array, "*half c"]:
    """Halve each spatial axis by mean pooling; an odd axis is first padded with one zero."""
    for axis, n in enumerate(image.shape[:-1]):
        if n % 2:
            padding = [(0, 0)] * image.ndim
            padding[axis] = (0, 1)
            image = jnp.pad(image, padding)
        shape = (*image.shape[:axis], image.shape[axis] // 2, 2, *image.shape[axis + 1 :])
        image = image.reshape(shape).mean(axis=axis + 1)
    return as_slabs(image)


def resize_image(
    image: Float[Array, "*space c"],
    shape: Sequence[int],
    *,
    factor: float | None = None,
) -> Float[Array, "*out c"]:
    """Linear resampling onto `shape` with aligned voxel corners (first corners coincide).

    Args:
      image: (D, H, W, C).
      shape: the new spatial shape.
      factor: new voxels per old voxel; by default the ratio of the shapes, per axis.

    Edge values continue outward, so a constant stays constant.
    """
    for axis, (old, new) in enumerate(zip(image.shape[:-1], shape, strict=True)):
        ratio = new / old if factor is None else factor
        image = _resize_axis(image, axis, new, ratio)
    return as_slabs(image)


def _resize_axis(image, axis: int, new: int, ratio: float):
    """One axis, as a product with a small interpolation matrix: fast everywhere, linear, exact."""
    old = image.shape[axis]
    if old == new and ratio == 1:
        return image
    centres = (jnp.arange(new, dtype=image.dtype) + 0.5) / ratio - 0.5
    # Sampling the unit matrix gives the matrix of linear interpolation.
    matrix = sample(jnp.eye(old, dtype=image.dtype), centres[:, None], boundary="edge")
    return multiply_axis(matrix, image, axis)


def resize_displacement(
    displacement: Float[Array, "*space n"],
    shape: Sequence[int],
    *,
    factor: float | None = None,
) -> Float[Array, "*out n"]:
    """Resample a displacement onto `shape` and express it in the new voxels."""
    old = displacement.shape[:-1]
    scale = jnp.asarray(
        [new / o if factor is None else factor for o, new in zip(old, shape, strict=True)],
        displacement.dtype,
    )
    resized = resize_image(displacement, shape, factor=factor)
    return resized * scale.reshape((1,) * len(shape) + (-1,))


def upsample_displacement(
    displacement: Float[Array, "*space n"], shape: Sequence[int]
) -> Float[Array, "*out n"]:
    """u ← 2·up(u): to the next finer level, whose shape may be odd (see `downsample`)."""
    return resize_displacement(displacement, shape, factor=2.0)
