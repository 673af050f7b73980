"""Learned deformable registration of 3D brain MRI, driven by an explicit force, in JAX.

The names below are the public interface; each is imported from its module when first used, so that
`drivenmorph --help` need not load JAX.
"""

from typing import TYPE_CHECKING

from drivenmorph_jax.lazy import lazy_names

if TYPE_CHECKING:
    from drivenmorph_jax.errors import InputError as InputError
    from drivenmorph_jax.model import ClassicalConfig as ClassicalConfig
    from drivenmorph_jax.model import CorrelationResult as CorrelationResult
    from drivenmorph_jax.model import DemonsConfig as DemonsConfig
    from drivenmorph_jax.model import Features as Features
    from drivenmorph_jax.model import Force as Force
    from drivenmorph_jax.model import Ignored as Ignored
    from drivenmorph_jax.model import LevelResult as LevelResult
    from drivenmorph_jax.model import ModelConfig as ModelConfig
    from drivenmorph_jax.model import Params as Params
    from drivenmorph_jax.model import Registration as Registration
    from drivenmorph_jax.model import channel_force as channel_force
    from drivenmorph_jax.model import classical_demons as classical_demons
    from drivenmorph_jax.model import demons_scan as demons_scan
    from drivenmorph_jax.model import demons_step as demons_step
    from drivenmorph_jax.model import driving_force as driving_force
    from drivenmorph_jax.model import encode as encode
    from drivenmorph_jax.model import init as init
    from drivenmorph_jax.model import register as register
    from drivenmorph_jax.model import register_finer as register_finer
    from drivenmorph_jax.pipeline.pretrained import load_pretrained as load_pretrained
    from drivenmorph_jax.pipeline.world_registration import register_in_world as register_in_world
    from drivenmorph_jax.spatial.fields import compose as compose
    from drivenmorph_jax.spatial.fields import exponential as exponential
    from drivenmorph_jax.spatial.inverse import invert as invert
    from drivenmorph_jax.spatial.jacobian import jacobian_determinant as jacobian_determinant
    from drivenmorph_jax.spatial.sampling import sample as sample
    from drivenmorph_jax.spatial.sampling import warp as warp
    from drivenmorph_jax.spatial.world_map import WorldMap as WorldMap

_MODULES = {
    "errors": ("InputError",),
    "model": (
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
        "init",
        "register",
        "register_finer",
    ),
    "pipeline.pretrained": ("load_pretrained",),
    "pipeline.world_registration": ("register_in_world",),
    "spatial.fields": ("compose", "exponential"),
    "spatial.inverse": ("invert",),
    "spatial.jacobian": ("jacobian_determinant",),
    "spatial.sampling": ("sample", "warp"),
    "spatial.world_map": ("WorldMap",),
}
__getattr__, __dir__, __all__ = lazy_names(__name__, _MODULES)  # pyright: ignore[reportUnsupportedDunderAll]
