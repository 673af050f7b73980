"""Gates: may a registration be trusted? Pure functions of plain numbers, one a check.

The limits are rules of thumb for brains of adults, and of no standard: a `fail` says that something
is wrong, a `warn` that somebody should look.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["pass", "warn", "fail"]
_ORDER = ("pass", "warn", "fail")


@dataclass(frozen=True)
class Limits:
    """Where a value passes, and where it does not yet fail; None is no limit on that side."""

    pass_from: float | None = None
    pass_to: float | None = None
    fail_below: float | None = None
    fail_above: float | None = None


@dataclass(frozen=True)
class Check:
    """One gate.

    Attributes:
        name: of what was measured.
        value: None where it could not be measured, which is a warning.
        unit: of the value and the limits; empty for a number without one.
        limits: a value within the inner ones passes, one beyond the outer ones fails.
        verdict: pass, warn or fail.
        reason: in plain words, whatever the verdict.
    """

    name: str
    value: float | None
    unit: str
    limits: Limits
    verdict: Verdict
    reason: str

    def as_document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def worst(verdicts: Iterable[str]) -> str:
    """The worst verdict; pass where there is none."""
    return max(verdicts, key=_ORDER.index, default="pass")


def check_folding(percent: float) -> Check:
    """Share of the fixed brain's voxels where the deformable part folds (det ∂φ/∂x <= 0)."""
    return _judge(
        "folding",
        percent,
        "%",
        Limits(pass_to=0.05, fail_above=1.0),
        good="next to nothing of the brain is folded over by the map",
        bad="the map folds the brain over itself: there it has no inverse, and means no anatomy",
    )


def check_inverse(p99_mm: float | None) -> Check:
    """99th percentile of |φ(φ⁻¹(y)) − y| over the voxels of the inverse in the moving brain."""
    return _judge(
        "inverse consistency",
        p99_mm,
        "mm",
        Limits(pass_to=0.1, fail_above=1.0),
        good="the inverse undoes the map",
        bad="the inverse does not undo the map: use only one of the two warps",
    )


def check_round_trip(p99_mm: float | None, voxel_mm: float) -> Check:
    """99th percentile of |φ⁻¹(φ(x)) − x|, which ends between the voxels of the inverse."""
    return _judge(
        "inverse between voxels",
        p99_mm,
        "mm",
        Limits(pass_to=0.5 * voxel_mm, fail_above=2 * voxel_mm),
        good="the moving image's grid is fine enough to hold the inverse",
        bad="the moving image's grid is too coarse to hold the inverse: points that go there and "
        "back end elsewhere",
    )


def check_displacement(largest_mm: float) -> Check:
    """Length of the largest deformation inside the fixed brain, after the affine."""
    return _judge(
        "largest deformation",
        largest_mm,
        "mm",
        Limits(pass_to=20.0, fail_above=40.0),
        good="no part of the brain moves further than brains differ",
        bad="some part of the brain moves further than brains differ: look there",
    )


def check_compression(share: float) -> Check:
    """A low quantile of the deformable part's local change of volume in the fixed brain.

    Below 0 some of it is folded, which `check_folding` counts; it fails alone where that much is
    turned inside out at full size.
    """
    return _judge(
        "strongest compression",
        share,
        "times the volume",
        Limits(pass_from=0.1, fail_below=-1.0),
        good="no tissue is squeezed to nothing",
        bad="tissue is squeezed to nearly nothing",
    )


def check_expansion(share: float) -> Check:
    """A high quantile of the deformable part's local change of volume in the fixed brain."""
    return _judge(
        "strongest expansion",
        share,
        "times the volume",
        Limits(pass_to=8.0, fail_above=30.0),
        good="no tissue is blown up beyond what brains differ by",
        bad="tissue is blown up beyond what brains differ by",
    )


def check_similarity_gain(affine: float, after: float) -> Check:
    """What the deformation adds to the correlation that the affine reached."""
    gain = after - affine
    # Two scans that already agree have nothing to gain.
    least = -0.005 if affine > 0.95 else 0.0
    return _judge(
        "similarity gain",
        gain,
        "correlation",
        Limits(pass_from=least, fail_below=-0.05),
        good="the deformation does not make the images less alike",
        bad="the deformation makes the images less alike than the affine alone",
    )


