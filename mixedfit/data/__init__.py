"""Bundled data sets; see `mixedfit.datasets`."""
