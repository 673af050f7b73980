"""A registration on one HTML page that needs nothing but a browser."""

from drivenmorph_jax.pipeline.report.content import ReportContent
from drivenmorph_jax.pipeline.report.page import write_report

__all__ = ["ReportContent", "write_report"]
