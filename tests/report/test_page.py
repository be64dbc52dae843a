"""The page as text: what it carries, and that nothing of a data set becomes markup."""

import base64
import hashlib
import html.parser
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_parameters.report.content import ReportContent
from data_parameters.report.page import embedded_json, page_data, render_page
from sample_report import HOSTILE, bare_report, sample_report


class Parser(html.parser.HTMLParser):
    """Elements with their attributes, and the content of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.elements.append((tag, dict(attributes)))
        self.open = tag

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open in ("script", "style"):
            self.raw.append((self.open, data))


def data_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    found: dict[str, Any] = json.loads(match[1])
    return found


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_embedded_json_comes_back_and_holds_no_markup(value: Any) -> None:
    text = embedded_json(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def test_bytes_that_are_no_text_come_back() -> None:
    name = "caf\udce9.png"  # as `os.fsdecode` hands out a name in another encoding
    text = embedded_json(name)
    text.encode("utf-8")
    assert json.loads(text) == name


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded_json(float("nan"))


@pytest.mark.parametrize("content", [sample_report(), bare_report()], ids=["full", "bare"])
def test_markup_is_the_same_whatever_the_data(content: ReportContent) -> None:
    hostile = sample_report(class_names=HOSTILE, texts=HOSTILE)
    named = replace(hostile, run=replace(hostile.run, name=HOSTILE[1], summary=HOSTILE))
    expected, found = Parser(render_page(content)), Parser(render_page(named))
    assert found.elements == expected.elements
    # One style, the data, one script.
    assert [tag for tag, _ in found.raw] == ["style", "script", "script"]
    assert found.raw[2] == expected.raw[2]


def test_everything_comes_back() -> None:
    content = sample_report(class_names=HOSTILE, texts=HOSTILE)
    data = data_of(render_page(content))
    assert data["run"]["class_names"] == list(HOSTILE)
    assert data["instances"]["previews"][0]["text"] in HOSTILE
    assert data == page_data(content)


def test_policy_allows_the_script_and_the_style_alone() -> None:
    parser = Parser(render_page(sample_report()))
    policy = next(a["content"] for tag, a in parser.elements if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    (_, style), _, (_, script) = parser.raw
    for directive, text in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_the_page_is_one_file() -> None:
    page = render_page(sample_report())
    for tag, attributes in Parser(page).elements:
        assert not {"src", "srcset", "action"} & attributes.keys(), tag
        assert attributes.get("href", "#").startswith("#"), tag
    assert "url(" not in page
    assert "@import" not in page
    script = Parser(page).raw[2][1]
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in script


def test_what_is_not_finite_is_null() -> None:
    content = sample_report()
    assert content.instances is not None
    margin = content.instances.margin.copy()
    margin[:2] = np.nan, np.inf
    data = page_data(replace(content, instances=replace(content.instances, margin=margin)))
    assert data["instances"]["margin"][:2] == [None, None]


def test_long_runs_keep_some_epochs_of_each_trajectory() -> None:
    data = page_data(sample_report(epochs=200))
    epochs = data["instances"]["epochs"]
    assert len(epochs) == 60
    assert (epochs[0], epochs[-1]) == (1, 200)
    assert len(data["instances"]["log_temperature"][0]) == 60
    # The histograms keep all.
    assert len(data["spread"]["groups"][0]["histogram"]) == 200
