"""The page of suspects in a browser, as a person uses it."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from browsers import opened
from suspects import EVIL, Pictures, ledger_of

from dynaprune.tracking import read_verdicts
from dynaprune.tracking.review import write_review

pytestmark = pytest.mark.long

PHONE = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def path(tmp_path):
    names = [f"{number}, of many.png" for number in range(12)]
    return write_review(ledger_of(), tmp_path / "suspects.html", Pictures(), count=6, ids=names)


def shown(page):
    """Return the index of the sample that the page shows."""
    facts = page.inner_text("#card small")
    return int(facts.partition("index ")[2].split()[0])


def count_of(page):
    return page.inner_text("#count")


def saved(page, folder):
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "verdicts.csv"
    download.value.save_as(folder / "verdicts.csv")
    return folder / "verdicts.csv"


def press(page, keys):
    for key in keys:
        page.keyboard.press(key)


def test_keys_decide_move_and_undo(browser, path):
    with opened(browser, path) as page:
        assert (shown(page), count_of(page)) == (11, "0 of 6 decided, 0 wrong")
        press(page, "r")
        assert (shown(page), count_of(page)) == (10, "1 of 6 decided, 0 wrong")
        press(page, "w")
        assert (shown(page), count_of(page)) == (9, "2 of 6 decided, 1 wrong")
        press(page, "s")
        assert (shown(page), count_of(page)) == (8, "2 of 6 decided, 1 wrong, 1 skipped")
        press(page, "jj")  # to where it is already decided
        assert shown(page) == 10
        assert page.inner_text("#question") == "Your verdict: wrong"
        press(page, ["ArrowRight", "k"])
        assert shown(page) == 8
        press(page, "uu")
        assert (shown(page), count_of(page)) == (10, "1 of 6 decided, 0 wrong")
        press(page, "u")
        assert (shown(page), count_of(page)) == (11, "0 of 6 decided, 0 wrong")
        assert page.is_disabled("#undo")
        assert page.is_disabled("#save")
        press(page, ["Control+s", "Alt+w"])  # the browser's own
        assert count_of(page) == "0 of 6 decided, 0 wrong"


def test_a_class_is_chosen_by_key_and_by_button(browser, path, tmp_path):
    with opened(browser, path) as page:
        press(page, "1")  # of sample 11, a dog: it is a cat
        assert shown(page) == 10
        page.get_by_role("button", name="dog 3").click()  # of sample 10, EVIL
        press(page, "1")  # of sample 9, a cat: so the label is right
        found = read_verdicts(saved(page, tmp_path))
    assert found.indices.tolist() == [11, 10, 9]
    assert found.wrong.tolist() == [11, 10]
    assert found.new_labels.tolist() == ["cat", "dog", ""]
    targets = Pictures().targets
    assert found.relabel(targets, Pictures.classes).tolist() == [*targets[:10], 2, 0]


def test_digits_are_their_own_keys(browser, tmp_path):
    class Digits(Pictures):
        classes = ("0", "1", "2")

    path = write_review(ledger_of(), tmp_path / "suspects.html", Digits())
    with opened(browser, path) as page:
        press(page, "0")  # of sample 11, a 2
        press(page, "93")  # no such classes
        press(page, "1")  # of sample 10, a 1: so the label is right
        found = read_verdicts(saved(page, tmp_path))
    assert found.indices.tolist() == [11, 10]
    assert found.new_labels.tolist() == ["0", ""]


def test_a_reload_keeps_the_verdicts(browser, path):
    with opened(browser, path, loads=2) as page:
        press(page, "rw")
        page.reload()
        page.wait_for_selector("body[data-drawn=yes]")
        assert (shown(page), count_of(page)) == (9, "2 of 6 decided, 1 wrong")


def test_pages_of_other_content_keep_their_own(browser, path, tmp_path):
    other = write_review(ledger_of(), tmp_path / "other.html", Pictures(), count=5)
    with opened(browser, path) as page:
        press(page, "rw")
        kept = page.evaluate("Object.keys(localStorage)")
        second = page.context.new_page()
        second.goto(other.as_uri())
        assert second.inner_text("#count") == "0 of 5 decided, 0 wrong"
        second.keyboard.press("w")
        assert len(second.evaluate("Object.keys(localStorage)")) == len(kept) + 1


def test_what_is_kept_may_be_damaged_or_forbidden(browser, path):
    for value in ("{", "3", '[[11, "hacked", ""], [99, "right", ""]]'):
        with opened(browser, path, loads=2) as page:
            page.evaluate("value => localStorage.setItem(KEY, value)", value)
            page.reload()
            page.wait_for_selector("body[data-drawn=yes]")
            assert count_of(page) == "0 of 6 decided, 0 wrong"
    with opened(browser, path) as page:
        page.evaluate("void (Storage.prototype.setItem = () => { throw new Error('full') })")
        press(page, "r")
        assert "does not keep your verdicts" in page.inner_text("#note")
        assert count_of(page) == "1 of 6 decided, 0 wrong"


def test_the_verdicts_as_csv(browser, path, tmp_path):
    with opened(browser, path) as page:
        press(page, "sw2")
        with saved(page, tmp_path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    assert rows == [
        ["index", "id", "label", "verdict", "new_label"],
        ["11", "11, of many.png", "dog", "skip", ""],
        ["10", "10, of many.png", shortened(EVIL), "wrong", ""],
        ["9", "9, of many.png", "cat", "wrong", shortened(EVIL)],
    ]


def shortened(label):
    return f"{label[:79]}…"


class Malicious(Pictures):
    """Texts, names and labels that mean harm."""

    def __getitem__(self, index):
        return f"{EVIL} {index}\n\u2028<!--", self.targets[index]


def test_texts_that_mean_harm_are_shown_as_text(browser, tmp_path):
    path = tmp_path / "suspects.html"
    ledger = ledger_of(method=EVIL, dataset=EVIL)
    write_review(ledger, path, Malicious(), ids=[f"{EVIL} {number}" for number in range(12)])
    with opened(browser, path) as page:
        press(page, "2")
        page.select_option("#of-label", index=1)
        assert page.evaluate("window.harmed") is None
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 2
        assert EVIL in page.inner_text("#card blockquote")
        assert EVIL in page.inner_text("header p")


def test_filters_by_class_and_by_verdict(browser, path):
    with opened(browser, path) as page:
        options = page.locator("#of-label option").all_inner_texts()
        assert options == ["all (6)", f"{shortened(EVIL)} (2)", "cat (2)", "dog (2)"]
        page.select_option("#of-label", label="cat (2)")
        assert shown(page) == 9
        assert page.locator("#all li:visible").count() == 2
        page.locator("#of-label").blur()
        press(page, "rw")
        assert count_of(page) == "2 of 6 decided, 1 wrong"
        page.select_option("#of-label", index=0)
        page.select_option("#of-verdict", "wrong")
        assert shown(page) == 6
        assert page.locator("#all li:visible").count() == 1
        page.select_option("#of-verdict", "none")
        page.locator("#all li:visible button").last.click()
        assert shown(page) == 7


def test_on_a_phone(browser, path, tmp_path):
    with opened(browser, path, **PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        for verdict in ("right", "wrong", "skip"):
            box = page.locator(f"[data-verdict={verdict}]").bounding_box()
            assert min(box["width"], box["height"]) >= 48
            assert box["y"] + box["height"] <= 740  # in reach without scrolling
        heights = page.eval_on_selector_all(
            "button, select", "all => all.map(each => each.getBoundingClientRect().height)"
        )
        assert min(heights) >= 44
        page.locator("[data-verdict=wrong]").tap()
        page.get_by_role("button", name="cat", exact=True).first.tap()
        assert count_of(page) == "2 of 6 decided, 2 wrong"
        assert page.locator("#card").bounding_box()["y"] >= 0  # the next one is in sight


def test_long_words_and_many_classes_on_a_phone(browser, tmp_path):
    class Many(Pictures):
        classes = tuple(f"{number} {'class' * 30}" for number in range(40))

        def __getitem__(self, index):
            return "word" * 200, self.targets[index]

    path = tmp_path / "suspects.html"
    write_review(ledger_of(), path, Many(), ids=[f"{'folder/' * 40}{n}.png" for n in range(12)])
    with opened(browser, path, **PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        assert page.locator("#choice option").count() == 41
        page.select_option("#choice", index=4)
        assert count_of(page) == "1 of 12 decided, 1 wrong"


def test_dark_and_light(browser, path):
    for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(18, 22, 29)")):
        with opened(browser, path, color_scheme=scheme) as page:
            found = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert found == paper


def test_a_sound_is_played(browser, tmp_path):
    class Tones(Pictures):
        def __getitem__(self, index):
            return np.sin(np.arange(4000) * (0.1 + 0.01 * index)), self.targets[index]

    path = write_review(ledger_of(), tmp_path / "s.html", Tones(), sampling_rate=8000)
    with opened(browser, path) as page:
        page.wait_for_function("document.querySelector('audio').duration > 0")
        assert page.evaluate("document.querySelector('audio').duration") == pytest.approx(0.5)
        assert page.locator("#card polygon").count() == 1


def test_everything_decided(browser, path):
    with opened(browser, path) as page:
        press(page, "rwrwrw")
        assert count_of(page) == "6 of 6 decided, 3 wrong"
        assert page.inner_text("#note") == "You have seen all suspects: save the verdicts."


def test_the_policy_of_the_page_stops_what_is_not_its_own(browser, path):
    text = path.read_text()
    assert text.count("</body>") == 1
    foreign = "<script>window.harmed = true</script><style>body { color: red }</style></body>"
    path.write_text(text.replace("</body>", foreign))
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.inner_text("#count") == "0 of 6 decided, 0 wrong"
    assert page.evaluate("window.harmed") is None
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 35, 48)"
    page.close()
