"""Mutual information: dissimilarity of images of different contrast, by soft histograms."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from drivenmorph_jax.spatial.masks import require_same_shape
from drivenmorph_jax.spatial.split import sum_over_slabs

_CHUNK = 2**16  # voxels binned at once: 8 MiB a soft assignment at 32 bins


def mutual_information(
    fixed: Float[Array, "*space c"],
    warped: Float[Array, "*space c"],
    *,
    bins: int = 32,
    mask: Bool[Array, "*space"] | None = None,
) -> Float[Array, ""]:
    """Minus the mutual information of the intensities, in nats; at most 0, lower is better.

        MI = Σ_ij p_ij log(p_ij / (p_i p_j)),   p_ij = mean_x β³(t_F(x) − i) β³(t_W(x) − j)

    with cubic B-spline Parzen windows β³ (Mattes et al., IEEE TMI 2003; here on both images) and
    t an image's intensity mapped linearly from its range in the mask to [1, bins − 2], where the
    windows sum to 1. The range is taken as a constant by the derivative: else the two extreme
    voxels would carry the gradient of all the others.

    The joint histogram is a product of two (voxels, bins) matrices, summed over chunks of voxels
    that are computed again in the backward pass, so memory does not grow with the image.

    Args:
      fixed, warped: (D, H, W, C); channels are compared apart, then averaged.
      bins: of the histogram along each image, at least 4.
      mask: (D, H, W), the voxels that count; None is all.

    Raises:
      ValueError: the shapes differ, or there are fewer than 4 bins.
    """
    require_same_shape("fixed", fixed, "warped", warped)
    if bins < 4:
        raise ValueError(f"cubic windows need at least 4 bins, got {bins}")
    if mask is not None and mask.shape != fixed.shape[:-1]:
        raise ValueError(f"mask {mask.shape} does not cover an image of {fixed.shape[:-1]}")
    dtype = jnp.promote_types(jnp.result_type(fixed, warped), jnp.float32)
    weight = jnp.ones(fixed.shape[:-1], dtype) if mask is None else mask.astype(dtype)
    weight = weight[..., None]
    channels = [
        _mutual_information(
            fixed[..., c, None].astype(dtype), warped[..., c, None].astype(dtype), weight, bins
        )
        for c in range(fixed.shape[-1])
    ]
    return -jnp.stack(channels).mean()


def _mutual_information(fixed, warped, weight, bins: int):
    positions = [_bin_position(fixed, weight, bins), _bin_position(warped, weight, bins)]
    counts = sum_over_slabs(functools.partial(_joint_histogram, bins=bins), [*positions, weight])
    sum_of_counts = counts.sum()
    joint = counts / jnp.where(sum_of_counts > 0, sum_of_counts, 1)
    return _entropy(joint.sum(axis=1)) + _entropy(joint.sum(axis=0)) - _entropy(joint)


def _bin_position(values, weight, bins: int):
    """Intensity in bins, in [1, bins − 2] for the voxels that count."""
    counted = weight > 0
    low = lax.stop_gradient(jnp.where(counted, values, jnp.inf).min())
    high = lax.stop_gradient(jnp.where(counted, values, -jnp.inf).max())
    # A constant image, or an empty mask, puts everything in one bin.
    usable = high > low
    scale = jnp.where(usable, (bins - 3) / jnp.where(usable, high - low, 1), 0)
    return jnp.clip(1 + (values - jnp.where(usable, low, 0)) * scale, 1, bins - 2)


def _joint_histogram(t_fixed, t_warped, weight, bins: int):
    chunk = min(_CHUNK, t_fixed.size)
    padding = -t_fixed.size % chunk
    pieces = tuple(
        jnp.pad(array.ravel(), (0, padding)).reshape(-1, chunk)
        for array in (t_fixed, t_warped, weight)
    )

    @jax.checkpoint
    def add(histogram, piece):
        f, w, share = piece
        counts = jnp.matmul(
            (_parzen(f, bins) * share[:, None]).T, _parzen(w, bins), precision=lax.Precision.HIGHEST
        )
        return histogram + counts, None

    histogram, _ = lax.scan(add, jnp.zeros((bins, bins), t_fixed.dtype), pieces)
    return histogram


def _parzen(t, bins: int):
    """Cubic B-spline weight of every bin for every voxel: (voxels,) -> (voxels, bins)."""
    distance = jnp.abs(t[:, None] - jnp.arange(bins, dtype=t.dtype)[None, :])
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = jnp.maximum(2 - distance, 0) ** 3 / 6
    return jnp.where(distance < 1, inner, outer)


def _entropy(probability):
    positive = probability > 0
    return -jnp.sum(
        jnp.where(positive, probability * jnp.log(jnp.where(positive, probability, 1)), 0)
    )
