"""Free text before anything reads it: one spelling for what looks the same. Standard library only."""

from __future__ import annotations

import unicodedata

# Default-ignorable characters that Unicode does not class as format characters: combining grapheme joiner, fillers, variation selectors
# (https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt, Default_Ignorable_Code_Point).
IGNORABLE = frozenset(
    {"\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u3164", "\uffa0"}
    | {chr(c) for c in range(0x180B, 0x1810)}
    | {chr(c) for c in range(0xFE00, 0xFE10)}
    | {chr(c) for c in range(0xE0100, 0xE01F0)}
)
REMOVED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
LAYOUT = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029")


def normalised(text: str) -> str:
    """`text` in NFKC (Unicode Standard Annex 15: fullwidth, styled and ligature forms become plain ones) without characters that nobody sees:
    zero-width, soft hyphen, direction marks, control characters, lone surrogates. Layout characters become spaces."""
    if text.isascii() and text.isprintable():
        return text
    plain = "".join(_visible(c) for c in text)
    # once more: what was taken out may have kept two characters apart that compose
    return unicodedata.normalize("NFKC", "".join(_visible(c) for c in unicodedata.normalize("NFKC", plain)))


def _visible(character: str) -> str:
    if character in LAYOUT:
        return " "
    return "" if character in IGNORABLE or unicodedata.category(character) in REMOVED else character
