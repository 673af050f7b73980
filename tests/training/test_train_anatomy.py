"""train_anatomy.py, from images in a folder to weights that name structures."""

import os
import pathlib
import subprocess
import sys

import jax
import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax.data import phantom_pair
from drivenmorph_jax.data.structures import StructureExamples, save_structures
from drivenmorph_jax.model import ModelConfig, init, register
from drivenmorph_jax.model.weights import load_weights, save_weights
from tests.training.test_experiment import COMPILED_QUICKLY

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
TINY = ModelConfig(
    channels=(4,),
    iterations=(0, 1),
    cross_attention=(),
    self_attention=(),
    residual_channels=(0,),
)


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess:
    environment = os.environ | variables
    command = [sys.executable, str(CHECKOUT / "train_anatomy.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, env=environment)


@pytest.fixture
def config(tmp_path):
    for seed, name in enumerate(("train/a", "train/b", "train/c", "val/d")):
        pair = phantom_pair(seed, (24, 28, 24))
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for kind, array in (("t1", pair.fixed), ("seg", pair.fixed_labels.astype(np.uint8))):
            nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 2, 1])), f"{path}_{kind}.nii.gz")
    path = tmp_path / "data.yaml"
    path.write_text(
        f"data:\n  format: folder\n  path: {tmp_path / 'data'}\n  labels: freesurfer\n"
        "  shape: [24, 28, 24]\n  spacing: [2.0, 2.0, 2.0]\n  holdout: 1\n"
    )
    return path


@pytest.mark.slow
def test_from_images_to_weights(config, tmp_path):
    examples, trained = tmp_path / "examples.npz", tmp_path / "anatomy.safetensors"
    done = run("examples", "--config", config, "--output", examples)
    assert done.returncode == 0, done.stderr
    assert "2 subjects and 1 held out, 17 structures" in done.stdout
    steps = ("--steps", 3, "--batch", 1)
    done = run("train", examples, "--output", trained, *steps, **COMPILED_QUICKLY)
    assert done.returncode == 0, done.stderr
    assert "step 3/3" in done.stdout and "held-out Dice 0." in done.stdout
    params = init(jax.random.key(0), TINY)
    save_weights(tmp_path / "plain", params, TINY, {"licence": "any"})
    joined = ("--weights", tmp_path / "plain", "--output", tmp_path / "naming")
    done = run("join", trained, *joined, "--correlation-iterations", 2)
    assert done.returncode == 0, done.stderr
    found = load_weights(tmp_path / "naming")
    assert found.model.anatomy is not None and found.model.anatomy.structures == 17
    assert found.metadata["licence"] == "any"
    assert found.metadata["anatomy"]["training"]["steps"] == 3
    pair = phantom_pair(9, (24, 28, 24))
    images = [image[..., None] for image in (pair.fixed, pair.moving)]
    named = jax.jit(register, static_argnums=3)(found.params, *images, found.model).named
    assert named is not None and named.fixed.shape == (24, 28, 24, 17)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "none.npz", "--output", "x.safetensors"), "no examples at none.npz"),
        (("join", "none", "--weights", "none", "--output", "x"), "none holds no trained anatomy"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, said):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("train_anatomy.py: error: ") and said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_batch_that_does_not_divide_over_the_devices(tmp_path):
    images = np.ones((2, 16, 16, 16), np.float16)
    structures = np.ones((2, 16, 16, 16), np.uint8)
    examples = StructureExamples(images, structures, images, structures, ("all",))
    save_structures(tmp_path / "examples.npz", examples)
    arguments = (tmp_path / "examples.npz", "--output", tmp_path / "x.safetensors")
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = run("train", *arguments, "--batch", 6, **devices)
    assert done.returncode == 2
    assert "--batch is 6, which does not divide over 4 devices" in done.stderr
    assert "or set --backend single" in done.stderr and "training." not in done.stderr
    assert not (tmp_path / "x.checkpoints").exists()
