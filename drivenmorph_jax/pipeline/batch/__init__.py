"""Many pairs, one after another: each into its own folder, with a table and a page of them all."""

from drivenmorph_jax.pipeline.batch.outcome import Outcome
from drivenmorph_jax.pipeline.batch.pairs import INDEX, RESULTS, Pair, read_pairs
from drivenmorph_jax.pipeline.batch.run import register_pairs

__all__ = ["INDEX", "RESULTS", "Outcome", "Pair", "read_pairs", "register_pairs"]
