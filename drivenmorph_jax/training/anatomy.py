"""Training the part of a network that names structures, on images with labels."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.data.structures import StructureExamples
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.anatomy import init_anatomy, structure_logits
from drivenmorph_jax.model.config import AnatomyConfig, Precision
from drivenmorph_jax.objective.naming import naming
from drivenmorph_jax.training.anatomy_images import AnatomyImageConfig, anatomy_image
from drivenmorph_jax.training.checkpoint import Checkpoints
from drivenmorph_jax.training.logging import make_reporter
from drivenmorph_jax.training.loop import Outcome, train_loop
from drivenmorph_jax.training.optimiser import OptimiserConfig, make_optimiser
from drivenmorph_jax.training.parallel import make_backend
from drivenmorph_jax.training.settings import TrainingConfig
from drivenmorph_jax.training.state import create_state


@dataclasses.dataclass(frozen=True)
class AnatomyTrainingConfig:
    """How the anatomy is trained.

    Attributes:
      training: steps, images of a step (`batch`), optimiser, devices; as for a registration.
      images: what is done to them.
      precision: of the convolutions.
    """

    training: TrainingConfig = dataclasses.field(
        default_factory=lambda: TrainingConfig(
            steps=6000,
            batch=4,
            log_every=100,
            evaluate_every=2000,
            checkpoint_every=1000,
            optimiser=OptimiserConfig(
                learning_rate=3e-3, warmup_steps=50, weight_decay=0.0, ema_decay=0.998
            ),
        )
    )
    images: AnatomyImageConfig = dataclasses.field(default_factory=AnatomyImageConfig)
    precision: Precision = "float32"


class ImageBatches:
    """Random examples without end; those of a step are the same whenever it is taken."""

    def __init__(self, examples: StructureExamples, *, batch: int, seed: int, step: int) -> None:
        self._examples, self._batch, self._seed, self._step = examples, batch, seed, step

    def __next__(self) -> dict[str, ndarray]:
        rng = np.random.default_rng((self._seed, self._step))
        self._step += 1
        chosen = rng.integers(len(self._examples.images), size=self._batch)
        return {
            "image": self._examples.images[chosen],
            "structures": self._examples.structures[chosen],
        }

    def get_state(self) -> int:
        """The steps that were taken."""
        return self._step


def train_anatomy(
    examples: StructureExamples,
    cfg: AnatomyTrainingConfig,
    anatomy: AnatomyConfig,
    folder: Path,
) -> Outcome:
    """Train, from the last checkpoint in the folder where there is one.

    Args:
      examples: to learn from.
      cfg: how.
      anatomy: the architecture, for as many structures as the examples have.
      folder: of the checkpoints, of this training alone.

    Returns:
      How it ended; the averaged parameters in its state are the result.

    Raises:
      InputError: checkpoints of another training, or examples of another number of structures.
      TrainingError: a loss or gradient is not finite.
    """
    if anatomy.structures != len(examples.names):
        raise InputError(
            f"the examples have {len(examples.names)} structures, the anatomy {anatomy.structures}"
        )
    training = cfg.training
    optimiser = make_optimiser(training.optimiser, training.steps)
    backend = make_backend(
        training.backend,
        _make_loss(cfg, anatomy),
        optimiser,
        batch=training.batch,
        ema_decay=training.optimiser.ema_decay,
    )
    params_key, step_key = jax.random.split(jax.random.key(training.seed))
    state = create_state(step_key, init_anatomy(params_key, anatomy), optimiser)
    state = backend.place_state(state)
    document = _document(examples, cfg, anatomy)
    checkpoints = Checkpoints(folder, keep=1)
    reporter, seconds = None, 0.0
    try:
        if checkpoints.latest_step() is not None:
            if checkpoints.read_config() != document:
                raise InputError(
                    f"{folder} holds checkpoints of another training: remove it to begin again"
                )
            restored = checkpoints.restore(state)
            state, seconds = restored.state, restored.progress["seconds"]
        first = int(state.step)
        reporter = make_reporter(training.steps, first)
        return train_loop(
            state,
            backend=backend,
            batches=ImageBatches(examples, batch=training.batch, seed=training.seed, step=first),
            checkpoints=checkpoints,
            cfg=training,
            config_document=document,
            metric_log=None,
            reporter=reporter,
            evaluate=lambda params: {
                "dice": float(held_out_dice(backend.gather(params), examples, anatomy).mean())
            },
            seconds_before=seconds,
        )
    finally:
        if reporter is not None:
            reporter.close()
        checkpoints.close()


def held_out_dice(
    params: Any, examples: StructureExamples, anatomy: AnatomyConfig
) -> Float[ndarray, " s"]:
    """Mean Dice of each structure over the held-out images, each voxel having one name."""

    @jax.jit
    def name(params, image):
        logits = structure_logits(params, image[..., None].astype(np.float32), anatomy)
        return logits.argmax(-1) * (image > 0)

    found = []
    for image, structures in zip(examples.held_images, examples.held_structures, strict=True):
        names, truth = np.asarray(name(params, image)), structures * (image > 0)
        for value in range(1, 1 + anatomy.structures):
            both = (names == value) & (truth == value)
            size = (names == value).sum() + (truth == value).sum()
            found.append(2 * both.sum() / size if size else np.nan)
    return np.nanmean(np.reshape(found, (-1, anatomy.structures)), axis=0)


def _make_loss(cfg: AnatomyTrainingConfig, anatomy: AnatomyConfig):
    """Cross-entropy and 1 − Dice of one random image made of each example."""

    def of_one(params, image, structures, key):
        image, shares, brain = anatomy_image(
            key, image.astype(np.float32), structures, anatomy.structures, cfg.images
        )
        logits = structure_logits(params, image, anatomy, precision=cfg.precision)
        return naming(logits, shares, brain)

    def loss(params, batch, keys):
        each = jax.vmap(of_one, in_axes=(None, 0, 0, 0))
        terms = each(params, batch["image"], batch["structures"], keys)
        cross_entropy, dice = terms.cross_entropy.mean(), terms.dice.mean()
        return cross_entropy + 1 - dice, {"cross_entropy": cross_entropy, "dice": dice}

    return loss


def _document(
    examples: StructureExamples, cfg: AnatomyTrainingConfig, anatomy: AnatomyConfig
) -> dict[str, Any]:
    """All that a training depends on, as plain values."""
    digest = hashlib.sha256()
    for array in (examples.images, examples.structures):
        digest.update(array.tobytes())
    document = {
        "model": dataclasses.asdict(anatomy),
        "anatomy": dataclasses.asdict(cfg),
        "structures": examples.names,
        "examples": digest.hexdigest(),
    }
    return json.loads(json.dumps(document))
