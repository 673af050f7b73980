"""Rigid and affine alignment of brains, in JAX: compiled once, differentiable."""

from drivenmorph_jax.alignment.alignment import Alignment, AlignmentConfig, align
from drivenmorph_jax.alignment.search import Similarity

__all__ = ["Alignment", "AlignmentConfig", "Similarity", "align"]
