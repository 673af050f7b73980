"""Pairs that a displacement is judged on: two people, or a brain and itself deformed."""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from contrast_pairs import POINTS, Case, point_errors
from imposed import impose, origins, points_in
from jaxtyping import Float
from numpy import ndarray
from painted import painted_subjects
from records import Record

from drivenmorph_jax.data import Subject
from drivenmorph_jax.data.labels import read_label_table
from drivenmorph_jax.evaluation import overlap
from drivenmorph_jax.objective.metrics import folding_percent, ndv_percent, sdlogj
from drivenmorph_jax.spatial.fields import compose
from drivenmorph_jax.spatial.sampling import warp

PAINTED = (("01", "08"), ("10", "15"), ("06", "19"))
"""Pairs of label maps, by their numbers."""
NOISE = 0.02
"""Deviation of what is added to both images of a known deformation; bright tissue is near 1."""

Bounds = tuple[tuple[float, float], tuple[float, float]]
"""Of a known deformation: correlation length, and its least peak and mean; mm."""


class Judged(NamedTuple):
    """A pair of images on one grid, and the figures of a displacement between them.

    Attributes:
      fixed, moving: (D, H, W), background exactly 0.
      score: voxels of the grid to "dice", or "error" in mm.
    """

    fixed: Float[ndarray, "d h w"]
    moving: Float[ndarray, "d h w"]
    score: Callable[[Float[ndarray, "d h w 3"]], Record]


def people(fixed: Subject, moving: Subject, values: Sequence[int]) -> Judged:
    """Two people, by the Dice of their structures."""
    images = [np.asarray(subject.image, np.float32) for subject in (fixed, moving)]

    def score(displacement: ndarray) -> Record:
        dice = overlap(fixed, moving, displacement, values)
        return {"dice": dice} | _regularity(displacement, images[0] != 0)

    return Judged(images[0], images[1], score)


def painted_people(fixed: str, moving: str, spacing: float, data: pathlib.Path) -> Judged:
    """Two people of the label maps in `data`, painted like a T1."""
    names = [f"training_seg_{number}" for number in (fixed, moving)]
    pair = painted_subjects(data / "labelmaps_1mm", names, spacing)
    return people(pair[0], pair[1], read_label_table(data / "labels.tsv").values)


def deformed(
    image: Float[ndarray, "d h w"], seed: int, spacing: float, parts: Sequence[Bounds]
) -> Judged:
    """A brain and the same after a known deformation, noise on both: mean error at points of it.

    Args:
      image: background 0, bright tissue near 1.
      seed: decides everything.
      spacing: mm per voxel.
      parts: of the deformation, which is one after the other.
    """
    brain, rng = image != 0, np.random.default_rng(seed)
    field = jnp.zeros((*image.shape, 3), jnp.float32)
    for lengths, bounds in parts:
        part = impose(seed, brain, spacing, lengths=lengths, bounds=bounds)
        field = compose(field, jnp.asarray(part.displacement))
    moved = np.asarray(warp(jnp.asarray(image, jnp.float32)[..., None], field))[..., 0]
    fixed, moving = (_with_noise(rng, one) for one in (image, moved))
    points = points_in(rng, brain, POINTS)
    case = Case(fixed, moving, np.eye(4), points, origins(np.asarray(field), points))

    def score(displacement: ndarray) -> Record:
        error = spacing * float(point_errors(displacement, case).mean())
        return {"error": error} | _regularity(displacement, brain)

    return Judged(fixed, moving, score)


def _with_noise(rng: np.random.Generator, image: ndarray) -> Float[ndarray, "d h w"]:
    noisy = np.maximum(image + NOISE * rng.normal(size=image.shape), 0.01)
    return np.where(image > 0, noisy, 0).astype(np.float32)


def _regularity(displacement: ndarray, brain: ndarray) -> Record:
    return {
        "folding_percent": folding_percent(displacement, mask=brain),
        "ndv_percent": ndv_percent(displacement, mask=brain),
        "sdlogj": sdlogj(displacement),
    }
