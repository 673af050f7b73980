"""Typed configuration of the network and of classical Demons.

Per-level tuples are indexed by level: entry 0 is the image's own resolution, entry l has voxels
2^l times as large. Of `residual_channels` and `squarings` the last entry also holds for all coarser
levels, and entries past the coarsest level are not used.
"""

from dataclasses import dataclass, fields
from typing import Literal

from drivenmorph_jax.errors import InputError

Sees = Literal["intensity", "detail", "mind"]
"""What is given of an image to what registers it."""

Precision = Literal["float32", "bfloat16"]
"""Of convolutions and attention."""

Remat = Literal["none", "iterations"]
"""What a derivative of the registration works out again instead of keeping it in memory."""


def _lists_to_tuples(config: "AnatomyConfig | ModelConfig | ClassicalConfig") -> None:
    """A config is a static argument of `jax.jit`, which hashes it."""
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, list):
            object.__setattr__(config, field.name, tuple(value))


@dataclass(frozen=True)
class AnatomyConfig:
    """The network that names structures, and what they count in the force of the last iterations.

    Attributes:
      structures: how many, the background not among them; both sides of the brain share theirs.
      channels: of each level, full resolution first.
      weight: of the squared difference of the probabilities, where that of the squared local
        correlation is 1; chosen on held-out training subjects (docs/experiments.md).
    """

    structures: int
    channels: tuple[int, ...] = (16, 32, 64, 96, 96)
    weight: float = 3.0

    def __post_init__(self) -> None:
        _lists_to_tuples(self)
        if self.structures < 1:
            raise InputError(f"model.anatomy.structures is {self.structures}: at least 1")
        if not self.channels or min(self.channels) < 1:
            raise InputError(
                f"model.anatomy.channels is {list(self.channels)}: one entry or more, all > 0"
            )
        if not self.weight > 0:
            raise InputError(f"model.anatomy.weight is {self.weight}: above 0")


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of DrivenMorph.

    Attributes:
      channels: encoder channels of levels 1, 2, …; the pyramid has one level more than entries.
      iterations: Demons iterations of every level, finest first; 0 carries no force.
      sees: what the network is given of an image: its "intensity"; its "detail", that is intensity
        of mean 0 and variance 1 in windows, as local correlation compares it; or for images that
        differ in contrast its self-similarity, "mind".
      demon_channels: C, channels of c(·), the features whose difference makes the force.
      attention_channels: channels of the unit-norm projection q(·).
      cross_attention: levels with local cross-attention between the images.
      self_attention: levels with self-attention over the discrepancy tokens.
      token_channels: width of a discrepancy token.
      window: tokens per axis of a self-attention window.
      global_tokens: attention is global up to this number of tokens, windowed above.
      symmetric: J = ½(∇c(F) + ∇c(M̃)); false is Thirion's J = ∇c(F).
      head: "demons" for the closed-form layer, "convolution" for the ablation in its place.
      update: "diffeomorphic" u ∘ exp(δ), or "additive" u + δ.
      residual_channels: width of the Demons layer's learned odd residual, per level; 0 is none.
      max_step: bound of one step's norm, in voxels of the level.
      squarings: of the exponential of one step, per level.
      fluid_sigma, diffusion_sigma: initial widths of the smoothings, in voxels of the level.
      correlation_iterations: further Demons iterations after all levels, per level, finest first,
        run coarse to fine; driven by the slope of the local correlation of intensities, or with
        "mind" of self-similarities.
      anatomy: names structures in both images, whose difference adds its force to those iterations
        at full resolution.
      precision: dtype of encoder, attention and anatomy; fields, solves and losses stay float32.
    """

    channels: tuple[int, ...] = (16, 32, 48)
    iterations: tuple[int, ...] = (1, 3, 4, 4)
    sees: Sees = "intensity"
    demon_channels: int = 4
    attention_channels: int = 8
    cross_attention: tuple[int, ...] = (2, 3)
    self_attention: tuple[int, ...] = (1, 2, 3)
    token_channels: int = 16
    window: int = 4
    global_tokens: int = 1500
    symmetric: bool = True
    head: Literal["demons", "convolution"] = "demons"
    update: Literal["diffeomorphic", "additive"] = "diffeomorphic"
    residual_channels: tuple[int, ...] = (0, 0, 8, 8)
    max_step: float = 0.75
    squarings: tuple[int, ...] = (1, 2, 2, 2)
    fluid_sigma: float = 1.0
    diffusion_sigma: float = 0.5
    correlation_iterations: tuple[int, ...] = ()
    anatomy: AnatomyConfig | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        _lists_to_tuples(self)
        if not self.channels or min(self.channels) < 1:
            raise InputError(f"model.channels is {list(self.channels)}: one entry or more, all > 0")
        if len(self.iterations) != self.levels or min(self.iterations) < 0:
            raise InputError(
                f"model.iterations is {list(self.iterations)}: needs {self.levels} entries of 0 or "
                f"more, one a level (channels has {len(self.channels)}, and level 0 has none there)"
            )
        for name in ("residual_channels", "squarings"):
            value = getattr(self, name)
            if not value or min(value) < 0:
                raise InputError(f"model.{name} is {list(value)}: one entry or more, none below 0")
        if not any(self.iterations):
            raise InputError("model.iterations is 0 everywhere: no level would carry a force")
        for name in ("cross_attention", "self_attention"):
            wrong = [level for level in getattr(self, name) if not 0 <= level < self.levels]
            if wrong:
                raise InputError(
                    f"model.{name} names level {wrong[0]}: 0 to {self.levels - 1} exist"
                )
        for name, least in {
            "demon_channels": 1,
            "attention_channels": 1,
            "token_channels": 1,
            "window": 1,
        }.items():
            if getattr(self, name) < least:
                raise InputError(f"model.{name} is {getattr(self, name)}: at least {least}")
        if min(self.correlation_iterations, default=0) < 0:
            raise InputError(
                f"model.correlation_iterations is {list(self.correlation_iterations)}: none below 0"
            )
        if not self.max_step > 0:
            raise InputError(f"model.max_step is {self.max_step}: voxels above 0")

    @property
    def levels(self) -> int:
        """Number of levels of the pyramid."""
        return len(self.channels) + 1

    def residual_channels_at(self, level: int) -> int:
        """`residual_channels` of a level."""
        return self.residual_channels[min(level, len(self.residual_channels) - 1)]

    def squarings_at(self, level: int) -> int:
        """`squarings` of a level."""
        return self.squarings[min(level, len(self.squarings) - 1)]


@dataclass(frozen=True)
class ClassicalConfig:
    """Classical Demons: the same layer driven by intensities, with nothing learned.

    Attributes:
      variant: "thirion" (J = ∇F) and "symmetric" (ESM) add the step, "diffeomorphic" (ESM)
        composes its exponential.
      sees: what is compared: "intensity", as Thirion and Vercauteren do; "detail", for one contrast
        with shading; or "mind", across contrasts. See `ModelConfig.sees`.
      iterations: per level, finest first.
      fluid_sigma: smoothing of the update, in voxels.
      diffusion_sigma: smoothing of the displacement, in voxels.
      alpha: weight of the difference in the denominator; a step never exceeds 1/(2√alpha) voxels.
      max_step: smooth bound of a step's norm, in voxels.
      squarings: of the exponential of one step.
    """

    variant: Literal["thirion", "symmetric", "diffeomorphic"] = "diffeomorphic"
    sees: Sees = "intensity"
    iterations: tuple[int, ...] = (20, 40, 60)
    fluid_sigma: float = 0.5
    diffusion_sigma: float = 1.2
    alpha: float = 0.0625
    max_step: float = 2.0
    squarings: int = 4

    def __post_init__(self) -> None:
        _lists_to_tuples(self)
