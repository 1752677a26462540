"""What of a note may be kept. Every person, number and address here was made up for the test."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from medtower.gateway.privacy.scan import OVERLAP, WINDOW, redact

KEY = b"key-of-the-pseudonyms"
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\ufe0f\u202e"


def fullwidth(text: str) -> str:
    return "".join("\u3000" if c == " " else chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


@pytest.mark.parametrize(
    ("note", "secret", "kind"),
    [
        ("Mr. Canarius was seen", "Canarius", "person"),
        ("mrs canarius was seen", "canarius", "person"),
        ("Frau Dr. med. Canarius-Vogel kam", "Canarius", "person"),
        ("name: canarius vogel", "vogel", "person"),
        ("her husband Canarius called", "Canarius", "person"),
        ("then Canarius fell", "Canarius", "name"),
        ("Canarius fell", "Canarius", "name"),
        ("then CANARIUS fell", "CANARIUS", "name"),
        ("then J. R. Canarius fell", "Canarius", "name"),
        ("MRN 8812", "8812", "record_number"),
        ("mrn: AB-8812/7", "8812", "record_number"),
        ("Patientennummer 8812", "8812", "record_number"),
        ("patient id is 8812x", "8812", "record_number"),
        ("SSN 078 05 1120", "1120", "record_number"),
        ("the number 078-05-1120", "1120", "us_ssn"),
        ("card 1EG4-TE5-MK73", "MK73", "us_medicare_number"),
        ("card a123456780", "123456780", "german_health_insurance_number"),
        ("card a123456789", "123456789", "german_health_insurance_number"),
        ("card 15 070649 C 103", "070649", "german_pension_insurance_number"),
        ("call +49 30 901820", "901820", "phone"),
        ("call (212) 555-0143", "0143", "phone"),
        ("tel. 5550143", "0143", "phone"),
        ("write to canarius@clinic.example", "canarius", "email"),
        ("write to canarius (at) clinic.example", "canarius", "email"),
        ("born 03/04/1951", "1951", "date"),
        ("geb. am 3.4.1951", "1951", "date"),
        ("on 3. april 1951", "1951", "date"),
        ("on 1951-04-03", "1951", "date"),
        ("a 94-year-old woman", "94", "age_over_89"),
        ("lives at 12 old mill lane", "mill", "address"),
        ("wohnt mühlenweg 12b", "mühlenweg", "address"),
        ("in 10115 now", "10115", "number"),
        ("from 10.20.30.40", "10.20.30.40", "ip_address"),
        ("from 2001:db8::8812", "8812", "ip_address"),
        ("see https://example.org/canarius", "canarius", "url"),
        ("see canarius.example.org/x", "canarius", "url"),
        ("from de89 3704 0044 0532 0130 00", "0044", "iban"),
        ("paid by 4111 1111 1111 1111", "1111", "credit_card"),
        ("the code 1 2 3 4 5 6 7 8", "4 5 6", "number"),
        ("the code x7f8812z9", "8812", "number"),
        ("the key " + "canarius" * 6, "canarius", "long_word"),
        ("the code ٨٨١٢٣٤٥", "٨٨١٢", "number"),
    ],
)  # fmt: skip
def test_what_identifies_a_person_is_taken_out(note: str, secret: str, kind: str) -> None:
    for evasion in (note, fullwidth(note), ZERO_WIDTH.join(note)):
        redacted = redact(KEY, evasion)
        assert secret.casefold() not in redacted.text.casefold()
        assert kind in redacted.found


def test_the_clinical_part_of_a_note_stays() -> None:
    note = "Patient reports severe headache, no fever. BP 120/80, HR 72, K 4.2 mmol/L, 20 mg bid. MRI normal."
    assert redact(KEY, note).text == note
    assert redact(KEY, note).found == {}


def test_the_hash_is_of_the_original_and_needs_the_key() -> None:
    note = "Mr. Canarius fell"
    assert redact(KEY, note) == redact(KEY, note)
    assert redact(KEY, note).sha256 != redact(b"another", note).sha256
    assert redact(KEY, note).sha256 != redact(KEY, fullwidth(note)).sha256
    assert len(redact(KEY, note).sha256) == 64


@pytest.mark.parametrize("note", ["", " ", "\0\0", "\ud800", "\u200b"])
def test_text_without_anything_to_see_is_no_error(note: str) -> None:
    assert redact(KEY, note).text.strip() == ""


@pytest.mark.parametrize("at", [0, WINDOW - OVERLAP - 8, WINDOW - OVERLAP, WINDOW - 8, WINDOW, 3 * WINDOW])
def test_a_name_is_found_wherever_it_stands_in_a_long_note(at: int) -> None:
    filler = ("no fever and " * (4 * WINDOW // 13))[: 4 * WINDOW]
    redacted = redact(KEY, filler[:at] + " mrs canarius " + filler[at:])
    assert "canarius" not in redacted.text
    assert redacted.found == {"person": 1}


@pytest.mark.parametrize(
    "piece", ["1234567 ", "a", "A b ", "Aaa Bbb ", "a.b-c'd ", "1 2 3 ", "x@", "::", "dr "]
)
def test_no_text_makes_the_scan_slow(piece: str) -> None:
    text = (piece * 20_000)[:20_000]
    start = time.perf_counter()
    redact(KEY, text)
    assert time.perf_counter() - start < 2.0  # 20 kB; what grows with the square takes minutes


def test_scanning_loads_no_machine_learning_framework() -> None:
    program = (
        "import sys; from medtower.gateway.privacy.scan import redact; redact(b'k', 'note');"
        "print([m for m in ('torch', 'transformers', 'stanza', 'pandas', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
