"""Evaluation: scores of pairs and data sets, what the force explains, figures."""

from drivenmorph_jax.evaluation.explain import explain, without_residual
from drivenmorph_jax.evaluation.figure import draw_registration
from drivenmorph_jax.evaluation.method import Method, classical_method, learned_method
from drivenmorph_jax.evaluation.pair import PairScore, score_pair, warp_labels
from drivenmorph_jax.evaluation.report import Report, evaluate
from drivenmorph_jax.evaluation.study import Row, read_table, run_study, summarise

__all__ = [
    "Method",
    "PairScore",
    "Report",
    "Row",
    "classical_method",
    "draw_registration",
    "evaluate",
    "explain",
    "learned_method",
    "read_table",
    "run_study",
    "score_pair",
    "summarise",
    "warp_labels",
    "without_residual",
]
