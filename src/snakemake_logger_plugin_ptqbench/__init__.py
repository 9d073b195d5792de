"""Snakemake's logger plugin ``ptqbench``: progress that a person can read.

It is a package of its own, and imports nothing of ``ptqbench``: Snakemake loads it before the Snakefile says which
checkout's code runs.
"""

from snakemake_logger_plugin_ptqbench.handler import LogHandler

__all__ = ["LogHandler"]
