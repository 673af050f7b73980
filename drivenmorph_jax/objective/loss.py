"""The training loss of a registration: its configuration and its terms."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.objective.consistency import inverse_consistency
from drivenmorph_jax.objective.force import (
    ForceLevels,
    Regularity,
    Similarity,
    force_supervision,
)
from drivenmorph_jax.objective.mind import mind
from drivenmorph_jax.objective.mutual_information import mutual_information
from drivenmorph_jax.objective.overlap import one_hot, soft_dice
from drivenmorph_jax.objective.regularity import bending_energy, diffusion, jacobian_hinge
from drivenmorph_jax.objective.similarity import lncc, mse
from drivenmorph_jax.spatial.masks import brain_mask
from drivenmorph_jax.spatial.resize import downsample, resize_displacement
from drivenmorph_jax.spatial.sampling import warp


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Terms of the loss and their weights; a term whose weight is 0 is not computed.

    Attributes:
      similarity: lncc or mse for one contrast, mi or mind across contrasts; over both brains.
      similarity_weight: of the similarity; at 0, for images that cannot be compared, the force is
        supervised by soft Dice.
      lncc_window: odd width of the lncc windows, in voxels.
      regularity: diffusion (first derivatives) or bending (second derivatives).
      regularity_weight: of the regularity, in the main term and in the force supervision alike.
      force_weight: of the deep supervision of the force; 0 is the ablation without it.
      dice_weight: of soft Dice; needs labels.
      dice_level: that soft Dice is worked out at: 0 is full resolution, 1 half of it (labels are
        then shares of a voxel), an eighth of the work.
      jacobian_weight: of the hinge on folded voxels.
      inverse_consistency_weight: needs the backward displacement.
    """

    similarity: Literal["lncc", "mse", "mi", "mind"] = "lncc"
    similarity_weight: float = 1.0
    lncc_window: int = 5
    regularity: Literal["diffusion", "bending"] = "diffusion"
    regularity_weight: float = 1.0
    force_weight: float = 1.0
    dice_weight: float = 0.0
    dice_level: int = 0
    jacobian_weight: float = 0.0
    inverse_consistency_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.dice_level < 0:
            raise InputError(f"loss.dice_level is {self.dice_level}: 0 or more")
        if self.lncc_window < 1 or self.lncc_window % 2 == 0:
            raise InputError(f"loss.lncc_window is {self.lncc_window}: an odd number of voxels")
        if not (self.similarity_weight or self.dice_weight):
            raise InputError(
                "loss.similarity_weight and dice_weight are both 0: nothing would be learned from "
                "the images"
            )


class Registered(ForceLevels, Protocol):
    """A registration: the final field, in voxels of the fixed image, and its levels."""

    @property
    def displacement(self) -> Float[Array, "*space n"]: ...


