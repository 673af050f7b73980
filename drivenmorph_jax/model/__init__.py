"""The registration network: encoder, difference stream, Demons layer, and their pyramid."""

from drivenmorph_jax.model.classical import classical_demons
from drivenmorph_jax.model.config import ClassicalConfig, ModelConfig
from drivenmorph_jax.model.correlation import CorrelationResult
from drivenmorph_jax.model.demons import (
    DemonsConfig,
    demons_scan,
    demons_step,
    init_demons,
    solve_step,
)
from drivenmorph_jax.model.difference import Force, channel_force, driving_force
from drivenmorph_jax.model.drivenmorph import Params, init, register
from drivenmorph_jax.model.encoder import Features, encode
from drivenmorph_jax.model.finer import finer_iterations, register_finer
from drivenmorph_jax.model.ignored import Ignored
from drivenmorph_jax.model.result import LevelResult, Registration

__all__ = [
    "ClassicalConfig",
    "CorrelationResult",
    "DemonsConfig",
    "Features",
    "Force",
    "Ignored",
    "LevelResult",
    "ModelConfig",
    "Params",
    "Registration",
    "channel_force",
    "classical_demons",
    "demons_scan",
    "demons_step",
    "driving_force",
    "encode",
    "finer_iterations",
    "init",
    "init_demons",
    "register",
    "register_finer",
    "solve_step",
]
