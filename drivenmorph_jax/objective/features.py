"""Supervision of the demon channels by labels: a code for each structure, in any contrast."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from drivenmorph_jax.objective.masks import masked_mean
from drivenmorph_jax.spatial.resize import downsample

_CANDIDATES = 4096


def label_codes(structures: Sequence[int], channels: int) -> Float[ndarray, "k c"]:
    """A point of the unit sphere for each label, far from those of all other structures.

    Farthest-first: of many random points, always the one that lies farthest from those taken.

    Args:
      structures: of each label (`LabelTable.structures`): its left and right share their point.
      channels: C, of the space that the sphere is in.
    """
    points = np.random.default_rng(0).normal(size=(_CANDIDATES, channels))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    distance = np.full(_CANDIDATES, np.inf)
    codes = {}
    for structure in dict.fromkeys(structures):
        codes[structure] = points[distance.argmax()]
        distance = np.minimum(distance, np.linalg.norm(points - codes[structure], axis=-1))
    return np.stack([codes[structure] for structure in structures]).astype(np.float32)


def feature_supervision(
    features: Sequence[Float[Array, "..."]],
    image: Float[Array, "*space 1"],
    labels: Int[Array, "*space"],
    label_values: Sequence[int],
    codes: Float[ndarray, "k c"],
) -> Float[Array, ""]:
    """Mean squared distance of an image's demon channels from the codes of its labels.

    A voxel that several labels share has the mean of their codes. Both are compared at zero mean
    and unit variance in the brain, as the encoder gives its channels: 0 where they agree, 2 where
    they have nothing in common.

    Args:
      features: of every level, finest first, (d, h, w, n): the last C channels are supervised.
      image: (D, H, W, 1), background exactly 0.
      labels: (D, H, W).
      label_values: the labels that have a code.
      codes: of each of them, from `label_codes`.
    """
    values = jnp.asarray(tuple(label_values), labels.dtype)
    order = jnp.argsort(values)
    place = jnp.clip(jnp.searchsorted(values[order], labels), 0, len(values) - 1)
    known = values[order][place] == labels
    coded = jnp.where(known[..., None], jnp.asarray(codes)[order][place], 0)
    brain = (image != 0).astype(coded.dtype)
    terms = []
    for level, found in enumerate(features):
        if level:
            coded, brain = downsample(coded), downsample(brain)
        mask = brain[..., 0] > 0
        difference = found[..., -codes.shape[-1] :] - _standardised(coded, mask)
        terms.append(masked_mean(difference**2, mask).mean())
    return jnp.stack(terms).mean()


def _standardised(
    values: Float[Array, "*space c"], mask: Bool[Array, "*space"]
) -> Float[Array, "*space c"]:
    centred = values - masked_mean(values, mask)[None, None, None]
    return centred / jnp.sqrt(masked_mean(centred**2, mask) + 1e-6)[None, None, None]
