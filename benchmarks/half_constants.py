"""Constants of the iterations at half the resolution, judged on what is not MALF.

    python benchmarks/half_constants.py [--cases NAME …] [--variants NAME …] [--threads N]

The default weights at 2 mm (DRIVENMORPH_DATA), whose iterations at 4 mm are those of a variant: on
the pairs of the held-out *training* subjects of IXI, and on pairs of people painted like a T1 from
label maps (`painted.py`), by the Dice of 31 structures; and on each of those subjects and itself
after a known deformation, by the mean error at 2,000 points. Every case and variant is kept in
OUTPUT/half_constants.jsonl, so that the script continues where it was stopped; the table of what is
kept is printed, and written to OUTPUT/half_constants.md.
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from constants import Study, main
from judged import PAINTED, Bounds, Judged, deformed, painted_people, people
from numpy import ndarray

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.config import load_config
from drivenmorph_jax.data import EvaluationData, load_training
from drivenmorph_jax.model import ModelConfig, Params, register
from drivenmorph_jax.model.correlation_parameters import Steps, comparison, layer_of
from drivenmorph_jax.pipeline.pretrained import load_pretrained

# Raise it whenever a case would give other figures with the same constants.
VERSION = 1
CONFIG = pathlib.Path(__file__).resolve().parents[1] / "configs" / "ixi_2mm.yaml"
SPACING = 2.0
_PAIRS, _SUBJECTS = 6, 4  # of the six held out
_PARTS: tuple[Bounds, ...] = (((25.0, 40.0), (12.0, 4.0)), ((14.0, 20.0), (4.0, 1.3)))


class Variant(NamedTuple):
    """The constants, those alone that a layer's parameters hold, and the number of iterations."""

    steps: Steps
    iterations: int


_RELEASED = comparison(load_pretrained().config).steps_at(1)
VARIANTS = {
    "none": Variant(_RELEASED, 0),
    "released": Variant(_RELEASED, 60),
    "30 iterations": Variant(_RELEASED, 30),
    "120 iterations": Variant(_RELEASED, 120),
    "fluid sigma 1": Variant(_RELEASED._replace(fluid_sigma=1.0), 60),
    "fluid sigma 2": Variant(_RELEASED._replace(fluid_sigma=2.0), 60),
    "diffusion sigma 0.35": Variant(_RELEASED._replace(diffusion_sigma=0.35), 60),
    "first released": Variant(Steps(scale=0.5, fluid_sigma=0.7, diffusion_sigma=0.35), 60),
}


def make_study(data: pathlib.Path) -> Study:
    """The study; images of IXI are those of the config."""
    cases = {f"people {place}": partial(pair, place) for place in range(_PAIRS)}
    cases |= {f"painted {a} {b}": partial(painted_people, a, b, SPACING, data) for a, b in PAINTED}
    cases |= {f"deformed {place}": partial(itself, place) for place in range(_SUBJECTS)}
    variants = {name: list(variant) for name, variant in VARIANTS.items()}
    weights = load_pretrained()
    told = [VERSION, weights.sha256, comparison(weights.config)._asdict()]
    return Study("half_constants", told, variants, cases, finder)


@functools.cache
def held_out() -> EvaluationData:
    return load_training(load_config(CONFIG).data, progress=say)[1]


def pair(place: int) -> Judged:
    """A held-out subject onto another."""
    data = held_out()
    assert data.label_table is not None, "the config names labels"
    fixed, moving = (data.subjects[index] for index in data.pairs[place])
    return people(fixed, moving, data.label_table.values)


def itself(place: int) -> Judged:
    """A held-out subject, and the same after a known deformation."""
    image = np.asarray(held_out().subjects[place].image, np.float32)
    return deformed(image, place, SPACING, _PARTS)


def finder(fixed: ndarray, moving: ndarray) -> Callable[[str], ndarray]:
    """A pair's displacement by a variant."""
    weights = load_pretrained()

    def find(name: str) -> ndarray:
        steps, iterations = VARIANTS[name]
        layers = weights.params["demons"] | {"correlation_1": layer_of(steps)}
        counts = (weights.config.correlation_iterations[0], iterations)
        cfg = dataclasses.replace(weights.config, correlation_iterations=counts)
        pair = fixed[..., None], moving[..., None]
        return np.asarray(_register(weights.params | {"demons": layers}, *pair, cfg=cfg))

    return find


@functools.partial(jax.jit, static_argnames="cfg")
def _register(params: Params, fixed, moving, *, cfg: ModelConfig):
    return register(params, fixed, moving, cfg).displacement


if __name__ == "__main__":
    sys.exit(main(make_study))
