"""Neural Demons layer: displacement from force.

Its only input beside the displacement is a force with its own metric (`Force`); no image feature
crosses this line. Classical Demons runs on the same functions with fixed constants.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.model.difference import Force
from drivenmorph_jax.spatial.convolution import conv_general_dilated
from drivenmorph_jax.spatial.fields import compose, exponential
from drivenmorph_jax.spatial.filters import gaussian_smooth

ETA = 1e-4
"""Relative floor of the metric: without it a float32 solve fails where |r| << |J|."""


Driven = TypeVar("Driven")
"""What drives a step: a `Force`, or one without a metric."""

State = TypeVar("State")
"""What the iterations carry: the displacement, alone or among other things."""


class DemonsConfig(NamedTuple):
    """What is fixed about one Demons layer; see the fields of the same names in `ModelConfig`."""

    max_step: float = 0.5
    squarings: int = 2
    diffeomorphic: bool = True


class DemonsStep(NamedTuple):
    """One iteration of the layer.

    Attributes:
      displacement: u after the step, (d, h, w, 3), voxels of the level.
      velocity: the bounded and smoothed step, whose exponential was composed with u; voxels.
      raw_step: δ = s·(H + λI)⁻¹f before residual, bound and smoothing; voxels.
    """

    displacement: Float[Array, "d h w 3"]
    velocity: Float[Array, "d h w 3"]
    raw_step: Float[Array, "d h w 3"]


def init_demons(
    key,
    *,
    fluid_sigma: float = 1.0,
    diffusion_sigma: float = 0.5,
    residual_channels: int = 0,
    convolution: bool = False,
):
    """Parameters of one layer: scale, damping, smoothing widths, and the optional networks.

    Args:
      key: for the networks' weights.
      fluid_sigma, diffusion_sigma: initial widths of the smoothings, voxels; 0 leaves one out.
      residual_channels: width of the learned odd residual, 0 for none.
      convolution: use a convolutional head in place of the closed-form solve (an ablation).
    """
    params: dict[str, Any] = {
        "log_scale": jnp.zeros((), jnp.float32),
        "log_alpha": jnp.asarray(jnp.log(0.1), jnp.float32),
        "log_epsilon": jnp.asarray(jnp.log(0.01), jnp.float32),
    }
    if fluid_sigma:
        params["log_fluid_sigma"] = jnp.asarray(jnp.log(fluid_sigma), jnp.float32)
    if diffusion_sigma:
        params["log_diffusion_sigma"] = jnp.asarray(jnp.log(diffusion_sigma), jnp.float32)
    if residual_channels:
        variables = OddResidual(residual_channels).init(key, jnp.zeros((4, 4, 4, 3)))
        params["residual"] = variables["params"]
    if convolution:
        params["convolution"] = ConvolutionHead().init(key, jnp.zeros((4, 4, 4, 10)))["params"]
    return params


def solve_step(
    force: Force, *, alpha: float | Array = 1.0, epsilon: float | Array = 0.0, eta: float = ETA
) -> Float[Array, "d h w 3"]:
    """(H + λI)⁻¹f with λ = α·e + ε + η·tr(H)/3, by an LDLᵀ factorisation at each voxel.

    For one channel of weight 1, ε = η = 0: Thirion's, or the symmetric, Demons step
    r∇/(|∇|² + α r²), so that ‖δ‖ <= 1/(2√α); the bound holds for any channels and weights >= 0
    as long as f = JᵀWr. Where force and metric vanish the step is 0, and so are its derivatives.
    """
    h00, h11, h22, h01, h02, h12 = (force.metric[..., i] for i in range(6))
    damping = alpha * force.energy[..., 0] + epsilon + eta * (h00 + h11 + h22) / 3
    tiny = jnp.finfo(damping.dtype).tiny ** 0.5
    # λ bounds every pivot from below in exact arithmetic; in float32 the maximum restores that.
    damping = jnp.maximum(damping, tiny)
    d0 = h00 + damping
    l10, l20 = h01 / d0, h02 / d0
    d1 = jnp.maximum(h11 + damping - l10 * h01, damping)
    l21 = (h12 - l20 * h01) / d1
    d2 = jnp.maximum(h22 + damping - l20 * h02 - l21 * (h12 - l20 * h01), damping)
    y0, f1, f2 = (force.force[..., i] for i in range(3))
    y1 = f1 - l10 * y0
    y2 = f2 - l20 * y0 - l21 * y1
    z2 = y2 / d2
    z1 = y1 / d1 - l21 * z2
    z0 = y0 / d0 - l10 * z1 - l20 * z2
    return jnp.stack([z0, z1, z2], axis=-1)


def bounded(step: Float[Array, "d h w 3"], max_step: float) -> Float[Array, "d h w 3"]:
    """Smooth clip δ / √(1 + |δ|²/m²): keeps the direction, and the norm below m."""
    squared = (step / max_step) ** 2
    return step * lax.rsqrt(1 + squared.sum(-1, keepdims=True))


def demons_step(
    params,
    force: Force,
    displacement: Float[Array, "d h w 3"],
    cfg: DemonsConfig = DemonsConfig(),
) -> DemonsStep:
    """Force to displacement: solve, bound, smooth the step, compose, smooth the displacement.

    δ = s·(H + λI)⁻¹f + odd residual; v = G_fluid * bounded(δ); u ← G_diffusion * (u ∘ exp(v)).

    Args:
      params: one level of the "demons" subtree; parts that are absent are left out.
      force: force with its metric, from `driving_force`, `channel_force` or a user's own network.
      displacement: u before the step, voxels of the level.
      cfg: bound, squarings, and whether the update is diffeomorphic.
    """
    raw = raw_step(params, force)
    step = raw
    if "residual" in params:
        width = params["residual"]["inner"]["kernel"].shape[-1]
        residual = OddResidual(width).apply({"params": params["residual"]}, raw)
        step = step + cast(Array, residual)
    velocity = smoothed_velocity(params, step, cfg)
    return DemonsStep(apply_velocity(params, displacement, velocity, cfg), velocity, raw)


def raw_step(params, force: Force) -> Float[Array, "d h w 3"]:
    """δ = s·(H + λI)⁻¹f, or the convolutional head's answer where that ablation is on."""
    if "convolution" in params:
        packed = jnp.concatenate([force.force, force.metric, force.energy], axis=-1)
        head = ConvolutionHead().apply({"params": params["convolution"]}, packed)
        return cast(Array, head)
    step = solve_step(
        force, alpha=jnp.exp(params["log_alpha"]), epsilon=jnp.exp(params["log_epsilon"])
    )
    return jnp.exp(params["log_scale"]) * step


