"""Free text on its way to the record: what may identify somebody is taken out, in doubt too much of it.

Presidio's analyzer runs the recognizers, with its no-operation language engine: nothing is downloaded and the result depends on the text alone.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from medtower.domain.free_text import normalised

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine

LANGUAGE = "en"  # of the analyzer's bookkeeping: the recognizers know English and German
WINDOW, OVERLAP = 2000, 400  # the analyzer's time grows with the square of what it finds in one text
LONGEST_WORD = 40
LONG = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")
_building = threading.Lock()


@dataclass(frozen=True)
class Redacted:
    """`text` with `[kind]` in the place of what was taken out, the keyed hash of the original (hexadecimal), and how often each kind was found."""

    text: str
    sha256: str
    found: Mapping[str, int]


@dataclass(frozen=True, order=True)
class Span:
    """What was found: characters `start` to `end`, and how sure it is that it is a `kind`."""

    start: int
    end: int
    score: float
    kind: str


def redact(key: bytes, text: str) -> Redacted:
    """The form of `text` that may be kept. `sha256` is HMAC-SHA256 under `key`: a plain hash of a short note could be guessed."""
    digest = hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
    plain = normalised(text)
    long = list(_long_words(plain))
    # blank for the analyzer, of the same length: some patterns take a time that grows with the square of a word
    spans = _merged([*long, *_found(LONG.sub(lambda word: " " * len(word[0]), plain))])
    return Redacted(_without(plain, spans), digest, dict(sorted(Counter(s.kind for s in spans).items())))


def prepare() -> None:
    """Build the analyzer now (two seconds; 14 when nothing of it was in memory), so that the first patient does not wait for it."""
    _analyzer()


def prepared() -> bool:
    """Whether the analyzer has been built."""
    return bool(_built.cache_info().currsize)


def _long_words(text: str) -> Iterator[Span]:
    for match in LONG.finditer(text):
        yield Span(match.start(), match.end(), 1.0, "long_word")


def _found(text: str) -> Iterator[Span]:
    analyzer, kinds = _analyzer()
    for start in range(0, max(1, len(text) - OVERLAP), WINDOW - OVERLAP):
        window = text[start : start + WINDOW]
        for result in analyzer.analyze(window, LANGUAGE, entities=kinds):
            yield Span(start + result.start, start + result.end, result.score, result.entity_type)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Spans that overlap become one, of the kind that is surest, then longest."""
    merged: list[Span] = []
    for span in sorted(spans):
        if not merged or span.start >= merged[-1].end:
            merged.append(span)
            continue
        last = merged[-1]
        best = max(last, span, key=lambda s: (s.score, s.end - s.start, s.kind))
        merged[-1] = Span(last.start, max(last.end, span.end), best.score, best.kind)
    return merged


def _without(text: str, spans: Iterable[Span]) -> str:
    kept, at = [], 0
    for span in spans:
        kept += [text[at : span.start], f"[{span.kind}]"]
        at = span.end
    return "".join([*kept, text[at:]])


def _analyzer() -> tuple[AnalyzerEngine, list[str]]:
    """The analyzer, and every kind that it finds (it would look them up at each call)."""
    with _building:  # the first texts may come together
        return _built()


@cache
def _built() -> tuple[AnalyzerEngine, list[str]]:
    logging.getLogger("presidio-analyzer").setLevel(logging.WARNING)
    with _hidden("torch", "transformers", "stanza", "cupy", "tensorflow", "mxnet"):
        from presidio_analyzer import AnalyzerEngine, ContextAwareEnhancer, RecognizerRegistry
        from presidio_analyzer.nlp_engine import NoOpNlpEngine

        from medtower.gateway.privacy.recognizers import recognizers

    class Unchanged(ContextAwareEnhancer):  # type: ignore[misc]
        """No words around a finding change it: the engine has no words."""

        def enhance_using_context(self, text, raw_results, nlp_artifacts, recognizers, context=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
            return raw_results

    known = recognizers()
    registry = RecognizerRegistry(known, supported_languages=[LANGUAGE])
    engine = NoOpNlpEngine([{"lang_code": LANGUAGE, "model_name": "none"}])
    analyzer = AnalyzerEngine(
        registry,
        engine,
        supported_languages=[LANGUAGE],
        context_aware_enhancer=Unchanged(0, 0, 0, 0),
    )
    return analyzer, sorted({kind for each in known for kind in each.supported_entities})


@contextmanager
def _hidden(*modules: str) -> Iterator[None]:
    """While it lasts, these cannot be imported where they have not been: Presidio would load a machine-learning framework that nothing here needs."""
    hidden = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
