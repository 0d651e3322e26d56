"""What a fitting verb returns, one file a part of it."""

from mixedfit.results.mixed_results import MixedResults

__all__ = ["MixedResults"]
