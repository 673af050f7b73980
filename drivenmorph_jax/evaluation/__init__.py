"""Evaluation: scores of pairs and data sets, what the force explains, figures."""

from drivenmorph_jax.evaluation.explain import explain, without_residual
from drivenmorph_jax.evaluation.figure import draw_registration
from drivenmorph_jax.evaluation.labels import carry_labels
from drivenmorph_jax.evaluation.method import Method, classical_method, learned_method
from drivenmorph_jax.evaluation.pair import PairScore, overlap, score_pair
from drivenmorph_jax.evaluation.report import Report, evaluate
from drivenmorph_jax.evaluation.study import Row, read_table, run_study, summarise

__all__ = [
    "Method",
    "PairScore",
    "Report",
    "Row",
    "carry_labels",
    "classical_method",
    "draw_registration",
    "evaluate",
    "explain",
    "learned_method",
    "overlap",
    "read_table",
    "run_study",
    "score_pair",
    "summarise",
    "without_residual",
]
