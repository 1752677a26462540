"""One answer as the gateway holds it. The friendly API sends it as it is (rest/answers.py describes it), V2 what the protocol has a place for, and the
spool keeps it for who asks again."""

from __future__ import annotations

from typing import Literal, Self

import msgspec

from medtower.domain.disclaimer import DISCLAIMER
from medtower.gateway.answering.composition_answer import PartAnswer


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`label` is there for classification only, `review_reason` when human review is asked for, `parts` for a composition.

    What the spool keeps is read by later releases: a new field, here or in `PartAnswer`, needs a default.
    """

    model: str
    version: int
    digest: str
    request_id: str
    prediction: float
    unit: str
    label: str | None = None
    confidence: float
    requires_human_review: bool
    review_reason: str | None = None
    escalation: Literal["delivered", "pending"] | None = None
    cached: bool = False
    disclaimer: str = DISCLAIMER
    parts: tuple[PartAnswer, ...] | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, content: str) -> Self:
        """The answer whose JSON is `content`. Raises ValueError for what is none."""
        return msgspec.json.decode(content, type=cls)

    def json(self) -> bytes:
        """The answer as JSON, in UTF-8."""
        return _encoder.encode(self)


_encoder = msgspec.json.Encoder()  # compact, as `spool_escalations` expects that changes the text of one
