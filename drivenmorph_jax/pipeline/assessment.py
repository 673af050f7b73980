"""The numbers of a registration by which the gates of `quality` judge it."""

import numpy as np
from scipy import ndimage

from drivenmorph_jax.images import Volume
from drivenmorph_jax.images.geometry import shear
from drivenmorph_jax.pipeline import quality
from drivenmorph_jax.pipeline.derived_fields import Fields
from drivenmorph_jax.pipeline.inverse_map import Consistency
from drivenmorph_jax.pipeline.map_statistics import EXTREMES
from drivenmorph_jax.pipeline.methods import Method
from drivenmorph_jax.pipeline.registration import Registered
from drivenmorph_jax.pipeline.scans import Scans
from drivenmorph_jax.pipeline.summary import Summary
from drivenmorph_jax.pipeline.working_space import WorkingPair

# Millimetres that are left out at the brain's edge, where background mixes in.
_RIM = 4.0


def assess(
    scans: Scans, registered: Registered, fields: Fields, summary: Summary, method: Method
) -> list[quality.Check]:
    """Every gate, in the order in which they are best read: the input, the affine, the map.

    Args:
        scans, registered, fields: of the pair.
        summary: of the same, by `summarise`.
        method: that made it; one for any contrasts is not judged by how bright tissues are.
    """
    deformation = summary["deformation"]
    contrast = quality.check_contrast(tissue_correlation(registered.working))
    return [
        *_of_the_input(scans, registered),
        *([] if method.any_contrast else [contrast]),
        *_of_the_affine(registered),
        _of_the_similarity(summary, method),
        quality.check_displacement(deformation["largest_displacement_mm"]),
        *_of_the_jacobian(scans.fixed, fields),
        *_of_the_inverse(scans.moving, fields.inverse.consistency),
    ]


def outline_overlap(pair: WorkingPair) -> float:
    """Dice of both brains on the working grid."""
    fixed, moving = pair.fixed != 0, pair.moving != 0
    return float(2 * (fixed & moving).sum() / (fixed.sum() + moving.sum()))


def tissue_correlation(pair: WorkingPair) -> float | None:
    """Correlation where both brains are, without the rim; None where nothing is left."""
    both = (pair.fixed != 0) & (pair.moving != 0)
    spacing = np.linalg.norm(pair.grid.affine[:3, :3], axis=0).mean()
    both = np.asarray(ndimage.binary_erosion(both, iterations=max(round(_RIM / spacing), 1)), bool)
    fixed, moving = pair.fixed[both], pair.moving[both]
    if len(fixed) < 2 or np.ptp(fixed) == 0 or np.ptp(moving) == 0:
        return None
    return float(np.corrcoef(fixed, moving)[0, 1])


def _of_the_similarity(summary: Summary, method: Method) -> quality.Check:
    if method.any_contrast:
        shared = summary["mutual_information"]
        return quality.check_information_gain(shared["affine"], shared["after"])
    similarity = summary["similarity"]
    return quality.check_similarity_gain(similarity["affine"], similarity["after"])


def _of_the_input(scans: Scans, registered: Registered) -> list[quality.Check]:
    spacing = np.linalg.norm(registered.working.grid.affine[:3, :3], axis=0)
    coarsest = max(scans.fixed.spacing.max(), scans.moving.spacing.max())
    return [
        quality.check_spacing(float(coarsest), float(spacing.max())),
        quality.check_brain_volume("fixed", _litres(scans.fixed)),
        quality.check_brain_volume("moving", _litres(scans.moving)),
    ]


def _of_the_affine(registered: Registered) -> list[quality.Check]:
    linear = registered.matrix[:3, :3]
    stretches = np.linalg.svd(linear, compute_uv=False)
    return [
        quality.check_outline(outline_overlap(registered.working)),
        quality.check_scale(float(stretches[-1]), float(stretches[0])),
        quality.check_shear(shear(registered.matrix)),
        quality.check_volume_ratio(float(np.linalg.det(linear))),
    ]


def _of_the_jacobian(fixed: Volume, fields: Fields) -> list[quality.Check]:
    # On the scan's own grid: between the voxels of the working grid the map may fold unseen.
    inside = fields.deformable_jacobian[fixed.data != 0]
    low, high = np.percentile(inside, EXTREMES)
    return [
        quality.check_folding(float(100 * (inside <= 0).mean())),
        quality.check_compression(float(low)),
        quality.check_expansion(float(high)),
    ]


def _of_the_inverse(moving: Volume, consistency: Consistency) -> list[quality.Check]:
    back_and_there, there_and_back = consistency.back_and_there, consistency.there_and_back
    return [
        quality.check_inverse(back_and_there and back_and_there.p99),
        quality.check_round_trip(
            there_and_back and there_and_back.p99, float(moving.spacing.max())
        ),
    ]


def _litres(volume: Volume) -> float:
    return float((volume.data != 0).sum() * abs(np.linalg.det(volume.affine[:3, :3])) / 1e6)
