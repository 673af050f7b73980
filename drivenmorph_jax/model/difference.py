"""Difference stream: the driving force, from differences of features alone.

It knows nothing of smoothing or composition. What leaves it is a force with its own metric, and the
Demons layer sees nothing else.
"""

from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.model.attention import Correspondence, TokenAttention, local_cross_attention
from drivenmorph_jax.model.config import ModelConfig
from drivenmorph_jax.model.encoder import Features
from drivenmorph_jax.spatial.filters import gradient


class Force(NamedTuple):
    """A driving force with its own metric.

    Attributes:
      force: f = JᵀWr + g·ρ(r)·μ, (d, h, w, 3), feature² per voxel: a covector.
      metric: H = JᵀWJ, (d, h, w, 6): the entries 00, 11, 22, 01, 02, 12.
      energy: e = rᵀWr, (d, h, w, 1).
      attention_force: the second term of f alone.
    """

    force: Float[Array, "d h w 3"]
    metric: Float[Array, "d h w 6"]
    energy: Float[Array, "d h w 1"]
    attention_force: Float[Array, "d h w 3"]


def channel_force(
    fixed: Float[Array, "d h w c"],
    moving: Float[Array, "d h w c"],
    weight: Float[Array, "d h w c"] | float = 1.0,
    *,
    symmetric: bool = True,
) -> Force:
    """JᵀWr with H and e, for any channels: intensities (classical Demons), or learned ones.

    r = c(F) - c(M̃) and J = ½(∇c(F) + ∇c(M̃)), the symmetric (ESM) Jacobian of Vercauteren et al.,
    NeuroImage 2009, or ∇c(F) (Thirion, 1998). The force is the negative gradient of ½‖r‖²_W.

    Args:
      fixed, moving: channels of the fixed and of the warped moving image.
      weight: non-negative channel weights w, W = diag(w).
      symmetric: which Jacobian.
    """
    residual = fixed - moving
    j = gradient(0.5 * (fixed + moving) if symmetric else fixed)
    weight = jnp.broadcast_to(jnp.asarray(weight, residual.dtype), residual.shape)
    wj = [weight * column for column in j]
    force = jnp.stack([(column * residual).sum(-1) for column in wj], axis=-1)
    pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    metric = jnp.stack([(wj[a] * j[b]).sum(-1) for a, b in pairs], axis=-1)
    energy = (weight * residual**2).sum(-1, keepdims=True)
    return Force(force, metric, energy, jnp.zeros_like(force))


def driving_force(params, fixed: Features, moving: Features, cfg: ModelConfig) -> Force:
    """Driving force between a fixed and a warped moving image at one level.

    Args:
      params: one level of the "difference" subtree.
      fixed: features of the fixed image.
      moving: features of the moving image, warped to the fixed grid.
      cfg: the architecture.
    """
    correspondence = None
    if fixed.attention.shape[-1]:
        correspondence = local_cross_attention(
            params["cross_attention"], fixed.attention, moving.attention, fixed.demon, moving.demon
        )
    head = DiscrepancyHead(cfg, self_attention="attention" in params["head"])
    answer = head.apply({"params": params["head"]}, fixed, moving, correspondence)
    weight, gate = cast(tuple[Array, Array], answer)
    gradient_force = channel_force(fixed.demon, moving.demon, weight, symmetric=cfg.symmetric)
    if correspondence is None:
        return gradient_force
    squared = ((fixed.demon - moving.demon) ** 2).sum(-1, keepdims=True)
    presence = squared / (squared + jnp.exp(params["log_kappa"]))
    attention_force = gate * presence * correspondence.motion
    return gradient_force._replace(
        force=gradient_force.force + attention_force, attention_force=attention_force
    )


def init_difference(key, fixed: Features, moving: Features, cfg: ModelConfig, *, level: int):
    """Parameters of one level of the difference stream; the features give the shapes."""
    params = {}
    correspondence = None
    if fixed.attention.shape[-1]:
        bias = jnp.zeros(14, jnp.float32).at[13].set(1.0)
        temperature = jnp.asarray(jnp.log(0.1), jnp.float32)
        params["cross_attention"] = {"log_temperature": temperature, "bias": bias}
        params["log_kappa"] = jnp.asarray(jnp.log(0.5), jnp.float32)
        correspondence = local_cross_attention(
            params["cross_attention"], fixed.attention, moving.attention, fixed.demon, moving.demon
        )
    head = DiscrepancyHead(cfg, self_attention=level in cfg.self_attention)
    variables = head.init(key, fixed, moving, correspondence)
    params["head"] = variables["params"]
    return params


class DiscrepancyHead(nn.Module):
    """Channel weights w >= 0 and gate g >= 0 from discrepancy tokens.

    Both must be even under exchange of the images, so that the force is odd. Every token is even
    itself: the head is then even by construction, at half the cost of a mean over both orders.
    """

    cfg: ModelConfig
    self_attention: bool

    @nn.compact
    def __call__(self, fixed: Features, moving: Features, correspondence: Correspondence | None):
        cfg = self.cfg
        mask = lax.stop_gradient(
            jnp.maximum(fixed.mask, (moving.mask > 0).astype(fixed.mask.dtype))
        )
        dtype = jnp.bfloat16 if cfg.precision == "bfloat16" else None
        tokens = discrepancy_tokens(fixed, moving, correspondence)
        tokens = nn.Dense(cfg.token_channels, name="embed", dtype=dtype)(tokens)
        tokens = nn.leaky_relu(tokens.astype(fixed.demon.dtype), 0.2) * mask
        if self.self_attention:
            tokens = TokenAttention(cfg.window, cfg.global_tokens, dtype, name="attention")(
                tokens, mask
            )
        hidden = nn.Dense(cfg.token_channels, name="hidden", dtype=dtype)(tokens)
        hidden = nn.leaky_relu(hidden.astype(fixed.demon.dtype), 0.2)
        channels = fixed.demon.shape[-1]
        output = nn.Dense(channels + 1, name="output", kernel_init=nn.initializers.normal(0.01))
        raw = jax.nn.softplus(output(hidden)) * mask
        return raw[..., :channels], raw[..., channels:]


def discrepancy_tokens(
    fixed: Features, moving: Features, correspondence: Correspondence | None
) -> Float[Array, "d h w t"]:
    """What the head is shown at a voxel: how different the images are, how, and where to.

    From r, the mean of c, |∇c|², q⊙q, and, with cross-attention, the attended residuals, |μ|² and
    the agreement Jᵀr·μ of gradient and attention: each even under exchange of the images.
    """
    residual = fixed.demon - moving.demon
    mean = 0.5 * (fixed.demon + moving.demon)
    slopes = gradient(mean)
    steepness = slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2
    parts = [jnp.log1p(residual**2), mean, jnp.log1p(steepness)]
    if correspondence is not None:
        motion = correspondence.motion
        attended = 0.5 * (
            (fixed.demon - correspondence.attended_moving) ** 2
            + (moving.demon - correspondence.attended_fixed) ** 2
        )
        pull = jnp.stack([(residual * slope).sum(-1) for slope in slopes], axis=-1)
        parts += [
            fixed.attention * moving.attention,
            jnp.log1p(attended),
            (motion**2).sum(-1, keepdims=True),
            jnp.tanh((pull * motion).sum(-1, keepdims=True)),
        ]
    return jnp.concatenate(parts, axis=-1)