def smoothed_velocity(params, step, cfg: DemonsConfig) -> Float[Array, "d h w 3"]:
    """Bound the step's norm, then smooth it with the fluid Gaussian, which keeps the bound."""
    velocity = bounded(step, cfg.max_step)
    if "log_fluid_sigma" in params:
        velocity = gaussian_smooth(velocity, jnp.exp(params["log_fluid_sigma"]))
    return velocity


def apply_velocity(params, displacement, velocity, cfg: DemonsConfig) -> Float[Array, "d h w 3"]:
    """u ← u ∘ exp(v), or u + v; then diffusion smoothing."""
    if cfg.diffeomorphic:
        updated = compose(displacement, exponential(velocity, squarings=cfg.squarings))
    else:
        updated = displacement + velocity
    if "log_diffusion_sigma" in params:
        updated = gaussian_smooth(updated, jnp.exp(params["log_diffusion_sigma"]))
    return updated


def demons_scan(
    force_at: Callable[[State], Driven],
    step: Callable[[Driven, State], tuple[State, Any]],
    displacement: State,
    iterations: int,
    *,
    unroll: bool = False,
    recompute: bool = True,
):
    """Alternate force and step under `lax.scan`, the body under `jax.checkpoint` (of one
    iteration there is nothing to save).

    Args:
      force_at: the force at a displacement: warps the moving image's features and compares them.
      step: (force, u) to (u, record); the record of each iteration is stacked and returned.
      displacement: u at the start, voxels of the level, (d, h, w, 3); or any pytree that holds it.
      iterations: K.
      unroll: write the iterations out; convolutions inside a scan are slow on CPU.
      recompute: keep of each iteration its start alone, and work it out again for the derivative.

    Returns:
      (u after K iterations, records with a leading axis K).
    """

    def body(u, _):
        return step(force_at(u), u)

    if recompute and iterations > 1:
        body = jax.checkpoint(body, prevent_cse=False)
    return lax.scan(body, displacement, None, length=iterations, unroll=unroll or 1)


class OddResidual(nn.Module):
    """A learned correction of the step: bias-free and odd, so that 0 stays 0; starts at 0."""

    channels: int

    @nn.compact
    def __call__(self, step: Float[Array, "d h w 3"]) -> Float[Array, "d h w 3"]:
        conv = {"use_bias": False, "conv_general_dilated": conv_general_dilated}
        hidden = jnp.tanh(nn.Conv(self.channels, (3, 3, 3), name="inner", **conv)(step))
        zero = nn.initializers.zeros_init()
        return nn.Conv(3, (3, 3, 3), name="outer", kernel_init=zero, **conv)(hidden)


class ConvolutionHead(nn.Module):
    """Ablation: a plain convolutional head from (f, H, e) to a step, in place of the solve."""

    channels: int = 16

    @nn.compact
    def __call__(self, packed: Float[Array, "d h w 10"]) -> Float[Array, "d h w 3"]:
        x = nn.leaky_relu(self._conv(self.channels, "first")(packed), 0.2)
        x = nn.leaky_relu(self._conv(self.channels, "second")(x), 0.2)
        return self._conv(3, "last", nn.initializers.normal(1e-3))(x)

    def _conv(self, width, name, kernel_init=None):
        options = {} if kernel_init is None else {"kernel_init": kernel_init}
        return nn.Conv(
            width,
            (3, 3, 3),
            use_bias=False,
            name=name,
            conv_general_dilated=conv_general_dilated,
            **options,
        )
