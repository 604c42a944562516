"""Workloads by name, one module each; docs/recipes.md tells what each follows and how closely.

Every module in here that registers a recipe is found by itself.
"""

from importlib import import_module
from pkgutil import iter_modules

from workloads.recipes.registry import RECIPES, Recipe

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["RECIPES", "Recipe"]
