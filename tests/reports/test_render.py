"""Every page: complete, escaped, honest about what it does not know, and with the disclaimer."""

from __future__ import annotations

from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from medtower.domain.disclaimer import DISCLAIMER
from medtower.domain.rollout import IMMEDIATE
from medtower.errors import InvalidInput, NotFound
from medtower.reports.publish import publish
from medtower.reports.render import TEMPLATES, render

VOID = {"meta", "link", "br", "hr", "img", "input"}
PAGES = {
    "approval.md.j2": "dossier",
    "model_card.md.j2": "dossier",
    "evaluation.html.j2": "dossier",
    "performance.html.j2": "tracked",
    "drift.html.j2": "drifted",
    "demo_summary.html.j2": "told",
    "rollback.html.j2": "rolled_back",
    "index.html.j2": "shelf",
}
HOSTILE = '"><script>alert(1)</script>'


class Page(HTMLParser):
    """Tags in balance, the text, the table rows and every address."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.addresses: list[str] = []
        self.feed(source)
        self.close()
        assert self.stack == [], f"not closed: {self.stack}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, _attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.rows and {"td", "th"} & set(self.stack):
            self.rows[-1][-1] += data

    def row(self, first: str) -> list[str]:
        return next(row for row in self.rows if row and row[0] == first)


def cells(markdown: str, first: str) -> list[str]:
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def shelf():
    return {
        "pages": ["demo.html", "als_risk/drift-2026-02-01T00.html", "als_risk/performance-2026-03-01.html"]
    }


@pytest.fixture(params=PAGES.items(), ids=lambda page: page[0])
def page(request):
    """(template, its context)"""
    template, fixture = request.param
    return template, request.getfixturevalue(fixture)


def test_every_template_is_tested():
    assert {p.name for p in TEMPLATES.iterdir()} == set(PAGES) | {
        "base.html.j2",
        "_parts.html.j2",
        "_signing.md.j2",
    }


def test_the_page_ends_with_the_disclaimer(page):
    template, context = page
    text = render(template, **context)
    if template.endswith(".md.j2"):
        assert text.endswith(f"---\n{DISCLAIMER}\n")
    else:
        assert Page(text).text.strip().endswith(DISCLAIMER)


def test_html_is_balanced_loads_nothing_and_names_no_other_host(page):
    template, context = page
    if template.endswith(".md.j2"):
        return
    found = Page(render(template, **context))
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert all("//" not in a or a.startswith("http://127.0.0.1:") for a in found.addresses)
    assert found.tags.count("h1") == 1


def test_a_variable_that_is_missing_is_named(page):
    template, context = page
    # some places are only reached with data: each variable alone must be missed by the whole page
    needed = set(context) - {
        "cohort",
        "training",
        "provenance",
        "replaces",
        "champion",
        "gates",
        "plan",
        "why_plan",
    }
    for name in needed:
        with pytest.raises(InvalidInput, match=rf"{template} needs more .*'{name}'"):
            render(template, **{k: v for k, v in context.items() if k != name})


def test_a_template_that_is_not_there_is_named():
    with pytest.raises(NotFound, match=r"nothing\.html\.j2"):
        render("nothing.html.j2")


def test_a_hostile_title_is_text_in_every_page(page):
    template, context = page
    if "contract" in context:
        context["contract"] = context["contract"].model_copy(
            update={"title": HOSTILE, "intended_use": HOSTILE}
        )
    if "links" in context:
        context["links"][HOSTILE] = "http://127.0.0.1:1/"
    if "pages" in context:
        context["pages"].append(f"{HOSTILE}.html")
    if "done" in context:
        context["done"].subject = HOSTILE
    text = render(template, **context)
    assert "<script" not in text
    assert ("&lt;script>" if template.endswith(".md.j2") else "&#34;&gt;&lt;script&gt;") in text


@pytest.mark.parametrize("attack", ["a | b", "[x](javascript:y)", "`code`", "line\n# heading", "<img src=x>"])
def test_markdown_from_outside_stays_in_its_cell(dossier, attack):
    dossier["provenance"].reason = attack
    text = render("approval.md.j2", **dossier)
    line = next(line for line in text.splitlines() if line.startswith("| why |"))
    assert line.replace("\\|", "").count("|") == 3
    assert "# heading" not in text.splitlines()
    for raw in ("[x]", "`code`", "<img"):
        assert raw not in text.replace("\\" + raw[0], "").replace("\\]", "")


def test_the_approval_shows_old_new_and_change_with_intervals_and_n(dossier):
    text = render("approval.md.j2", **dossier)
    assert cells(text, "AUC-ROC (primary)") == [
        "AUC-ROC (primary)",
        "≥ 0.9",
        "0.890 (0.875 to 0.905)",
        "0.920 (0.905 to 0.935)",
        "+0.030 (+0.009 to +0.051)",
        "600",
    ]
    assert cells(text, "sex=M")[1:] == ["insufficient data", "12"]
    assert cells(text, "calibration")[1] == "failed"
    assert "same holdout" in text


def test_the_approval_has_a_check_list_for_each_role_that_signs_and_no_other(dossier):
    dossier["contract"] = dossier["contract"].model_copy(update={"approvals": ["technical", "final"]})
    headings = [line for line in render("approval.md.j2", **dossier).splitlines() if line.startswith("### ")]
    assert headings == ["### Technical", "### Final"]


def test_a_first_version_is_compared_with_nothing(dossier):
    text = render("approval.md.j2", **dossier | {"champion": None, "replaces": None})
    assert cells(text, "AUC-ROC (primary)")[4] == "no earlier version"
    assert "serves no model" in text


def test_versions_from_different_holdouts_are_said_to_be(dossier):
    other = dossier["champion"].model_copy(update={"holdout_sha256": "d" * 64})
    assert "different holdouts" in render("approval.md.j2", **dossier | {"champion": other})


def test_the_model_card_tells_what_it_is_not_for_and_what_is_not_known(dossier):
    text = render("model_card.md.j2", **dossier)
    for heading in (
        "Intended use",
        "Not for",
        "Data",
        "Performance",
        "Fairness",
        "Calibration",
        "Limitations",
    ):
        assert f"\n## {heading}\n" in text
    assert "- Screening people without symptoms\n" in text
    assert "- Insufficient data for: sex=M.\n" in text
    assert "- The gate calibration did not pass: error above 0.08\n" in text
    assert "- Missing values are imputed for: nfl.\n" in text
    assert cells(text, "age") == ["age", "float", "a", "18 to 100", "refused"]
    assert cells(text, "nfl")[-1] == "imputed: not measured"
    assert cells(text, "Brier score")[3:] == ["none", "none", "none"]


def test_the_approval_tells_how_the_version_takes_over_and_why(dossier):
    text = render("approval.md.j2", **dossier)
    assert (
        "**Staged**: 12 h in the incumbent's shadow, then 5 % → 50 % → 100 % of patients, each step held for 24 h"
        in text
    )
    assert "sensitivity is warning." in text
    at_once = render("approval.md.j2", **dossier | {"plan": IMMEDIATE, "why_plan": "It is an emergency fix."})
    assert "**Immediate**: everybody is served by it from the merge on." in at_once


@pytest.mark.parametrize("name", ["plan", "why_plan"])
def test_an_approval_page_without_a_plan_is_none(dossier, name):
    with pytest.raises(InvalidInput, match=name):
        render("approval.md.j2", **{k: v for k, v in dossier.items() if k != name})


def test_the_model_card_compares_populations_with_the_whole_and_names_its_libraries(dossier):
    text = render("model_card.md.j2", **dossier)
    assert cells(text, "sex=F")[1:] == [
        "AUC-ROC (primary)",
        "0.930 (0.910 to 0.950)",
        "0.920 (0.905 to 0.935)",
        "320",
    ]
    assert cells(text, "sex=M")[2] == "insufficient data"
    assert cells(text, "torch") == ["torch", "2"]
    assert cells(text, "code")[1] == f"`{'f' * 40}`"


def test_a_pull_request_says_how_to_sign_in_each_role(signing):
    text = render("_signing.md.j2", **signing)
    assert "medtower approve als_risk 4 --role clinical" in text
    assert text.count("medtower approve") == 2
    assert "d" * 64 in text


def test_the_model_card_of_a_synthetic_regression_says_both(dossier):
    source = {"kind": "synthetic", "size": 500, "seed": 1, "inputs": {}, "coefficients": {}}
    cohort = type(dossier["cohort"]).model_validate({"title": "Made", "source": source})
    bare = dossier["evaluation"].model_copy(
        update={"calibration": None, "estimates": dossier["evaluation"].estimates[:1], "notes": []}
    )
    text = render("model_card.md.j2", **dossier | {"cohort": cohort, "evaluation": bare})
    assert "The patients are synthetic" in text
    assert "Does not apply" in text
    assert "not known" in text


def test_performance_shows_value_interval_n_coverage_and_status(tracked):
    found = Page(render("performance.html.j2", **tracked))
    assert found.row("sensitivity") == [
        "sensitivity",
        "0.830",
        "(0.820 to 0.840)",
        "",
        "≥ 0.88",
        "600",
        "! warning",
    ]
    assert found.row("F1")[-1] == "✕ critical"
    assert "81.3 %" in found.text
    assert found.row("sex=F")[2] == "0.920"


def test_what_is_not_known_is_called_insufficient_data_and_has_no_figure(tracked):
    found = Page(render("performance.html.j2", **tracked))
    assert found.row("Brier score") == [
        "Brier score",
        "insufficient data",
        "",
        "",
        "none",
        "3",
        "– insufficient data",
    ]
    assert found.row("sex=M")[2] == "insufficient data"
    assert "nan" not in found.text.lower().split()


def test_drift_shows_how_much_and_how_sure(drifted):
    found = Page(render("drift.html.j2", **drifted))
    assert found.row("age") == [
        *("age", "✕ severe", "", "0.410", "Kolmogorov–Smirnov", "0.00012", "0.0004", "2400", "280"),
    ]
    assert found.row("smoker")[1:4] == ["– no variance", "", "not tested"]
    assert "drift-detail-2026-03-01T12.html" in found.addresses
    assert Page(render("drift.html.j2", **drifted | {"detail": None})).addresses == []


def test_the_evaluation_shows_gates_populations_and_calibration(dossier):
    found = Page(render("evaluation.html.j2", **dossier))
    assert found.row("regression") == ["regression", "✓ passed", "gain 0.03"]
    assert found.row("calibration")[1] == "✕ failed"
    assert found.row("sex=F")[3] == "(0.910 to 0.950)"
    assert "Expected calibration error 0.031" in found.text
    assert found.tags.count("svg") == 5


def test_the_demo_summary_shows_seconds_models_steps_and_addresses(told):
    found = Page(render("demo_summary.html.j2", **told))
    assert found.row("als_risk") == [
        "als_risk",
        "1 (champion), 2 (retrained)",
        "3600",
        "3400",
        "✕ critical",
        "2",
    ]
    assert found.row("mortality_5y")[4] == "not tracked"
    assert found.row("2") == ["2", "Ninety days", "14,400 predictions", "", "63.9"]
    assert "3 min 7 s" in found.text
    assert found.addresses == ["http://127.0.0.1:8080/", "http://127.0.0.1:8000/docs"]


def test_a_demo_that_ended_early_still_has_a_page(told):
    told["result"] |= {"steps": [], "models": {}, "revert_seconds": None}
    assert "not measured" in Page(render("demo_summary.html.j2", **told)).text


def test_the_index_shelves_pages_by_model_newest_first(shelf):
    found = Page(render("index.html.j2", **shelf))
    assert found.addresses == [
        "demo.html",
        "als_risk/performance-2026-03-01.html",
        "als_risk/drift-2026-02-01T00.html",
    ]
    assert "No report" in Page(render("index.html.j2", pages=[])).text


def test_publishing_replaces_the_old_page_and_leaves_nothing_else(tmp_path, shelf):
    for pages in ([], shelf["pages"]):
        path = publish(tmp_path, "sub/index.html", "index.html.j2", pages=pages)
    assert "performance" in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]


def test_the_rollback_report_says_what_passed_what_failed_and_what_nobody_knows(rolled_back):
    page = Page(render("rollback.html.j2", **rolled_back))
    assert page.row("routed")[1:] == ["✓ passed", "version 3 at 100 %"]
    assert page.row("version loaded")[1] == "✕ failed"
    assert page.row("no errors")[1].endswith("not known")
    assert "Version 4 was taken back; version 3 is released" in page.text
    none = SimpleNamespace(**vars(rolled_back["done"]) | {"to": None})
    assert "no model is released" in Page(render("rollback.html.j2", **rolled_back | {"done": none})).text