def check_information_gain(affine: float, after: float) -> Check:
    """What the deformation adds to the mutual information that the affine reached, in nats."""
    return _judge(
        "similarity gain",
        after - affine,
        "nats of mutual information",
        Limits(pass_from=0.0, fail_below=-0.05),
        good="the deformation does not make the images tell less of one another",
        bad="the deformation makes the images tell less of one another than the affine alone",
    )


def check_scale(smallest: float, largest: float) -> Check:
    """The affine's smallest and largest stretch; the one further from 1 is judged."""
    value = largest if largest * smallest > 1 else smallest
    return _judge(
        "affine scale",
        value,
        "",
        Limits(0.75, 1.35, 0.5, 2.0),
        good="the affine stretches no axis by more than heads differ",
        bad="the affine stretches the brain by more than heads differ: the alignment may have "
        "failed, or a voxel size in a header is wrong",
    )


def check_shear(shear: float) -> Check:
    """Largest cosine between two axes that the affine's shear leaves."""
    return _judge(
        "affine shear",
        shear,
        "",
        Limits(pass_to=0.15, fail_above=0.4),
        good="the affine hardly shears",
        bad="the affine shears the brain: the alignment may have failed",
    )


def check_volume_ratio(determinant: float) -> Check:
    """The affine's determinant: the moving brain's size over the fixed one's."""
    return _judge(
        "affine volume ratio",
        determinant,
        "",
        Limits(0.6, 1.67, 0.3, 3.3),
        good="the two brains are of like size",
        bad="the two brains differ in size beyond what adults do: check the voxel sizes and masks",
    )


def check_outline(dice: float) -> Check:
    """Overlap of the two brains' outlines after the affine (Dice)."""
    return _judge(
        "outline overlap",
        dice,
        "Dice",
        Limits(pass_from=0.85, fail_below=0.7),
        good="the brains lie on one another after the affine",
        bad="the brains' outlines do not match after the affine: one is cut off or badly "
        "extracted, or the alignment failed",
    )


def check_contrast(correlation: float | None) -> Check:
    """Correlation of the two brains' tissue after the affine, in the overlap, without its rim."""
    return _judge(
        "contrast",
        correlation,
        "correlation",
        Limits(pass_from=0.25),
        good="tissues are bright and dark alike in both images",
        bad="tissues that are bright in one image are not in the other: the images differ in "
        "contrast, for which there is --weights brain-any, or the alignment failed",
    )


def check_spacing(largest_mm: float, working_mm: float) -> Check:
    """The largest voxel spacing of both images, against the working grid's."""
    return _judge(
        "voxel size",
        largest_mm,
        "mm",
        Limits(pass_to=1.6 * working_mm),
        good="both images are about as fine as the grid on which they were registered",
        bad="an image is coarser than the grid on which it was registered: across its slices "
        "the map is guessed",
    )


def check_brain_volume(role: str, litres: float) -> Check:
    """Volume of the voxels that are not 0: the adult brains of the training are 0.9 to 2 litres."""
    return _judge(
        f"{role} brain volume",
        litres,
        "litres",
        Limits(0.85, 2.1),
        good="as large as an adult's brain",
        bad="not as large as an adult's brain, and others were not in the training: check that "
        "it is whole, and nothing but the brain",
    )


def _judge(
    name: str, value: float | None, unit: str, limits: Limits, *, good: str, bad: str
) -> Check:
    if value is None or not math.isfinite(value):
        return Check(name, None, unit, limits, "warn", "could not be measured")
    if _beyond(value, limits.fail_below, limits.fail_above):
        return Check(name, value, unit, limits, "fail", bad)
    if _beyond(value, limits.pass_from, limits.pass_to):
        return Check(name, value, unit, limits, "warn", bad)
    return Check(name, value, unit, limits, "pass", good)


def _beyond(value: float, low: float | None, high: float | None) -> bool:
    return (low is not None and value < low) or (high is not None and value > high)
