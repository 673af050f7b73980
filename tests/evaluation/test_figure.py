import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.evaluation import draw_registration
from drivenmorph_jax.evaluation.figure import total_force
from drivenmorph_jax.model import ClassicalConfig, classical_demons
from drivenmorph_jax.model.result import LevelResult, Registration


@pytest.fixture(scope="module")
def drawn(phantoms, tmp_path_factory):
    fixed, moving = (np.asarray(phantoms.subjects[i].image, np.float32) for i in (0, 1))
    cfg = ClassicalConfig(iterations=(2, 2))
    run = jax.jit(lambda f, m: classical_demons(f, m, cfg))
    registration = jax.device_get(run(fixed[..., None], moving[..., None]))
    path = tmp_path_factory.mktemp("figure") / "figure.png"
    draw_registration(path, fixed, moving, registration, spacing=(2, 2, 2), title="a pair")
    return path, (fixed, moving, registration)


def test_figure_is_there_and_not_blank(drawn):
    path, _ = drawn
    picture = matplotlib.image.imread(path)[..., :3]
    assert picture.shape[0] > 800 and picture.shape[1] > 1600
    height, width = picture.shape[0] // 2, picture.shape[1] // 5
    for row in range(2):
        for column in range(5):
            panel = picture[row * height :, column * width :][:height, :width]
            assert panel.std() > 0.03, (row, column)
    assert [other.name for other in path.parent.iterdir()] == ["figure.png"]


def test_anterior_is_up_and_right_is_right(tmp_path):
    """A bright block that is anterior and right shows up and right of one that is neither."""
    pictures = []
    for place in (11, 4):
        fixed = np.full((16, 16, 8), 0.1, np.float32)
        fixed[place - 1 : place + 2, place - 1 : place + 2] = 1
        still = np.zeros((*fixed.shape, 3), np.float32)
        draw_registration(tmp_path / "a.png", fixed, fixed, Registration(still, ()))
        picture = matplotlib.image.imread(tmp_path / "a.png")[..., :3]
        pictures.append(picture[: picture.shape[0] // 2, : picture.shape[1] // 5].mean(-1))
    change = pictures[0] - pictures[1]
    anterior_right, posterior_left = (np.argwhere(sign * change > 0.3).mean(0) for sign in (1, -1))
    assert anterior_right[0] < posterior_left[0] - 100
    assert anterior_right[1] > posterior_left[1] + 100


def test_nothing_moves_and_nothing_is_there(tmp_path):
    empty = np.zeros((8, 8, 8), np.float32)
    still = np.zeros((8, 8, 8, 3), np.float32)
    draw_registration(tmp_path / "a.png", empty, empty, Registration(still, ()))
    assert (tmp_path / "a.png").stat().st_size > 0


def test_a_place_that_cannot_be_written(drawn, tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        draw_registration(tmp_path / "none" / "a.png", *drawn[1])


def test_total_force_is_per_millimetre():
    force = jnp.ones((1, 4, 4, 4, 3))
    level = LevelResult(force[0], force[0], force, force, force, jnp.ones(1), jnp.ones(1))
    total = total_force(Registration(force[0], (level,)), (8, 8, 8), (1.0, 2.0, 4.0))
    np.testing.assert_allclose(total[3, 3, 3], [0.5, 0.25, 0.125], rtol=1e-6)
