"""Alignment of real brains: imposed transforms, and pairs of people."""

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from drivenmorph_jax.alignment import align
from drivenmorph_jax.images import (
    Volume,
    load_labels,
    load_volume,
    read_transform,
    resample,
    working_grid,
    write_itk_affine,
)
from tests.alignment.brains import error

EXHAUSTIVE = pytest.mark.exhaustive

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


def random_transform(rng, centre, *, scaled: bool) -> np.ndarray:
    """Up to 45°, 60 mm and, if scaled, scales of 0.8 to 1.25, about `centre`."""
    axis, way = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    linear = Rotation.from_rotvec(np.radians(rng.uniform(0, 45)) * axis).as_matrix()
    if scaled:
        linear = linear @ np.diag(rng.uniform(0.8, 1.25, 3))
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre + rng.uniform(0, 60) * way - linear @ centre
    return matrix


@pytest.mark.parametrize("count", [24, pytest.param(102, marks=EXHAUSTIVE)])
def test_imposed_transforms_are_recovered(count, real_data):
    """Rotations to 45°, shifts to 60 mm, scales 0.8 to 1.25: at least 98 % within 1 mm and 1°."""
    folder = real_data / "contrasts_1mm"
    fixed = load_volume(folder / "patient07_t1.nii.gz")
    points = points_in(fixed)
    rng = np.random.default_rng(0)
    outcomes = []
    for contrast in ("t1", "t2", "flair"):
        moving = load_volume(folder / f"patient07_{contrast}.nii.gz")
        for kind in ("rigid", "affine"):
            for _ in range(count // 6):
                truth = random_transform(rng, points.mean(axis=0), scaled=kind == "affine")
                moved = Volume(moving.data, truth @ moving.affine)
                there = resample(moved, *working_grid(moved, 1.3))
                images = fixed.data, there.data, fixed.affine, there.affine
                result = align(*images, kind=kind)
                distance, angle = error(result.matrix, truth, points)
                outcomes.append((contrast, kind, float(distance), float(angle)))
    assert len(outcomes) == count
    failed = [outcome for outcome in outcomes if max(outcome[2:]) >= 1]
    assert len(failed) <= 0.02 * count, failed


@pytest.mark.tools
@pytest.mark.parametrize(
    ("pairs", "starts"), [(2, 8), pytest.param(6, 17, marks=EXHAUSTIVE)], ids=str
)
def test_between_people_random_starts_end_where_ants_does(pairs, starts, real_data, tmp_path):
    """At least 98 % within 1 mm and 1° of the affine that ANTs finds from the aligned start."""
    ants = pytest.importorskip("ants")
    paths = sorted((real_data / "ixi_2mm" / "val").glob("*_t1.nii.gz"))[: pairs + 1]
    rng = np.random.default_rng(1)
    outcomes = []
    for fixed_path, moving_path in itertools.pairwise(paths):
        fixed, moving = load_volume(fixed_path), load_volume(moving_path)
        points = points_in(fixed)
        start = align(fixed.data, moving.data, fixed.affine, moving.affine)
        truth = ants_affine(ants, fixed_path, moving_path, start.matrix, tmp_path)
        for _ in range(starts):
            move = random_transform(rng, points.mean(axis=0), scaled=True)
            # By its header: resampling would widen a 2 mm brain by half a voxel.
            result = align(fixed.data, moving.data, fixed.affine, move @ moving.affine)
            back = np.linalg.inv(move) @ np.asarray(result.matrix, np.float64)
            outcomes.append((fixed_path.name, *error(back, truth, points)))
    failed = [outcome for outcome in outcomes if max(outcome[1:]) >= 1]
    assert len(failed) <= 0.02 * len(outcomes), failed


def ants_affine(ants, fixed_path, moving_path, start, folder) -> np.ndarray:
    """(4, 4), fixed world to moving world, RAS mm."""
    write_itk_affine(folder / "start.mat", np.asarray(start, np.float64))
    images = (ants.image_read(str(path)) for path in (fixed_path, moving_path))
    found = ants.registration(
        *images,
        type_of_transform="Affine",
        initial_transform=str(folder / "start.mat"),
        outprefix=str(folder / "ants_"),
        random_seed=1,
    )
    (path,) = found["fwdtransforms"]
    return read_transform(path).matrix


def points_in(image: Volume) -> np.ndarray:
    voxels = np.argwhere(image.data != 0)[::997]
    return voxels @ image.affine[:3, :3].T + image.affine[:3, 3]


def test_pairs_of_people_agree_better_than_by_their_centres(real_data):
    paths = sorted((real_data / "ixi_2mm" / "val").glob("*_t1.nii.gz"))[:5]
    images = [load_volume(path) for path in paths]
    labels = [load_labels(str(path).replace("_t1", "_seg")) for path in paths]
    overlaps = {}
    for kind in ("translation", "affine"):
        overlaps[kind] = []
        for i in range(len(paths) - 1):
            fixed, moving = images[i], images[i + 1]
            result = align(fixed.data, moving.data, fixed.affine, moving.affine, kind=kind)
            warped = resample(
                labels[i + 1], fixed.shape, fixed.affine, matrix=np.asarray(result.matrix), order=0
            )
            overlaps[kind].append(mean_dice(labels[i].data, warped.data))
    gain = np.array(overlaps["affine"]) - overlaps["translation"]
    assert (gain > 0.02).all()
    assert np.mean(overlaps["affine"]) > 0.63


def mean_dice(a, b) -> float:
    scores = [
        2 * ((a == n) & (b == n)).sum() / ((a == n).sum() + (b == n).sum())
        for n in np.unique(a)[1:]
    ]
    return float(np.mean(scores))
