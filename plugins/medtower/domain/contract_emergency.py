"""The part of a contract that says which answers somebody must hear of at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medtower.domain.contract_part import Name, Part

if TYPE_CHECKING:
    from medtower.domain.contract import Contract


class Emergency(Part):
    """A prediction `at_or_above` (a probability, or a number in the output's unit) is escalated to the webhook that the tower calls `webhook`."""

    at_or_above: float
    webhook: Name

    def against(self, contract: Contract) -> None:
        """Raise ValueError when no answer could reach the threshold, or an answer could come from the cache."""
        low, high = (0.0, 1.0) if contract.task == "classification" else contract.output.range or (None, None)
        if low is not None and high is not None and not low < self.at_or_above <= high:
            raise ValueError(
                f"emergency: at_or_above {self.at_or_above:g} must be above {low:g} and at most {high:g}, the output's range"
            )
        if contract.cache_seconds:
            raise ValueError("emergency: what may be an emergency is never cached; remove `cache_seconds:`")
