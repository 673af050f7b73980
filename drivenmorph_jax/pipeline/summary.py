"""The figures of a registration, as written to `summary.json`."""

import functools
import platform
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from drivenmorph_jax.images import Volume, resample, warp_volume
from drivenmorph_jax.objective.metrics import dice_scores, mean_score
from drivenmorph_jax.objective.mutual_information import mutual_information
from drivenmorph_jax.pipeline.derived_fields import Fields
from drivenmorph_jax.pipeline.map_statistics import (
    consistency_statistics,
    deformation_statistics,
    whole_map_statistics,
)
from drivenmorph_jax.pipeline.methods import Method
from drivenmorph_jax.pipeline.registration import Registered
from drivenmorph_jax.pipeline.scans import Scans
from drivenmorph_jax.spatial.masks import brain_mask
from drivenmorph_jax.spatial.sampling import warp
from drivenmorph_jax.versions import version_of

Summary = dict[str, Any]

THIS_PACKAGE = "drivenmorph-jax"
_LEAST_SHARE = 1e-3
_PACKAGES = (THIS_PACKAGE, "jax", "jaxlib", "flax", "numpy", "scipy", "nibabel")


def summarise(
    scans: Scans,
    registered: Registered,
    fields: Fields,
    method: Method,
    warped_labels: Volume | None,
) -> Summary:
    """How alike the images are, how regular the map is, and what made it.

    Similarity and Dice are on the fixed image's own grid: `before` as the headers place the
    images, `affine` after the affine alone, `after` through the whole map. Neither counts a lesion,
    where it lies in the fixed image or comes to lie from the moving one; mutual information, across
    contrasts, is of the working grid, where lesions are filled.
    """
    summary: Summary = {
        "similarity": similarity_statistics(scans, registered),
        "deformation": deformation_statistics(registered),
        "whole_map": whole_map_statistics(registered, fields, scans.fixed),
        "inverse_consistency": consistency_statistics(fields.inverse.consistency),
        "affine": registered.matrix.tolist(),
        "method": {"name": method.name, **method.details},
    }
    if method.any_contrast:
        summary["mutual_information"] = information_statistics(registered)
    if warped_labels is not None:
        summary["dice"] = dice_statistics(scans, registered, warped_labels)
    return summary


def environment() -> Summary:
    """Versions of what computed it, and on what."""
    return {
        "versions": {"python": platform.python_version()}
        | {name: version for name in _PACKAGES if (version := version_of(name))},
        "device": jax.local_devices()[0].device_kind,
    }


def correlation(
    fixed: Float[ndarray, "x y z"],
    other: Float[ndarray, "x y z"],
    left_out: Bool[ndarray, "x y z"] | None = None,
) -> float:
    """Pearson correlation over the voxels in either brain; 0 where one is constant there."""
    inside = (fixed != 0) | (other != 0)
    if left_out is not None:
        inside &= ~left_out
    if not inside.any():
        return 0.0
    a, b = (image[inside].astype(np.float64) for image in (fixed, other))
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0


def similarity_statistics(scans: Scans, registered: Registered) -> Summary:
    """Correlation at each stage, and what the search for the affine says of itself."""
    fixed, moving = scans.fixed, scans.moving
    as_given = resample(moving, fixed.shape, fixed.affine)
    aligned = resample(moving, fixed.shape, fixed.affine, matrix=registered.matrix)
    images = {"before": as_given, "affine": aligned, "after": registered.warped}
    left_out = _left_out(scans, registered)
    search = registered.alignment
    return {
        "of": f"correlation over both brains, on the fixed image's grid{_without_lesions(scans)}",
        **{
            name: correlation(fixed.data, image.data, left_out[name])
            for name, image in images.items()
        },
        "affine_search": search
        and {"tissue": float(search.score), "outline": float(search.overlap)},
    }


def information_statistics(registered: Registered) -> Summary:
    """Mutual information after the affine and after all, for contrasts that do not correlate."""
    fixed, moving = (
        jnp.asarray(image)[..., None]
        for image in (registered.working.fixed, registered.working.moving)
    )
    warped = warp(moving, jnp.asarray(registered.deformable.displacement))
    return {
        "of": "mutual information over both brains, in nats, on the working grid, where lesions "
        "are filled",
        **{
            name: -float(mutual_information(fixed, other, mask=brain_mask(fixed, other)))
            for name, other in (("affine", moving), ("after", warped))
        },
    }


def dice_statistics(scans: Scans, registered: Registered, warped_labels: Volume) -> Summary:
    """Dice at each stage, of each label and their mean; both label maps must be there."""
    fixed, moving = scans.fixed_labels, scans.moving_labels
    assert fixed is not None and moving is not None
    grid = fixed.shape, fixed.affine
    moved = {
        "before": resample(moving, *grid, order=0),
        "affine": resample(moving, *grid, matrix=registered.matrix, order=0),
        "after": warped_labels,
    }
    left_out = _left_out(scans, registered)
    pairs = {
        name: (_outside(fixed.data, left_out[name]), _outside(labels.data, left_out[name]))
        for name, labels in moved.items()
    }
    lesion = scans.moving_lesion
    of_moving = _outside(moving.data, None if lesion is None else lesion.data != 0)
    # Of a label that lies in a lesion there is nothing to say.
    there = [np.unique(of_moving), *(np.unique(kept) for kept, _ in pairs.values())]
    values = [int(value) for value in functools.reduce(np.intersect1d, there) if value != 0]
    scores = {
        name: dice_scores(kept, labels, of_moving, values) for name, (kept, labels) in pairs.items()
    }
    # JSON has no NaN: without a label that both maps have there is nothing to say.
    means = {name: mean_score(per_label) if values else None for name, per_label in scores.items()}
    return {
        "of": "labels present in both maps, nearest neighbour, on the fixed image's grid"
        + _without_lesions(scans),
        **means,
        "labels": {
            str(value): {name: per_label[value] for name, per_label in scores.items()}
            for value in values
        },
    }


def _left_out(scans: Scans, registered: Registered) -> dict[str, Bool[ndarray, "x y z"] | None]:
    """Both lesions on the fixed grid, the moving one carried as the image is at each stage."""
    grid, lesion = (scans.fixed.shape, scans.fixed.affine), scans.moving_lesion
    of_fixed = None if scans.fixed_lesion is None else scans.fixed_lesion.data != 0
    if lesion is None:
        return dict.fromkeys(("before", "affine", "after"), of_fixed)
    soft = Volume((lesion.data != 0).astype(np.float32), lesion.affine)
    shares = {
        "before": resample(soft, *grid),
        "affine": resample(soft, *grid, matrix=registered.matrix),
        "after": warp_volume(soft, registered.displacement, scans.fixed.affine),
    }
    # Wherever interpolation lets the lesion in.
    carried = {name: share.data > _LEAST_SHARE for name, share in shares.items()}
    return {n: c if of_fixed is None else of_fixed | c for n, c in carried.items()}


def _outside(labels: Int[ndarray, "*space"], left_out: Bool[ndarray, "*space"] | None):
    return labels if left_out is None else np.where(left_out, 0, labels)


def _without_lesions(scans: Scans) -> str:
    """For the note of what figures are of."""
    there = scans.fixed_lesion is not None or scans.moving_lesion is not None
    return ", lesions left out" if there else ""
