"""Score a model on labeled images: `divcon.evaluate` by the name that is typed."""

from .evaluate import evaluate as eval

__all__ = ["eval"]
