"""The page in a real browser: what a person can do with it, and what a data set cannot."""

import base64
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from browser import browser, console, needs_browser
from data_parameters.report.content import ReportContent
from data_parameters.report.page import render_page
from data_parameters.training.decisions import Decision, read_decisions, write_decisions
from sample_report import CLASSES, HOSTILE, bare_report, given_labels, sample_report

pytestmark = [pytest.mark.long, needs_browser]

ROWS = "table.review tbody tr"
CONTENT = sample_report()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("browser")
    with browser(folder) as found:
        found.downloads = folder / "downloads"
        yield found


@pytest.fixture
def page(driver: Any, tmp_path: Path) -> Iterator["Page"]:
    shown = Page(driver, tmp_path)
    yield shown
    # Whatever a test did, the browser had nothing to complain about, and asked nobody for anything.
    assert console(driver) == []
    asked = driver.execute_script(
        "return performance.getEntriesByType('resource').map(each => each.name)"
    )
    assert [name for name in asked if not name.startswith("data:")] == []
    driver.execute_script("localStorage.clear()")
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


class Page:
    """The page, in the words of a person before it."""

    def __init__(self, driver: Any, folder: Path) -> None:
        self.driver, self.folder = driver, folder

    def open(self, content: ReportContent = CONTENT) -> "Page":
        path = self.folder / "report.html"
        path.write_text(render_page(content), encoding="utf-8")
        self.driver.get(path.as_uri())
        return self

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def click(self, element: Any) -> None:
        # Not under the bar at the top.
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def choose(self, label: str, option: str) -> None:
        from selenium.webdriver.support.select import Select

        Select(self.labelled(label)).select_by_visible_text(option)

    def labelled(self, label: str) -> Any:
        path = (
            f"//label[starts-with(normalize-space(.), '{label}')]//*[self::input or self::select]"
        )
        return self.driver.find_element("xpath", path)

    def button(self, words: str) -> Any:
        return self.driver.find_element("xpath", f"//button[normalize-space(.)='{words}']")

    @property
    def instances(self) -> list[int]:
        """The instances of the table's page, in order."""
        found = self.driver.execute_script(
            "return [...document.querySelectorAll(arguments[0])]"
            ".map(row => row.querySelector('.where')?.firstChild.textContent)",
            ROWS,
        )
        return [int(text.lstrip("#")) for text in found if text]

    @property
    def verdicts(self) -> dict[int, str]:
        """Decisions of the table's page, by instance."""
        rows = self.all(ROWS)
        found = [row.get_attribute("data-verdict") for row in rows]
        return {i: v for i, v in zip(self.instances, found, strict=True) if v}

    @property
    def status(self) -> str:
        return str(self.one("#status").text)

    def export(self) -> Path:
        before = set(self.driver.downloads.glob("*.csv"))
        self.click(self.button("Export decisions"))
        return self.wait(
            lambda: next(iter(set(self.driver.downloads.glob("*.csv")) - before), None)
        )

    def wait(self, until: Callable[[], Any]) -> Any:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if found := until():
                return found
            time.sleep(0.02)
        raise AssertionError("nothing happened for 20 seconds")


def column(name: str) -> np.ndarray:
    values: np.ndarray = getattr(CONTENT.instances, name)
    return values


def test_sections_and_charts(page: Page) -> None:
    page.open()
    assert "sample run" in page.driver.title
    titles = [title.text for title in page.all("main h2")]
    assert titles == [
        "Learning curves",
        "Instance temperatures",
        "Estimated noise",
        "Classes",
        "Review the labels",
    ]
    assert [link.text for link in page.all("#sections a")] == ["Overview", *titles]
    assert len(page.all(".chart svg")) == 4
    assert "Epoch 6: test 75.0 %" in page.one("#accuracy .readout").text
    assert len(page.all(".classes tbody tr")) == len(CLASSES)


