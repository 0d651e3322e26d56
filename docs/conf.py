"""Sphinx configuration: ``sphinx-build docs docs/_build/html`` after ``pip install '.[docs]'``."""

from importlib.metadata import version as version_of

project = "mixedfit"
author = "The mixedfit developers"
version = release = version_of("mixedfit")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "myst_nb",
]
autodoc_typehints = "none"
napoleon_google_docstring = False
suppress_warnings = ["ref.python"]  # types in docstrings such as "(p, p)" name many attributes
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 2
html_theme = "pydata_sphinx_theme"
html_title = "mixedfit"
exclude_patterns = ["_build"]
