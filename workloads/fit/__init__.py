"""Compact pools fitted to traces and to ServeGen's folders."""

from workloads.fit.pool import fit_pool, fit_source

__all__ = ["fit_pool", "fit_source"]
