import numpy as np
import pytest

from drivenmorph_jax.evaluation.slices import draw_slices

SHAPE = (12, 16, 20)


@pytest.fixture
def pair():
    """A box in an empty grid, a moving one half as bright, and nothing that moves."""
    fixed = np.zeros((*SHAPE, 1), np.float32)
    fixed[2:11, 3:14, 4:17] = 5
    nothing = np.zeros((*SHAPE, 3), np.float32)
    return {
        "fixed": fixed,
        "moving": fixed / 2,
        "warped": fixed / 2,
        "displacement": nothing,
        "force": nothing,
    }


def test_every_picture_has_the_three_planes_side_by_side(pair):
    pictures = draw_slices(**pair)
    assert pictures.keys() == {"fixed", "moving", "warped", "difference", "grid", "force"}
    for picture in pictures.values():
        assert picture.dtype == np.uint8
        assert picture.shape == (20, 12 + 12 + 16 + 3 * 2)


def test_planes_stand_upright_on_one_line(pair):
    pair["fixed"][6, 8, 16] = 50  # near the top, in the middle of the brain
    picture = draw_slices(**pair)["fixed"]
    row, columns = 20 - 1 - 16, (14 + 6, 28 + 8)  # of coronal and sagittal plane
    assert [picture[row, column] for column in columns] == [255, 255]
    assert (picture[:4, :12] == 0).all()  # above the axial plane, which is lower


def test_images_compare_whatever_their_scale_and_equal_ones_differ_nowhere(pair):
    pictures = draw_slices(**pair)
    np.testing.assert_array_equal(pictures["fixed"], pictures["warped"])
    assert not pictures["difference"].any()
    pair["warped"] = np.roll(pair["warped"], 2, 0)
    assert draw_slices(**pair)["difference"].any()


def test_the_grid_moves_against_the_displacement(pair):
    still = draw_slices(**pair)["grid"][4:, :12]  # the axial plane
    pair["displacement"][..., 0] = 1.0
    moved = draw_slices(**pair)["grid"][4:, :12]
    # A line of constant x + u(x) lies where x is one less.
    np.testing.assert_array_equal(moved[:, :11], still[:, 1:])
    assert (still == 255).any() and (still == 0).any()


def test_a_force_is_bright_where_it_acts_and_none_is_black(pair):
    assert not draw_slices(**pair)["force"].any()
    pair["force"][2:6] = (0.0, 3e-4, 4e-4)
    picture = draw_slices(**pair)["force"]
    assert (picture[8, 2:6] == 255).all() and not picture[8, 6:12].any()


def test_an_empty_pair_is_black(pair):
    pictures = draw_slices(**{name: np.zeros_like(value) for name, value in pair.items()})
    assert not any(pictures[name].any() for name in ("fixed", "warped", "difference", "force"))
