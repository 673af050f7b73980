"""Training what names structures: it learns, goes on where it was, and runs on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.data import phantom_pair
from drivenmorph_jax.data.structures import StructureExamples
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.config import AnatomyConfig
from drivenmorph_jax.training.anatomy import AnatomyTrainingConfig, held_out_dice, train_anatomy
from drivenmorph_jax.training.anatomy_images import AnatomyImageConfig, anatomy_image
from drivenmorph_jax.training.augment import AffineRange

ANATOMY = AnatomyConfig(2, channels=(4, 8))
MILD = AnatomyImageConfig(
    affine=AffineRange(), deformation=0.5, gamma=0.1, bias=0.1, blur=0.0, noise=0.02, strip=0.0
)


def examples() -> StructureExamples:
    """Phantoms with two structures: white matter, and all else that has a name."""
    images, structures = [], []
    for seed in range(4):
        pair = phantom_pair(seed, (16, 20, 16))
        images.append(pair.fixed.astype(np.float16))
        labels = pair.fixed_labels
        structures.append(np.where(np.isin(labels, (2, 41)), 1, 2 * (labels > 0)).astype(np.uint8))
    images, structures = np.stack(images), np.stack(structures)
    return StructureExamples(images[:3], structures[:3], images[3:], structures[3:], ("w", "o"))


def trained(path, cfg, *, told=None):
    told = [] if told is None else told
    return train_anatomy(
        examples(), cfg, ANATOMY, state_path=path, progress=lambda *args: told.append(args)
    )


def config(**changes) -> AnatomyTrainingConfig:
    usual = {"steps": 4, "batch": 2, "log_every": 2, "save_every": 2, "backend": "single"}
    return AnatomyTrainingConfig(images=MILD, **(usual | changes))


def test_it_learns_to_name_what_it_has_not_seen(tmp_path):
    told = []
    cfg = config(steps=90, log_every=15, save_every=90)
    params = trained(tmp_path / "state.npz", cfg, told=told)
    assert [step for step, _ in told] == [15, 30, 45, 60, 75, 90]
    assert told[-1][1]["loss"] < 0.65 * told[0][1]["loss"]
    dice = held_out_dice(params, examples(), ANATOMY)
    assert dice.shape == (2,) and dice.min() > 0.6


@pytest.mark.slow
def test_it_goes_on_where_it_was_stopped(tmp_path):
    whole = trained(tmp_path / "whole.npz", config())

    class Stopped(Exception):
        pass

    def stop(step, _):
        if step == 4:
            raise Stopped

    with pytest.raises(Stopped):
        train_anatomy(
            examples(), config(), ANATOMY, state_path=tmp_path / "part.npz", progress=stop
        )
    told = []
    again = trained(tmp_path / "part.npz", config(), told=told)
    assert [step for step, _ in told] == [4]
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    told.clear()
    jax.tree.map(
        np.testing.assert_array_equal, trained(tmp_path / "part.npz", config(), told=told), whole
    )
    assert told == []


def test_a_state_that_is_none_or_anothers_is_refused(tmp_path):
    path = tmp_path / "state.npz"
    path.write_bytes(b"no state")
    with pytest.raises(InputError, match="is damaged"):
        trained(path, config())
    path.unlink()
    trained(path, config())
    with pytest.raises(InputError, match="is of another training"):
        trained(path, config(seed=1))
    other = AnatomyConfig(2, channels=(3, 8))
    with pytest.raises(InputError, match="is of another training"):
        train_anatomy(examples(), config(), other, state_path=path, progress=print)
    with pytest.raises(InputError, match="2 structures, the anatomy 5"):
        train_anatomy(examples(), config(), AnatomyConfig(5), state_path=path, progress=print)
    with pytest.raises(InputError, match="steps is 0"):
        config(steps=0)


@pytest.mark.slow
def test_eight_devices_do_what_one_does(tmp_path):
    one = trained(tmp_path / "one.npz", config(steps=2, batch=8))
    many = trained(tmp_path / "many.npz", config(steps=2, batch=8, backend="pmap"))
    for found, expected in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)


def test_images_made_of_images_keep_their_structures():
    given = examples()
    image, structures = jnp.asarray(given.images[0], jnp.float32), given.structures[0]
    usual = AnatomyImageConfig()
    made = jax.jit(anatomy_image, static_argnums=(3, 4))
    for seed in range(4):
        found, shares, brain = made(jax.random.key(seed), image, structures, 2, usual)
        np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(found) > 0, np.asarray(brain) == 1)
        assert 0.5 < brain.sum() / (image > 0).sum() < 1.6
    again = made(jax.random.key(3), image, structures, 2, usual)[0]
    np.testing.assert_array_equal(again, found)


def test_nothing_asked_for_leaves_an_image_or_its_mirror_image():
    given = examples()
    image, structures = jnp.asarray(given.images[0], jnp.float32), given.structures[0]
    nothing = AnatomyImageConfig(AffineRange(), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    scale = jnp.sqrt((image**2).sum() / (image > 0).sum())
    mirrored = set()
    for seed in range(8):
        found, shares, brain = anatomy_image(
            jax.random.key(seed), image, jnp.asarray(structures), 2, nothing
        )
        flipped = bool(jnp.abs(found[..., 0] * scale - image).max() > 1e-3)
        mirrored.add(flipped)
        step = -1 if flipped else 1
        np.testing.assert_allclose(found[..., 0] * scale, image[::step], atol=1e-4)
        np.testing.assert_allclose(shares.argmax(-1), structures[::step])
        np.testing.assert_array_equal(brain[..., 0] > 0, image[::step] > 0)
    assert mirrored == {True, False}
