"""Training the part of a network that names structures, on images with labels."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.data.structures import StructureExamples
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.anatomy import init_anatomy, structure_logits
from drivenmorph_jax.model.config import AnatomyConfig
from drivenmorph_jax.objective.naming import naming
from drivenmorph_jax.training.anatomy_images import AnatomyImageConfig, anatomy_image
from drivenmorph_jax.training.optimiser import OptimiserConfig, make_optimiser
from drivenmorph_jax.training.parallel import BackendName, make_backend
from drivenmorph_jax.training.state import create_state
from drivenmorph_jax.training.state_file import load_state, save_state

Progress = Callable[[int, dict[str, float]], None]
"""Called with the number of steps done and their metrics, means since the last call."""


@dataclasses.dataclass(frozen=True)
class AnatomyTrainingConfig:
    """How the anatomy is trained.

    Attributes:
      steps: updates of the parameters.
      batch: images of a step, over all devices.
      optimiser: see there.
      images: what is done to them.
      precision: of the convolutions.
      backend: see `make_backend`.
      log_every: steps between two calls of `progress`.
      save_every: steps between two states saved.
      seed: of parameters, draws and order.
    """

    steps: int = 6000
    batch: int = 4
    optimiser: OptimiserConfig = dataclasses.field(
        default_factory=lambda: OptimiserConfig(
            learning_rate=3e-3, warmup_steps=50, weight_decay=0.0, ema_decay=0.998
        )
    )
    images: AnatomyImageConfig = dataclasses.field(default_factory=AnatomyImageConfig)
    precision: Literal["float32", "bfloat16"] = "float32"
    backend: BackendName = "auto"
    log_every: int = 100
    save_every: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: at least 1")


def train_anatomy(
    examples: StructureExamples,
    cfg: AnatomyTrainingConfig,
    anatomy: AnatomyConfig,
    *,
    state_path: Path,
    progress: Progress,
) -> dict[str, Any]:
    """The averaged parameters after all steps; from the state that is there, where one is.

    Args:
      examples: to learn from.
      cfg: how.
      anatomy: the architecture, for as many structures as the examples have.
      state_path: where the state is saved, and looked for.
      progress: is told.

    Raises:
      InputError: a saved state of another training, or examples of another number of structures.
    """
    if anatomy.structures != len(examples.names):
        raise InputError(
            f"the examples have {len(examples.names)} structures, the anatomy {anatomy.structures}"
        )
    optimiser = make_optimiser(cfg.optimiser, cfg.steps)
    backend = make_backend(
        cfg.backend,
        _make_loss(cfg, anatomy),
        optimiser,
        batch=cfg.batch,
        ema_decay=cfg.optimiser.ema_decay,
    )
    params_key, step_key = jax.random.split(jax.random.key(cfg.seed))
    state = create_state(step_key, init_anatomy(params_key, anatomy), optimiser)
    training = _digest(examples, cfg, anatomy)
    if state_path.exists():
        state = load_state(state_path, state, training)
    state = backend.place_state(state)
    pending: list[Any] = []
    first = int(state.step)
    for step, chosen in enumerate(_choices(len(examples.images), cfg, first), start=first + 1):
        batch = {"image": examples.images[chosen], "structures": examples.structures[chosen]}
        state, metrics = backend.step(state, backend.place_batch(batch))
        pending.append(metrics)
        if step % cfg.log_every == 0 or step == cfg.steps:
            means = jax.tree.map(lambda *values: float(np.mean(values)), *jax.device_get(pending))
            progress(step, means)
            pending = []
        if step % cfg.save_every == 0 or step == cfg.steps:
            save_state(state_path, state, training)
    return jax.device_get(backend.gather(state.ema_params))


def held_out_dice(
    params: Any, examples: StructureExamples, anatomy: AnatomyConfig
) -> Float[ndarray, " s"]:
    """Mean Dice of each structure over the held-out images, each voxel having one name."""

    @jax.jit
    def name(image):
        logits = structure_logits(params, image[..., None].astype(np.float32), anatomy)
        return logits.argmax(-1) * (image > 0)

    found = []
    for image, structures in zip(examples.held_images, examples.held_structures, strict=True):
        names, truth = np.asarray(name(image)), structures * (image > 0)
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


def _digest(examples: StructureExamples, cfg: AnatomyTrainingConfig, anatomy: AnatomyConfig) -> str:
    """Of all that a training depends on."""
    digest = hashlib.sha256(repr((cfg, anatomy, examples.names)).encode())
    for array in (examples.images, examples.structures):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _choices(count: int, cfg: AnatomyTrainingConfig, first: int) -> Iterator[ndarray]:
    """Of each step after the first ones its examples, the same whenever it is taken."""
    for step in range(first, cfg.steps):
        yield np.random.default_rng((cfg.seed, step)).integers(count, size=cfg.batch)
