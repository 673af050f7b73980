"""Other tools' fields as our displacements: our nearest-neighbour warp gives their label map."""

import numpy as np
import pytest

from drivenmorph_jax.data import Subject
from drivenmorph_jax.evaluation import carry_labels

pytestmark = pytest.mark.tools
SPACING = (2.0, 1.5, 2.5)


@pytest.fixture(scope="module")
def pair(phantoms):
    subjects = [phantoms.subjects[i] for i in phantoms.pairs[0]]
    return [np.asarray(s.image, np.float32) for s in subjects], [s.labels for s in subjects]


def agreement(ours, theirs):
    """Share of equal labels where there is one: ties at half-way points may differ."""
    there = (ours > 0) | (theirs > 0)
    return (ours == theirs)[there].mean()


@pytest.mark.parametrize("variant", ["sitk_demons", "sitk_diffeomorphic_demons"])
def test_simpleitk_demons(pair, variant):
    sitk = pytest.importorskip("SimpleITK")
    import itk_demons

    (fixed, moving), (fixed_labels, moving_labels) = pair
    displacement = itk_demons.register(variant, fixed, moving, SPACING)
    assert displacement.shape == (*fixed.shape, 3) and np.abs(displacement).max() > 0.5
    field = itk_demons.to_itk(fixed, SPACING)
    vectors = (displacement * np.array(SPACING)).transpose(2, 1, 0, 3).astype(np.float64)
    field = sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
    field.SetSpacing(SPACING)
    np.testing.assert_allclose(itk_demons.to_voxels(field), displacement, rtol=1e-5, atol=1e-6)
    theirs = sitk.Resample(
        itk_demons.to_itk(moving_labels.astype(np.uint8), SPACING),
        itk_demons.to_itk(fixed, SPACING),
        sitk.DisplacementFieldTransform(field),
        sitk.sitkNearestNeighbor,
    )
    theirs = sitk.GetArrayFromImage(theirs).transpose(2, 1, 0)
    fixed_subject = Subject("fixed", fixed, fixed_labels)
    _, ours = carry_labels(fixed_subject, Subject("moving", moving, moving_labels), displacement)
    assert agreement(ours, theirs) > 0.995
    assert agreement(ours, fixed_labels) > agreement(moving_labels, fixed_labels)


def test_coarse_levels_keep_the_field_in_millimetres():
    pytest.importorskip("SimpleITK")
    import itk_demons

    image = itk_demons.to_itk(np.zeros((16, 20, 12), np.float32), SPACING)
    coarse = itk_demons._level(image, 2)
    ends = [(np.array(i.GetSize()) - 1) * i.GetSpacing() for i in (image, coarse)]
    np.testing.assert_allclose(*ends)
    assert coarse.GetSize() == (8, 10, 6)


@pytest.mark.filterwarnings("ignore")
def test_ants_field_with_its_affine(pair, tmp_path):
    ants = pytest.importorskip("ants")
    import ants_syn

    (fixed, moving), (fixed_labels, moving_labels) = pair
    images = [ants_syn.to_ants(image, SPACING) for image in (fixed, moving)]
    found = ants.registration(
        *images, "SyN", outprefix=str(tmp_path / "syn_"), reg_iterations=(20, 10), random_seed=1
    )
    displacement = ants_syn.composed_field(*images, found["fwdtransforms"], str(tmp_path))
    theirs = ants.apply_transforms(
        images[0],
        ants_syn.to_ants(moving_labels, SPACING),
        found["fwdtransforms"],
        interpolator="nearestNeighbor",
    ).numpy()
    fixed_subject = Subject("fixed", fixed, fixed_labels)
    _, ours = carry_labels(fixed_subject, Subject("moving", moving, moving_labels), displacement)
    assert np.abs(displacement).max() > 0.3
    assert agreement(ours, theirs) > 0.99
    # ANTs' affine stage samples at random, by thread: its end differs from machine to machine.
    assert agreement(ours, fixed_labels) > 1.1 * agreement(moving_labels, fixed_labels)
