"""Training what names structures: it learns, goes on where it was, and runs on any devices."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.data import phantom_pair
from drivenmorph_jax.data.structures import StructureExamples
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.config import AnatomyConfig
from drivenmorph_jax.training.anatomy import (
    AnatomyTrainingConfig,
    ImageBatches,
    held_out_dice,
    train_anatomy,
)
from drivenmorph_jax.training.anatomy_images import AnatomyImageConfig, anatomy_image
from drivenmorph_jax.training.augment import AffineRange
from drivenmorph_jax.training.settings import TrainingConfig

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


def trained(folder, cfg, anatomy=ANATOMY):
    return train_anatomy(examples(), cfg, anatomy, folder).state.ema_params


def config(**changes) -> AnatomyTrainingConfig:
    usual = {"steps": 4, "batch": 2, "log_every": 2, "evaluate_every": 0, "checkpoint_every": 2}
    optimiser = AnatomyTrainingConfig().training.optimiser
    training = TrainingConfig(backend="single", optimiser=optimiser)
    return AnatomyTrainingConfig(dataclasses.replace(training, **(usual | changes)), MILD)


def test_it_learns_to_name_what_it_has_not_seen(tmp_path, capsys):
    params = trained(
        tmp_path / "run", config(steps=90, log_every=30, evaluate_every=90, checkpoint_every=90)
    )
    dice = held_out_dice(params, examples(), ANATOMY)
    assert dice.shape == (2,) and dice.min() > 0.6
    said = capsys.readouterr().out
    losses = [float(found) for found in re.findall(r"step \d+/90  loss (\S+)", said)]
    assert len(losses) == 3 and losses[-1] < 0.8 * losses[0]
    assert f"dice {dice.mean():.4g}" in said


@pytest.mark.slow
def test_it_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    whole = trained(tmp_path / "whole", config())
    taken = ImageBatches.__next__

    def stop(self):
        if self.get_state() == 3:
            raise KeyboardInterrupt
        return taken(self)

    monkeypatch.setattr(ImageBatches, "__next__", stop)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "part", config())
    places = []
    monkeypatch.setattr(
        ImageBatches, "__next__", lambda self: (places.append(self.get_state()), taken(self))[1]
    )
    again = trained(tmp_path / "part", config())
    assert places == [2, 3]
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    jax.tree.map(np.testing.assert_array_equal, trained(tmp_path / "part", config()), whole)
    assert places == [2, 3]


def test_checkpoints_of_another_training_are_refused(tmp_path):
    trained(tmp_path / "run", config(steps=2))
    for cfg in (config(), config(steps=2, seed=1)):
        with pytest.raises(InputError, match="holds checkpoints of another training"):
            trained(tmp_path / "run", cfg)
    with pytest.raises(InputError, match="2 structures, the anatomy 5"):
        trained(tmp_path / "run", config(), AnatomyConfig(5))


@pytest.mark.slow
def test_eight_devices_do_what_one_does(tmp_path):
    one = trained(tmp_path / "one", config(steps=2, batch=8))
    many = trained(tmp_path / "many", config(steps=2, batch=8, backend="pmap"))
    for found, expected in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)


def test_structures_move_with_the_image():
    """An image whose intensities are its structures' numbers is the mean of these by their shares,
    as both are interpolated linearly."""
    numbers = examples().structures[0]
    image = jnp.asarray(numbers, jnp.float32)
    moves = AnatomyImageConfig(gamma=0.0, bias=0.0, blur=0.0, noise=0.0, strip=0.0)
    for seed in range(4):
        found, shares, brain = anatomy_image(
            jax.random.key(seed), image, jnp.asarray(numbers), 2, moves
        )
        mean = shares[..., 1:2] + 2 * shares[..., 2:]
        scale = jnp.sqrt((mean**2).sum() / (mean > 0).sum())
        seen = np.asarray(brain) > 0
        assert seen.mean() > 0.1 and np.ptp(np.asarray(found)[seen]) > 0.5
        np.testing.assert_allclose((found * scale)[seen], mean[seen], atol=2e-3)


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
