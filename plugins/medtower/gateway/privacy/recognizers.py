"""What identifies a person in a note, as Presidio recognizers of our own: patterns and check digits, no language model and no download.

The list follows the identifiers of HIPAA's Safe Harbor, 45 CFR 164.514(b)(2), with the German ones beside them. A check digit never decides
whether something is taken out: a number with a typing error is still somebody's number.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import regex
from presidio_analyzer import Pattern, PatternRecognizer

from medtower.gateway.privacy.check_digits import Check, iban, kvnr, luhn, rvnr
from medtower.gateway.privacy.words import ALLOWED

FLAGS = regex.MULTILINE  # case counts, except where a pattern says (?i:…)
SURE, LIKELY, SHAPED, DOUBTFUL = 0.9, 0.6, 0.4, 0.3
MONTH = (
    r"(?:jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch)?|märz|maerz|apr(?:il)?|may|mai|june?|juni|july?|juli|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|okt(?:ober)?|nov(?:ember)?|de[cz](?:ember)?)"
)
TITLE = r"(?:mr|mrs|ms|mx|miss|dr|doc|doctor|prof|professor|herrn?|frau|fr|hr|sir|madam|mme|nurse|schwester|pfleger(?:in)?|rev)"
RELATED = (
    r"(?:patient(?:in|en)?|pt|named?|called|signed|seen|by|contact|kin|mother|father|wife|husband|son|daughter|sister|brother|partner"
    r"|mutter|vater|ehefrau|ehemann|sohn|tochter|bruder|hei(?:ß|ss)t|namens|unterschrieben|von)"
)
NUMBERED = (
    r"(?:mrn|ssn|medical\s+record|record|chart|case|account|acct|member|policy|insurance|beneficiary|licen[cs]e|passport|patient(?:en)?|fall"
    r"|versicherten?|kv|rv|id|ident|subject|aktenzeichen|az)"
)
ENDING = r"(?:\s*(?:id|identifier|number|nummer|nr|no|num)\b\.?|(?:nummer|nr)\b\.?)?"
WORD = r"[\p{L}\p{M}'’-]+"
CAPITAL = r"\p{Lu}[\p{L}\p{M}'’-]+"
STREET = (
    r"(?:street|st|avenue|ave|road|rd|lane|ln|drive|boulevard|blvd|court|ct|way|place|square|terrace|close)"
)
STRASSE = r"(?:straße|strasse|str\.?|weg|platz|allee|gasse|ring|damm|ufer|chaussee)"

# kind, certainty, patterns; every pattern matches at most some 200 characters, see `scan.OVERLAP`
PATTERNS: tuple[tuple[str, float, tuple[str, ...]], ...] = (
    ("email", SURE, (r"(?<![\p{L}\p{N}.!#$%&'*+/=?^_`{|}~-])[\p{L}\p{N}.!#$%&'*+/=?^_`{|}~-]{1,64}\s?(?:@|\(at\)|\[at\])\s?[\p{L}\p{N}.-]{1,100}",)),
    (
        "url", SURE,
        (
            r"(?i:\b(?:https?|ftp|file)://\S{1,150})",
            r"(?i:\bwww\.\S{1,150})",
            r"(?i:\b[\p{L}\p{N}-]{1,63}(?:\.[\p{L}\p{N}-]{1,63}){0,3}\.(?:com|org|net|edu|gov|io|info|eu|de|at|ch|uk|health|clinic)\b(?:/\S{0,100})?)",
        ),
    ),
    (
        "ip_address", SURE,
        (r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])", r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"),
    ),
    (
        "record_number", SURE,
        (rf"(?i:\b{NUMBERED}{ENDING})[\s:#=.-]{{0,4}}(?i:is\s|ist\s)?\s?(?=[^\s\d]{{0,12}}\d)[\p{{L}}\p{{N}}][\p{{L}}\p{{N}}./_-]{{1,30}}",),
    ),
    (
        "person", SURE,
        (
            rf"(?i:\b{TITLE})\b\.?\s{{1,2}}(?:(?i:dr|med|prof|von|van|de|der|zu)\b\.?\s+){{0,3}}{WORD}(?:[\s,]{{1,2}}{CAPITAL}){{0,3}}",
            rf"(?i:\b(?:sur|last|first|given|family|nach|vor|maiden|patient|full)?[ _]?name\w{{0,2}})\s?[:=]\s?{WORD}(?:[\s,]{{1,2}}{WORD}){{0,2}}",
            rf"(?i:\b{RELATED})\b[\s:,=]{{1,3}}{CAPITAL}(?:[\s,]{{1,2}}{CAPITAL}){{0,3}}",
            r"(?i:\b(?:my\s+name\s+is|i\s+am\s+called|ich\s+hei(?:ß|ss)e|mein\s+name\s+ist))\s" + rf"{WORD}(?:\s{WORD}){{0,2}}",
        ),
    ),
    (
        "date", LIKELY,
        (
            r"(?<!\d)\d{1,4}\s?[./-]\s?\d{1,2}\s?[./-]\s?\d{1,4}(?!\d)",
            rf"(?i:(?<!\d)\d{{1,2}}(?:st|nd|rd|th|\.)?\s?(?:of\s)?{MONTH}\b\.?,?(?:\s?\d{{2,4}})?)",
            rf"(?i:\b{MONTH}\b\.?\s\d{{1,2}}(?:st|nd|rd|th)?\b,?(?:\s\d{{2,4}})?)",
            r"(?i:\b(?:d\.?o\.?b\.?|born|birth\w*|geb\w*|\*)\W{0,4}(?:(?:on|in|am|im|date|datum|day)\W{1,3}){0,2})\d[\d./\s-]{1,12}",
        ),
    ),
    ("age_over_89", LIKELY, (r"(?i:\b(?:9\d|1[0-2]\d)[\s-]?(?:y/?o\b|yr|year|jahr|jährig)\w{0,12})",)),
    (
        "phone", LIKELY,
        (
            r"(?:\+|\b00)\d(?:[\s()./-]{0,2}\d){6,15}",
            r"\(\d{2,5}\)[\s./-]?\d(?:[\s./-]?\d){3,10}",
            r"(?<![\d.])0\d{1,4}[\s/.-]{1,3}\d(?:[\s./-]?\d){3,10}",
            r"(?<!\d)\d{3}[\s.-]\d{3}[\s.-]\d{4}(?!\d)",
            r"(?<![\d.-])\d{3}[.-]\d{4}(?![\d.-])",
            r"(?i:\b(?:tel\w*|phone|fon|mobile?|handy|cell|fax|call(?:\s+at)?|ruf\w*)\b)[\s:.#-]{0,4}\d(?:[\s()./-]{0,2}\d){3,15}",
        ),
    ),
    (
        "address", LIKELY,
        (
            rf"(?<!\d)\d{{1,5}}[a-z]?\s(?:[\p{{L}}.'’-]{{1,30}}\s){{1,3}}(?i:{STREET})\b\.?",
            rf"(?<![\p{{L}}.-])[\p{{L}}.-]{{0,40}}[\s-]?(?i:{STRASSE})\s?\d{{1,4}}\s?[a-z]?\b",
            r"(?i:\bp\.?\s?o\.?\s?box\s?\d{1,8}|\bpostfach\s?[\d\s]{1,12})",
            rf"(?<!\d)\d{{5}}(?:-\d{{4}})?\s{CAPITAL}(?:\s{CAPITAL})?",
            r"(?<![\p{L}\d])[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}(?![\p{L}\d])",
        ),
    ),
    ("us_ssn", LIKELY, (r"(?<!\d)\d{3}[\s.-]\d{2}[\s.-]\d{4}(?!\d)",)),
    (
        "us_medicare_number", LIKELY,
        (r"(?i:(?<!\w)[1-9][a-z][a-z\d]\d-?[a-z][a-z\d]\d-?[a-z]{2}\d{2}(?!\w))",),
    ),
    (
        "number", DOUBTFUL,
        (r"(?<!\w)\p{L}{0,5}[-#]?\d(?:[\s./_-]?\d){6,24}\w{0,4}", r"(?<![\d.,])\d{5,24}(?![.,]\d)\w{0,4}", r"(?<!\w)(?=\w{0,20}\p{L})(?:\w{0,20}?\d){5}\w{0,20}"),
    ),
)  # fmt: skip
CHECKED: tuple[tuple[str, str, Check], ...] = (
    ("iban", r"(?i:(?<!\w)[A-Z]{2}\d{2}(?:[\s-]?[A-Z\d]{4}){2,7}(?:[\s-]?[A-Z\d]{1,3})?(?!\w))", iban),
    ("credit_card", r"(?<!\d)\d(?:[\s-]?\d){12,18}(?!\d)", luhn),
    ("german_health_insurance_number", r"(?i:(?<!\w)[A-Z]\s?\d{3}\s?\d{3}\s?\d{3}(?!\w))", kvnr),
    ("german_pension_insurance_number", r"(?i:(?<!\w)\d{2}\s?\d{6}\s?[A-Z]\s?\d{2}\s?\d(?!\w))", rvnr),
)
# Names that nothing announces: whatever is capitalised and not on the list. German nouns go with them, for a note is kept for the record and
# not for reading.
UNANNOUNCED = (r"(?<![\p{L}\p{M}])\p{Lu}[\p{L}\p{M}'’-]+", rf"(?<!\p{{L}})(?:\p{{Lu}}\.\s?){{1,3}}{CAPITAL}")


class _Checked(PatternRecognizer):  # type: ignore[misc]
    """A shape with a check digit: right, it is certain; wrong, it is still taken out."""

    def __init__(self, kind: str, pattern: str, check: Check) -> None:
        self._check = check
        super().__init__(kind, patterns=[Pattern(kind, pattern, SHAPED)], global_regex_flags=FLAGS)

    def validate_result(self, pattern_text: str) -> bool | None:
        return True if self._check(pattern_text) else None


class _Unannounced(PatternRecognizer):  # type: ignore[misc]
    """Capitalised words that are not on the short list of words a note needs."""

    def __init__(self) -> None:
        patterns = [Pattern("capitalised", pattern, DOUBTFUL) for pattern in UNANNOUNCED]
        super().__init__("name", patterns=patterns, global_regex_flags=FLAGS)

    def invalidate_result(self, pattern_text: str) -> bool:
        return all(word.casefold() in ALLOWED for word in _words(pattern_text))


@cache
def _splitter() -> regex.Pattern[str]:
    return regex.compile(r"[\p{L}\p{M}]+")


def _words(text: str) -> Iterable[str]:
    return _splitter().findall(text)


def recognizers() -> list[PatternRecognizer]:
    """Every recognizer, in a fixed order."""
    plain = [
        PatternRecognizer(
            kind, patterns=[Pattern(kind, pattern, score) for pattern in patterns], global_regex_flags=FLAGS
        )
        for kind, score, patterns in PATTERNS
    ]
    return [*plain, *(_Checked(kind, pattern, check) for kind, pattern, check in CHECKED), _Unannounced()]
