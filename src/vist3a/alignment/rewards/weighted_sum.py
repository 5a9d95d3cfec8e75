"""Weighted sum of reward terms; every term stays visible."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from vist3a.alignment.rewards.base import Need, Reward, Views


class WeightedSum:
    """Total reward and its terms. Terms of weight 0 are still computed, for logging."""

    def __init__(self, terms: Mapping[str, Reward], weights: Mapping[str, float]) -> None:
        unknown = sorted(weights.keys() - terms.keys())
        missing = sorted(terms.keys() - weights.keys())
        if unknown or missing:
            raise ValueError(f"reward weights: unknown terms {unknown}, terms without a weight {missing}")
        self.terms, self.weights = terms, weights

    @property
    def needs(self) -> frozenset[Need]:
        """What any term reads of the views."""
        return frozenset().union(*(term.needs for term in self.terms.values()))

    def __call__(self, views: Views) -> tuple[Float[Tensor, " batch"], dict[str, Float[Tensor, " batch"]]]:
        """Total per sample and the unweighted terms per sample."""
        parts = {name: term(views) for name, term in self.terms.items()}
        total = sum(self.weights[name] * value for name, value in parts.items())
        assert isinstance(total, Tensor)
        return total, parts
