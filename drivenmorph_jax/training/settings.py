"""How a run is trained: the `training` section of a config."""

import dataclasses
from collections.abc import Iterable
from typing import Literal

from drivenmorph_jax.data.synthesis import SynthesisConfig
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.config import Remat
from drivenmorph_jax.training.augment import AugmentConfig
from drivenmorph_jax.training.optimiser import OptimiserConfig
from drivenmorph_jax.training.parallel import BackendName


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Settings of a run.

    Attributes:
        steps: updates in all, those before a resume included.
        batch: pairs per update, over all devices.
        initial_weights: folder of exported weights to start from; null for random parameters, and
          so start levels that carried no force there.
        accumulate: parts that a device works its pairs of an update through in, one after the
            other; the update is the same, the memory that of one part.
        seed: of the parameters, the order of the pairs and every random draw.
        backend: "single", "pmap" (data-parallel over the devices of one process), "mesh"
            (data-parallel over those of all processes), or "auto".
        remat: what the gradient works out again instead of keeping it: "none", or "iterations"
            with less memory and more time; see `register`.
        space: devices that share one volume, each with a slab of it; the second axis of the images
            must be a multiple of twice that. Above 1, `backend` must be "mesh" or "auto".
        shard_state: parameters, their average and the optimiser's moments are split over the
            devices between steps (FSDP), and parameters gathered for a step; with "mesh" or "auto".
        log_every, evaluate_every, checkpoint_every: in steps; 0 for never (the last step is
            always logged, evaluated unless `evaluate_every` is 0, and saved).
        keep: checkpoints kept beside the best one.
        best_metric, best_mode: which evaluation result names the best checkpoint.
        tensorboard: also write TensorBoard event files.
        optimiser, augment, synthesis: see their own classes.
    """

    steps: int = 1000
    batch: int = 1
    initial_weights: str | None = None
    accumulate: int = 1
    seed: int = 0
    backend: BackendName = "auto"
    remat: Remat = "iterations"
    space: int = 1
    shard_state: bool = False
    log_every: int = 10
    evaluate_every: int = 250
    checkpoint_every: int = 250
    keep: int = 3
    best_metric: str = "dice"
    best_mode: Literal["max", "min"] = "max"
    tensorboard: bool = True
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    synthesis: SynthesisConfig = dataclasses.field(default_factory=SynthesisConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "space", "keep", "seed"):
            least = 0 if name == "seed" else 1
            if getattr(self, name) < least:
                raise InputError(f"training.{name} is {getattr(self, name)}: at least {least}")
        for name in ("log_every", "evaluate_every", "checkpoint_every"):
            if getattr(self, name) < 0:
                raise InputError(f"training.{name} is {getattr(self, name)}: 0 (never) or more")
        if self.backend in ("single", "pmap"):
            for name, off in {"space": 1, "shard_state": False}.items():
                if getattr(self, name) != off:
                    raise InputError(
                        f"training.{name} is {getattr(self, name)}, but training.backend is "
                        f"{self.backend}: set training.backend=mesh"
                    )

    def check_best_metric(self, given: Iterable[str]) -> None:
        """Raise InputError unless `best_metric` is among the results that an evaluation gives."""
        if self.best_metric not in given:
            raise InputError(
                f"training.best_metric is {self.best_metric!r}, but evaluation gives "
                f"{', '.join(sorted(given))}"
            )
