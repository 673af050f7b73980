"""Rigid and affine alignment of brains, in JAX: compiled once, differentiable."""

from drivenmorph_jax.alignment.alignment import Alignment, AlignmentConfig, align

__all__ = ["Alignment", "AlignmentConfig", "align"]