def registration_loss(
    registration: Registered,
    fixed: Float[Array, "*space c"],
    moving: Float[Array, "*space c"],
    cfg: LossConfig,
    *,
    fixed_labels: Int[Array, "*space"] | None = None,
    moving_labels: Int[Array, "*space"] | None = None,
    label_values: Sequence[int] = (),
    backward: Float[Array, "*space n"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Σ weight · term over the terms of `cfg`, and the terms by name, unweighted.

        w_s·similarity(F, M∘φ) + λ·regularity(φ) + w_f·force + w_d·dice + w_j·jacobian + w_i·inverse

    Args:
      registration: its `displacement` (D, H, W, 3) pulls the moving image back, and its `levels`
        carry the force fields.
      fixed, moving: (D, H, W, C), background exactly 0.
      cfg: static: mark it so under `jax.jit`.
      fixed_labels, moving_labels: (D, H, W) integers, for soft Dice.
      label_values: the labels that count there.
      backward: (D, H, W, 3), the displacement of the exchanged pair, for inverse consistency.

    Returns:
      The loss, and its terms: "similarity", "regularity", "force", "dice", "jacobian" and
      "inverse_consistency" where their weight is not 0.

    Raises:
      ValueError: a weight is set and what its term needs is missing.
    """
    similarity, regularity = similarity_of(cfg), regularity_of(cfg)
    displacement = registration.displacement
    weights, terms = {}, {}
    if cfg.similarity_weight:
        weights["similarity"] = cfg.similarity_weight
        terms["similarity"] = similarity(fixed, warp(moving, displacement))
    if cfg.regularity_weight:
        weights["regularity"] = cfg.regularity_weight
        terms["regularity"] = regularity(displacement)
    if cfg.force_weight:
        weights["force"] = cfg.force_weight
        compared = (fixed, moving)
        if not cfg.similarity_weight:
            compared = _one_hot_pair(fixed_labels, moving_labels, label_values, "force_weight")
            similarity = soft_dice
        terms["force"] = force_supervision(
            *compared,
            registration,
            similarity=similarity,
            regularity_weight=cfg.regularity_weight,
            regularity=regularity,
        )
    if cfg.dice_weight:
        weights["dice"] = cfg.dice_weight
        _require_labels(fixed_labels, moving_labels, label_values, "dice_weight")
        labels = (fixed_labels, moving_labels, tuple(label_values))
        terms["dice"] = _dice(*labels, displacement, cfg.dice_level)
    if cfg.jacobian_weight:
        weights["jacobian"] = cfg.jacobian_weight
        terms["jacobian"] = jacobian_hinge(displacement)
    if cfg.inverse_consistency_weight:
        if backward is None:
            raise ValueError("inverse_consistency_weight needs the backward displacement")
        weights["inverse_consistency"] = cfg.inverse_consistency_weight
        terms["inverse_consistency"] = inverse_consistency(displacement, backward)
    loss = jnp.stack([weights[name] * term for name, term in terms.items()]).sum()
    return loss, terms


def similarity_of(cfg: LossConfig, compared: Bool[Array, "*space"] | None = None) -> Similarity:
    """The configured dissimilarity (fixed, warped) -> loss, averaged over both brains.

    Args:
      cfg: names it.
      compared: (D, H, W), the voxels that count; None is all. LNCC's windows see nothing else, or
        what is not compared would still draw its edge.
    """
    functions = {
        "lncc": functools.partial(lncc, window=cfg.lncc_window, seen=compared),
        "mse": mse,
        "mi": mutual_information,
        "mind": mind,
    }
    if cfg.similarity not in functions:
        raise ValueError(f"unknown similarity {cfg.similarity!r}: use one of {sorted(functions)}")
    function = functions[cfg.similarity]

    def over_both_brains(fixed, warped):
        mask = brain_mask(fixed, warped)
        return function(fixed, warped, mask=mask if compared is None else mask & compared)

    return over_both_brains


def regularity_of(cfg: LossConfig) -> Regularity:
    """The configured regularity, of a displacement in voxels."""
    functions = {"diffusion": diffusion, "bending": bending_energy}
    if cfg.regularity not in functions:
        raise ValueError(f"unknown regularity {cfg.regularity!r}: use one of {sorted(functions)}")
    return functions[cfg.regularity]


def _require_labels(fixed_labels, moving_labels, label_values, needed_by: str) -> None:
    if fixed_labels is None or moving_labels is None or not label_values:
        raise ValueError(f"{needed_by} needs fixed_labels, moving_labels and label_values")


def _one_hot_pair(fixed_labels, moving_labels, label_values, needed_by: str):
    _require_labels(fixed_labels, moving_labels, label_values, needed_by)
    return one_hot(fixed_labels, label_values), one_hot(moving_labels, label_values)


@functools.partial(jax.checkpoint, static_argnums=(2, 4))
def _dice(fixed_labels, moving_labels, label_values, displacement, level: int):
    """Recomputed in the backward pass: one-hot maps of many labels outweigh all other terms."""
    fixed_onehot = one_hot(fixed_labels, label_values, displacement.dtype)
    moving_onehot = one_hot(moving_labels, label_values, displacement.dtype)
    for _ in range(level):
        fixed_onehot, moving_onehot = downsample(fixed_onehot), downsample(moving_onehot)
        half = fixed_onehot.shape[:-1]
        displacement = resize_displacement(displacement, half, factor=0.5)
    return soft_dice(fixed_onehot, warp(moving_onehot, displacement))
