"""Two image files in, a registration in files out."""

from drivenmorph_jax.pipeline.methods import (
    Method,
    demons_method,
    network_method,
    refined_method,
)
from drivenmorph_jax.pipeline.pretrained import (
    Pretrained,
    load_checkpoint,
    load_pretrained,
    prolonged,
)
from drivenmorph_jax.pipeline.refinement import RefineConfig, refine, refine_config
from drivenmorph_jax.pipeline.register import register_files
from drivenmorph_jax.pipeline.registration import Registered, register_volumes

__all__ = [
    "Method",
    "Pretrained",
    "RefineConfig",
    "Registered",
    "demons_method",
    "load_checkpoint",
    "load_pretrained",
    "network_method",
    "prolonged",
    "refine",
    "refine_config",
    "refined_method",
    "register_files",
    "register_volumes",
]