def test_a_chart_is_read_with_the_arrow_keys(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open()
    chart = page.one("#accuracy .chart")
    chart.send_keys(Keys.ARROW_LEFT)
    assert "Epoch 5: test 70.0 %" in page.one("#accuracy .readout").text
    chart.send_keys(Keys.HOME)
    assert "Epoch 1: test 50.0 %" in page.one("#accuracy .readout").text


def test_sorting(page: Page) -> None:
    page.open()
    assert page.instances == column("index")[:50].tolist()
    for sort, values in {
        "margin": column("margin").round(3),
        "sigma": -column("temperature"),
        "given": column("given_label"),
        "index": column("index"),
    }.items():
        page.click(page.one(f"button[data-sort={sort}]"))
        order = np.argsort(values, kind="stable")
        assert page.instances == column("index")[order][:50].tolist(), sort
    page.click(page.one("button[data-sort=index]"))
    assert page.instances == list(range(129, 79, -1))
    assert page.one("th[aria-sort]").get_attribute("aria-sort") == "descending"


def test_pages(page: Page) -> None:
    page.open()
    seen = page.instances
    while (forward := page.button("Next")).is_enabled():
        page.click(forward)
        seen += page.instances
    assert seen == column("index").tolist()


def test_filters(page: Page) -> None:
    page.open()
    given, suggested, score = (
        column(name) for name in ("given_label", "predicted_label", "label_score")
    )
    index = column("index")
    count = int((given == 1).sum())
    page.choose("Given", f"dog ({count})")
    assert page.instances == index[given == 1][:50].tolist()
    page.labelled("to").send_keys("0.3")
    assert page.instances == index[(given == 1) & (score.round(4) <= 0.3)].tolist()
    page.click(page.button("Reset"))
    page.labelled("Score from").send_keys("0.7")
    assert page.instances == index[score.round(4) >= 0.7][:50].tolist()
    page.click(page.button("Reset"))
    page.click(page.labelled("label issues only"))
    assert page.one(".counter").text.startswith(f"{int((score < 0.5).sum())} instances of 130")
    # A cell of the matrix asks for its pair.
    page.click(page.one(".matrix tbody tr:nth-child(3) td button"))
    pair = (given == 2) & (suggested == 3)
    assert page.instances == index[pair].tolist()


def test_search(page: Page) -> None:
    page.open()
    page.labelled("Search").send_keys("17.PNG")
    assert sorted(page.instances) == [17, 117]
    page.labelled("Search").send_keys(" none like this")
    assert page.instances == []
    assert "Widen the filters" in page.one(".empty").text


def test_deciding_by_mouse(page: Page) -> None:
    page.open()
    first, second, third = page.instances[:3]
    rows = page.all(ROWS)
    page.click(rows[0].find_element("css selector", ".verdict.wrong"))
    page.click(page.all(ROWS)[1].find_element("css selector", ".verdict.fine"))
    page.click(page.all(ROWS)[2].find_element("css selector", ".verdict.unclear"))
    assert page.verdicts == {first: "wrong", second: "fine", third: "unclear"}
    suggested = CLASSES[column("predicted_label")[0]]
    assert f"should be {suggested}" in page.all(ROWS)[0].text
    # Another label than the suggested one.
    page.click(page.all(ROWS)[0].find_element("css selector", ".right-label button"))
    given = CLASSES[column("given_label")[0]]
    choices = [choice.text.split("\n")[0] for choice in page.all("#choices li")]
    assert choices[0] == suggested
    assert given not in choices
    other = choices[1]
    page.click(page.all("#choices li")[1])
    assert f"should be {other}" in page.all(ROWS)[0].text
    # The same button again takes a decision back.
    page.click(page.all(ROWS)[1].find_element("css selector", ".verdict.fine"))
    assert page.verdicts == {first: "wrong", third: "unclear"}
    page.choose("Decision", "undecided")
    assert not {first, third} & set(page.instances)


def test_deciding_by_keyboard_alone(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open()
    page.press(Keys.TAB)
    assert page.driver.switch_to.active_element.text == "Skip to the review"
    page.press(Keys.ENTER)
    for _ in range(40):
        page.press(Keys.TAB)
        if page.driver.switch_to.active_element.tag_name == "tr":
            break
    shown = page.instances
    page.press("w", "f", "u", "x", "j", Keys.ARROW_DOWN, "k", "f")
    assert page.verdicts == dict(
        zip([*shown[:4], shown[5]], ["wrong", "fine", "unclear", "exclude", "fine"], strict=True)
    )
    page.press("k", Keys.BACKSPACE, "z", "z")
    assert page.verdicts == dict(
        zip(shown[:4], ["wrong", "fine", "unclear", "exclude"], strict=True)
    )
    # The label by name: the dialog takes the focus and gives it back.
    page.press("k", "l")
    assert page.one("#chooser").get_attribute("open") is not None
    place = shown.index(int(page.one("#chooser-title").text.split()[-1]))
    label = next(i for i in range(4) if i != column("given_label")[place])
    page.press(CLASSES[label], Keys.ENTER)
    assert page.verdicts[shown[place]] == "wrong"
    assert f"should be {CLASSES[label]}" in page.all(ROWS)[place].text
    assert page.driver.switch_to.active_element.tag_name == "tr"
    # Large, decided there, and closed.
    page.press(Keys.ENTER)
    assert page.one("#detail").get_attribute("open") is not None
    title = page.one("#detail-title").text
    page.press("x")
    assert page.one("#detail-title").text != title
    assert page.verdicts[int(title.split()[-1])] == "exclude"
    page.press(Keys.ESCAPE)
    assert page.driver.switch_to.active_element.tag_name == "tr"
    # Letters in the search are letters.
    page.press("/")
    before = page.verdicts
    page.press("f")
    assert page.labelled("Search").get_attribute("value") == "f"
    assert before.items() >= page.verdicts.items()
    # From row to row over the end of the page.
    page.click(page.button("Reset"))
    page.click(page.all(ROWS)[-1])
    last = page.instances[-1]
    page.driver.execute_script("arguments[0].focus()", page.all(ROWS)[-1])
    page.press("j")
    assert last not in page.instances
    assert page.driver.switch_to.active_element.get_attribute("aria-label").startswith(
        f"Instance {column('index')[50]},"
    )


def decide_some(page: Page) -> dict[int, str]:
    row = page.all(ROWS)[0]
    page.driver.execute_script("arguments[0].focus()", row)
    page.press("w", "f", "u", "x")
    return dict(zip(page.instances[:4], ["wrong", "fine", "unclear", "exclude"], strict=True))


def test_a_reload_keeps_decisions_and_another_run_has_its_own(page: Page) -> None:
    decided = decide_some(page.open())
    page.driver.refresh()
    assert page.verdicts == decided
    assert "4 decided: 1 wrong, 1 fine, 1 unclear, 1 excluded" in page.one(".progress").text
    page.open(replace(CONTENT, run=replace(CONTENT.run, key="another")))
    assert page.verdicts == {}
    page.open()
    assert page.verdicts == decided
    page.click(page.button("Clear all"))
    page.driver.switch_to.alert.accept()
    assert page.verdicts == {}
    page.driver.refresh()
    assert page.verdicts == {}


def test_the_export_is_what_was_decided(page: Page) -> None:
    decided = decide_some(page.open())
    path = page.export()
    assert path.name.startswith("decisions-sample-run")
    labels = torch.from_numpy(given_labels(130))
    found = read_decisions(path, labels, CLASSES, source_rows=10 * torch.arange(130))
    assert {each.index: each.decision for each in found} == decided
    [wrong] = [each for each in found if each.decision == "wrong"]
    assert wrong.label == column("predicted_label")[column("index") == wrong.index][0]
    path.unlink()


@pytest.mark.parametrize(
    "names",
    [HOSTILE, ("3", "1", "0", "2"), ("crane", "gull", "crane", "owl")],
    ids=["hostile", "numbers", "shared"],
)
def test_any_class_name_goes_out_and_comes_in_again(page: Page, names: tuple[str, ...]) -> None:
    content = sample_report(60, class_names=names)
    decided = decide_some(page.open(content))
    path = page.export()
    labels = torch.from_numpy(given_labels(60, len(names)))
    found = read_decisions(path, labels, names)
    assert {each.index: each.decision for each in found} == decided
    page.click(page.button("Clear all"))
    page.driver.switch_to.alert.accept()
    page.one("input[type=file]").send_keys(str(path))
    page.wait(lambda: page.verdicts == decided)
    path.unlink()


def import_file(page: Page, path: Path, words: str) -> None:
    page.one("input[type=file]").send_keys(str(path))
    page.wait(lambda: words in page.status)


def test_an_import_is_checked_and_taken_whole_or_not_at_all(page: Page, tmp_path: Path) -> None:
    page.open(sample_report(130, num_rows=60))
    labels, dataset = given_labels(130), CONTENT.run.dataset
    path = tmp_path / "decisions.csv"
    shown = page.instances
    hidden = next(index for index in range(130) if index not in column("index")[:60])
    decisions = [
        Decision(index=i, given_label=int(labels[i]), decision="fine", note='a, "note"\n')
        for i in (shown[1], hidden)
    ]
    write_decisions(path, decisions, CLASSES, dataset)
    import_file(page, path, "Imported 2 decisions.")
    assert page.verdicts == {shown[1]: "fine"}
    # What is not on the page is kept and goes out again, with its note.
    exported = page.export()
    found = read_decisions(exported, torch.from_numpy(labels), CLASSES)
    assert sorted(found, key=lambda each: each.index) == sorted(
        decisions, key=lambda each: each.index
    )
    exported.unlink()

    with path.open(newline="") as file:
        good = list(csv.DictReader(file))
    for change, words in [
        ({"index": "130"}, "Line 2: index should be an instance, 0 to 129"),
        ({"index": "-1"}, "Line 2: index should be an instance"),
        ({"given_label": "gnu"}, "Line 2: given_label should be a class"),
        ({"decision": "maybe"}, "Line 2: decision should be"),
        ({"decision": "wrong"}, "Line 2: a wrong label should come with the right one"),
        ({"dataset": "other"}, "Line 2: dataset should be"),
        ({"given_label": CLASSES[labels[shown[1]] - 1]}, "Line 2: given_label of instance"),
        ({"index": str(hidden)}, f"instance {hidden} was decided before, on line 2"),
    ]:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(good[0]))
            writer.writeheader()
            writer.writerow({**good[0], **change})
            writer.writerow(good[1])
        import_file(page, path, words)
        assert page.verdicts == {shown[1]: "fine"}
    path.write_text("index,decision\n1,fine\n")
    import_file(page, path, "Missing: given_label, label, dataset")
    path.write_text('index,"decision\n1,fine\n')
    import_file(page, path, "quotation mark")


def test_hostile_texts_are_shown_and_never_run(page: Page) -> None:
    content = sample_report(44, class_names=HOSTILE, texts=HOSTILE)
    named = replace(content.run, name=HOSTILE[1], summary=HOSTILE, missing=HOSTILE)
    page.open(replace(content, run=replace(named, settings={"x": HOSTILE[0], "y": {"z": HOSTILE}})))
    counts = "return [...document.querySelectorAll('script, img, iframe, object')].length"
    assert page.driver.execute_script("return window.ran ?? null") is None
    assert page.driver.execute_script(counts) == 2
    texts = page.driver.execute_script(
        "return [...document.querySelectorAll('.review .text')].map(each => each.textContent)"
    )
    assert set(texts) == set(HOSTILE)
    given = page.driver.execute_script(
        "return [...document.querySelectorAll('[data-title=Given] bdi')].map(b => b.textContent)"
    )
    assert set(given) <= set(HOSTILE)
    page.driver.execute_script("arguments[0].focus()", page.all(ROWS)[0])
    page.press("l")
    choices = page.driver.execute_script(
        "return [...document.querySelectorAll('#choices bdi')].map(each => each.textContent)"
    )
    assert len(choices) == len(HOSTILE) - 1
    assert set(choices) < set(HOSTILE)
    assert page.driver.execute_script("return window.ran ?? null") is None
    overflow = "return document.documentElement.scrollWidth - innerWidth"
    assert page.driver.execute_script(overflow) <= 0


def test_hostile_file_names(page: Page) -> None:
    page.open(sample_report(len(HOSTILE), names=HOSTILE))
    files = page.driver.execute_script(
        "return [...document.querySelectorAll('.review .file')].map(each => each.textContent)"
    )
    assert set(files) == set(HOSTILE)
    alternatives = [image.get_attribute("alt") for image in page.all("img.thumb")]
    assert set(alternatives) == set(HOSTILE)
    assert page.driver.execute_script("return window.ran ?? null") is None


def test_the_policy_stops_what_should_never_be_there(page: Page) -> None:
    page.open()
    page.driver.execute_script(
        "const script = document.createElement('script');"
        "script.textContent = 'window.ran = 1';"
        "document.body.append(script);"
        "const image = document.createElement('img');"
        "image.src = 'http://127.0.0.1:9/'; document.body.append(image);"
    )
    complaints: list[str] = []
    page.wait(lambda: complaints.extend(console(page.driver)) or len(complaints) == 2)
    assert all("Content Security Policy" in complaint for complaint in complaints)
    assert page.driver.execute_script("return window.ran ?? null") is None
    page.driver.execute_script("performance.clearResourceTimings()")  # what was refused, too


def test_a_run_without_tables_says_what_is_missing(page: Page) -> None:
    page.open(bare_report())
    assert "There are no instance parameters." in page.one(".notice").text
    assert [title.text for title in page.all("main h2") if title.is_displayed()] == [
        "Learning curves",
        "Classes",
    ]


@pytest.mark.parametrize("width", [320, 390, 800])
def test_narrow_screens_never_scroll_sideways(page: Page, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.open(sample_report(60, class_names=HOSTILE, texts=HOSTILE))
    found = page.driver.execute_script("return document.documentElement.scrollWidth")
    assert found <= width


def test_themes(page: Page) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    page.open()
    colours = {}
    for _ in range(3):
        page.click(page.one("#theme"))
        page.driver.refresh()
        colours[page.one("#theme").text.split()[-1]] = page.driver.execute_script(paper)
    assert colours.keys() == {"Auto", "Light", "Dark"}
    assert colours["Light"] != colours["Dark"]


def test_paper(page: Page) -> None:
    page.open()
    pdf = page.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    content = base64.b64decode(pdf["data"])
    assert content.startswith(b"%PDF")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = [each.is_displayed() for each in page.all(".tools, .bar, .pager, .keys")]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert hidden
    assert not any(hidden)


def test_every_control_has_a_name(page: Page) -> None:
    page.open()
    unnamed = page.driver.execute_script(
        "return [...document.querySelectorAll('button, input, select')].filter(each =>"
        " !(each.textContent.trim() || each.ariaLabel || each.labels?.length)).length"
    )
    assert unnamed == 0


def test_a_run_of_the_size_of_imagenet(page: Page) -> None:
    num_instances, num_rows = 1_281_167, 4000
    names = tuple(f"class {number}" for number in range(1000))
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    content = sample_report(
        num_instances, num_rows=num_rows, class_names=names, epochs=60, image=noise
    )
    # The time of the page's own thread: other programs on the machine don't count.
    page.driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    page.open(content)
    metrics = page.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    page.driver.execute_cdp_cmd("Performance.disable", {})
    [seconds] = [each["value"] for each in metrics if each["name"] == "TaskDuration"]
    assert 0.05 < seconds < 3
    assert 5_000_000 < (page.folder / "report.html").stat().st_size < 20_000_000
    assert page.one(".counter").text == "4,000 instances of 4,000"
    assert "4,000 lowest scores of 1,281,167" in page.one("#review-words").text
    page.click(page.one("button[data-sort=margin]"))
    assert len(page.instances) == 50
    page.click(page.button("Show all 1,000 classes"))
    assert len(page.all(".classes tbody tr")) == 1000
