"""AdamW with warm-up, cosine decay, clipping, and the moving average of the parameters."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
    """Settings of the optimiser.

    The learning rate rises linearly over `warmup_steps` (at most half of the run) to
    `learning_rate`, then falls along a cosine to `final_fraction` of it at the last step.
    Weight decay is for kernels only: leaves of two or more axes.
    """

    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_fraction: float = 0.01
    weight_decay: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    clip_norm: float = 1.0
    ema_decay: float = 0.999


def learning_rate_schedule(cfg: OptimiserConfig, steps: int) -> optax.Schedule:
    """Learning rate as a function of the number of updates done, for a run of `steps` updates."""
    warmup = min(cfg.warmup_steps, steps // 2)
    return optax.warmup_cosine_decay_schedule(
        # Not zero: the first update of a run should do something.
        init_value=cfg.learning_rate / (warmup + 1),
        peak_value=cfg.learning_rate,
        warmup_steps=warmup,
        decay_steps=steps,
        end_value=cfg.learning_rate * cfg.final_fraction,
    )


def make_optimiser(cfg: OptimiserConfig, steps: int) -> optax.GradientTransformation:
    """Clip by the global norm, then AdamW (Loshchilov & Hutter, ICLR 2019)."""
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip_norm),
        optax.adamw(
            learning_rate_schedule(cfg, steps),
            b1=cfg.beta1,
            b2=cfg.beta2,
            weight_decay=cfg.weight_decay,
            mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim >= 2, params),
        ),
    )


def update_average(average: Any, params: Any, step: Int[Array, ""], decay: float) -> Any:
    """One step of the exponential moving average of the parameters.

    With d_t = min(decay, (1 + t) / (10 + t)) after t earlier updates, so that a short run is not
    dominated by its random start:  average <- d_t · average + (1 - d_t) · params.
    """
    rate = jnp.minimum(decay, (1.0 + step) / (10.0 + step))

    def blend(old: Array, new: Array) -> Array:
        return old + (1 - rate.astype(old.dtype)) * (new - old)

    return jax.tree.map(blend, average, params)
