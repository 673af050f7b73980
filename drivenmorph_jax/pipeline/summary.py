"""The figures of a registration, as written to `summary.json`."""

import importlib.metadata
import platform
from typing import Any

import jax
import numpy as np

from drivenmorph_jax.images import Volume, resample
from drivenmorph_jax.objective.metrics import dice_scores, mean_score
from drivenmorph_jax.pipeline.derived_fields import Fields
from drivenmorph_jax.pipeline.map_statistics import (
    consistency_statistics,
    deformation_statistics,
    whole_map_statistics,
)
from drivenmorph_jax.pipeline.methods import Method
from drivenmorph_jax.pipeline.registration import Registered
from drivenmorph_jax.pipeline.scans import Scans

Summary = dict[str, Any]

THIS_PACKAGE = "drivenmorph-jax"
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
    images, `affine` after the affine alone, `after` through the whole map.
    """
    summary: Summary = {
        "similarity": _similarity(scans, registered),
        "deformation": deformation_statistics(registered),
        "whole_map": whole_map_statistics(registered, fields, scans.fixed),
        "inverse_consistency": consistency_statistics(fields.inverse.consistency),
        "affine": registered.matrix.tolist(),
        "method": {"name": method.name, **method.details},
    }
    if warped_labels is not None:
        summary["dice"] = _dice(scans, registered, warped_labels)
    return summary


def environment() -> Summary:
    """Versions of what computed it, and on what."""
    return {
        "versions": {"python": platform.python_version()}
        | {name: version for name in _PACKAGES if (version := _version(name))},
        "device": jax.local_devices()[0].device_kind,
    }


def correlation(fixed: np.ndarray, other: np.ndarray) -> float:
    """Pearson correlation over the voxels in either brain; 0 where one is constant there."""
    inside = (fixed != 0) | (other != 0)
    a, b = (image[inside].astype(np.float64) for image in (fixed, other))
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0


def _similarity(scans: Scans, registered: Registered) -> Summary:
    fixed, moving = scans.fixed, scans.moving
    as_given = resample(moving, fixed.shape, fixed.affine)
    aligned = resample(moving, fixed.shape, fixed.affine, matrix=registered.matrix)
    images = {"before": as_given, "affine": aligned, "after": registered.warped}
    search = registered.alignment
    return {
        "of": "correlation over both brains, on the fixed image's grid",
        **{name: correlation(fixed.data, image.data) for name, image in images.items()},
        "affine_search": search
        and {"tissue": float(search.score), "outline": float(search.overlap)},
    }


def _dice(scans: Scans, registered: Registered, warped_labels: Volume) -> Summary:
    fixed, moving = scans.fixed_labels, scans.moving_labels
    assert fixed is not None and moving is not None
    shared = np.intersect1d(fixed.data, moving.data)
    values = [int(value) for value in shared if value != 0]
    grid = fixed.shape, fixed.affine
    maps = {
        "before": resample(moving, *grid, order=0),
        "affine": resample(moving, *grid, matrix=registered.matrix, order=0),
        "after": warped_labels,
    }
    scores = {
        name: dice_scores(fixed.data, labels.data, moving.data, values)
        for name, labels in maps.items()
    }
    # JSON has no NaN: without a label that both maps have there is nothing to say.
    means = {name: mean_score(per_label) if values else None for name, per_label in scores.items()}
    return {
        "of": "labels present in both maps, nearest neighbour, on the fixed image's grid",
        **means,
        "labels": {
            str(value): {name: per_label[value] for name, per_label in scores.items()}
            for value in values
        },
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
