"""What a report shows, as plain arrays and values."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.pipeline.quality import Check


class ReportContent(NamedTuple):
    """A registration on one grid along R, A, S; vectors are in these axes.

    Attributes:
        title: names the pair.
        fixed: (D, H, W), 0 outside the brain.
        moving_aligned: (D, H, W), the moving image after the affine alone.
        warped: (D, H, W), the moving image after the affine and the deformation.
        displacement_mm: (D, H, W, 3), of the deformation: the fixed point x corresponds to
            x + displacement_mm(x) in `moving_aligned`.
        jacobian: (D, H, W), determinant of that map.
        force: (D, H, W, 3), driving force, feature² per mm.
        spacing: (3,), mm per voxel.
        summary: the content of `summary.json`.
        checks: the quality gates.
    """

    title: str
    fixed: Float[ndarray, "d h w"]
    moving_aligned: Float[ndarray, "d h w"]
    warped: Float[ndarray, "d h w"]
    displacement_mm: Float[ndarray, "d h w 3"]
    jacobian: Float[ndarray, "d h w"]
    force: Float[ndarray, "d h w 3"]
    spacing: Float[ndarray, " 3"]
    summary: Mapping[str, Any]
    checks: Sequence[Check]
