"""Local correlation of two images: how alike they are, window by window."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from drivenmorph_jax.spatial.filters import box_mean
from drivenmorph_jax.spatial.masks import masked_mean, require_same_shape

# Variance floor, as a share of the image's own variance: a window whose standard deviation is under
# 0.3 % of the image's is flat. Rounding of float32 reaches about 1e-7.
_FLAT = 1e-5


def squared_correlation(
    fixed: Float[Array, "*space c"],
    warped: Float[Array, "*space c"],
    *,
    window: int,
    mask: Bool[Array, "*space"] | None = None,
    seen: Bool[Array, "*space"] | None = None,
) -> Float[Array, ""]:
    """Mean of the squared local correlation: 1 for equal images, 0 for unrelated ones.

        cc²(x) = cov(F, W)² / ((var F + ε var_all F) (var W + ε var_all W)),  ε = 1e-5,

    with moments over the cube of `window` voxels around x (less what lies beyond the grid), and
    var_all the variance over the whole mask (Avants et al., MedIA 2008, squared). The floor is
    relative to the image, so the mean is invariant under affine changes of either intensity,
    including a change of sign; on constant windows cc² and its gradient are 0.

    Args:
      fixed, warped: (D, H, W, C); channels are correlated apart, then averaged.
      window: odd width of the cube, in voxels.
      mask: (D, H, W), where cc² is averaged; None is everywhere. Windows still see all voxels.
      seen: (D, H, W), what windows see at all, their moments being of that alone; None is all.

    Raises:
      ValueError: the shapes differ, or the window is even.
    """
    require_same_shape("fixed", fixed, "warped", warped)
    if window % 2 == 0:
        raise ValueError(f"the window must be odd, got {window}")
    dtype = jnp.promote_types(jnp.result_type(fixed, warped), jnp.float32)
    fixed, warped = fixed.astype(dtype), warped.astype(dtype)
    # E[F²] − E[F]² cancels badly when the mean is large: take the overall mean away first.
    fixed, fixed_floor = _centred(fixed, mask)
    warped, warped_floor = _centred(warped, mask)

    moments = jnp.concatenate([fixed, warped, fixed**2, warped**2, fixed * warped], axis=-1)
    mean_f, mean_w, mean_ff, mean_ww, mean_fw = jnp.split(
        _seen_mean(moments, window, seen), 5, axis=-1
    )
    var_f = jnp.maximum(mean_ff - mean_f**2, 0) + fixed_floor
    var_w = jnp.maximum(mean_ww - mean_w**2, 0) + warped_floor
    covariance = mean_fw - mean_f * mean_w
    squared = (covariance / var_f) * (covariance / var_w)
    return masked_mean(squared, mask).mean()


def _centred(image, mask):
    """Image less its mean, and its variance floor: never 0, so that nothing is divided by 0."""
    axes = tuple(range(image.ndim - 1))
    mean = jnp.expand_dims(masked_mean(image, mask), axes)
    centred = image - mean
    floor = _FLAT * jnp.expand_dims(masked_mean(centred**2, mask), axes)
    # A constant image has variance 0: rounding of its mean then decides. Stay above it.
    rounding = jnp.finfo(image.dtype).eps
    return centred, floor + (8 * rounding * mean) ** 2 + rounding**2


def _seen_mean(image, window: int, seen):
    """Mean over the part of each window that is seen; 0 where nothing is."""
    if seen is None:
        return _window_mean(image, window)
    weight = seen[..., None].astype(image.dtype)
    share = _window_mean(weight, window)
    # Less than half a voxel of a window is rounding.
    there = share > 0.5 / window ** weight[..., 0].ndim
    return jnp.where(there, _window_mean(image * weight, window) / jnp.where(there, share, 1), 0)


def _window_mean(image, window: int):
    """Mean over the part of each window that lies on the grid."""
    mean = box_mean(image, window)
    for axis, size in enumerate(image.shape[:-1]):
        index = np.arange(size)
        first = np.maximum(index - window // 2, 0)
        last = np.minimum(index + window // 2, size - 1)
        correction = window / (last - first + 1)
        shape = [1] * image.ndim
        shape[axis] = size
        mean = mean * jnp.asarray(correction.reshape(shape), image.dtype)
    return mean
