"""What the page says of a search's trials: the same as `sweep explain`, in the panel of each."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from mnist_sweep.report.analysis.explained import Explained, Explainer
from mnist_sweep.report.page.explained import MOST_POINTS, trials_data
from mnist_sweep.report.read.load import load_results
from mnist_sweep.report.read.reaching import opened_search
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.table import ResultsTable
from tests.browser import Opened
from tests.report_page import HOSTILE, html, read

ARCHIVE = Path(__file__).parent / "archive"
STUDIES = ("finished", "rungs", "replicates", "unfinished")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("trials")
    shutil.copytree(ARCHIVE / "multirun", folder / "multirun")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def report(here: Path) -> Path:
    return html(here, "multirun")


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Opened]:
    shown = Opened(browser, report)
    yield shown
    assert shown.said == [] and shown.asked == []
    assert shown.page.evaluate("window.harmed") is None
    shown.context.close()


def explained(study: str) -> list[Explained]:
    with opened_search(Path("multirun") / study, None) as search:
        explainer = Explainer(search)
        return [explainer.explain(number) for number in range(len(explainer.trials))]


def run_of(study: str, number: int) -> str:
    runs = load_results("multirun")
    return str(runs[(runs.study == study) & (runs.trial == number)].run_id.iloc[0])


def open_run(opened: Opened, study: str, number: int) -> Any:
    opened.go(f"#run={run_of(study, number)}")
    opened.panel()
    return opened.page.get_by_role("dialog")


def rows(panel: Any, label: str) -> list[list[str]]:
    found = panel.get_by_role("region", name=label).locator("tbody tr")
    return [row.locator("th, td").all_text_contents() for row in found.all()]


def test_a_pruned_trial_has_its_proposal_and_its_cuts(opened: Opened) -> None:
    info = explained("finished")[5]
    panel = open_run(opened, "finished", 5)
    assert f"By {info.asked}." in panel.text_content()
    of = {name: of for name, _, of in rows(panel, "What was proposed")}
    assert of == {choice.name: choice.of for choice in info.point}
    epochs = rows(panel, "What each epoch measured")
    assert epochs == [["1", "9.50", "11.00, the median of 5 completed trials"]]
    assert [round(100 * (e.val_acc or 0), 2) for e in info.epochs] == [9.5]


def test_a_trial_that_was_not_promoted_has_the_command_to_the_end(opened: Opened) -> None:
    info = explained("rungs")[2]
    panel = open_run(opened, "rungs", 2)
    commands = panel.locator(".command code").all_text_contents()
    assert info.whole in commands
    assert rows(panel, "What each epoch measured")[0][-1] == "12.00, rung 1"


def test_a_trial_under_way_opens_without_a_row(opened: Opened) -> None:
    [info] = [trial for trial in explained("unfinished") if trial.state == "running"]
    link = opened.page.get_by_role("region", name="unfinished under way").get_by_role("link")
    link.focus()
    opened.page.keyboard.press("Enter")
    assert opened.panel() == f"Trial unfinished/{info.number}"
    panel = opened.page.get_by_role("dialog")
    assert len(rows(panel, "What each epoch measured")) == len(info.epochs)
    assert panel.locator("svg.small-curve").count() == 1
    assert info.again in panel.locator(".command code").all_text_contents()
    opened.page.keyboard.press("Escape")
    opened.page.wait_for_selector("#panel:not([open])", state="attached")
    assert link.evaluate("(link) => link === document.activeElement")
    opened.go("#trial=unfinished/99")
    assert "no such trial" in str(panel.text_content())


def test_who_points_at_a_trial_is_told_why_it_ended(opened: Opened) -> None:
    opened.page.get_by_label("Filter").fill("study=finished status=infeasible")
    opened.page.keyboard.press("Enter")
    hint = opened.page.locator("#grid .body .row .id").first.get_attribute("title")
    assert hint.startswith("RandomSampler; ") and "parameters" in hint
    plot = opened.page.locator("[id^=history-search]").first
    plot.scroll_into_view_if_needed()
    plot.locator(".main-svg").first.wait_for()
    texts = plot.evaluate("(plot) => plot.data.flatMap((trace) => trace.text ?? [])")
    assert any("RandomSampler" in text for text in texts)


def hostile_search(folder: Path) -> None:
    """Its values, its reasons and its name are markup."""
    search = folder / "multirun" / "hostile"
    search.mkdir(parents=True)
    backend = JournalFileBackend(str(search / "study.journal"))
    study = optuna.create_study(
        study_name=HOSTILE[1], storage=optuna.storages.JournalStorage(backend), direction="maximize"
    )
    kind = CategoricalDistribution(HOSTILE)
    for number, text in enumerate(HOSTILE):
        state = TrialState.RUNNING if number == 0 else TrialState.COMPLETE
        study.add_trial(
            create_trial(
                state=state,
                value=None if number == 0 else 0.5,
                params={HOSTILE[4]: text},
                distributions={HOSTILE[4]: kind},
                user_attrs={"overrides": [text], "retry_of": text},
                intermediate_values={1: 0.5},
            )
        )
        record = RunRecord(f"h{number}", "completed", {"data": "mnist"}, 0, val_acc=0.5)
        record.study, record.trial, record.error = HOSTILE[1], number, text
        record.run_dir = str(search / str(number))
        record.overrides = f"a.b={number}"
        if number:
            ResultsTable(search / "results.csv").append(record)


def test_hostile_values_are_text(browser: Any, tmp_path: Path) -> None:
    hostile_search(tmp_path)
    from mnist_sweep.runs.record import write_result

    search = tmp_path / "multirun" / "hostile"
    for number in range(1, len(HOSTILE)):
        (search / str(number)).mkdir()
        record = RunRecord(f"h{number}", "completed", {"data": "mnist"}, 0, val_acc=0.5)
        write_result(search / str(number), record)
    shown = Opened(browser, html(tmp_path, str(search)))
    shown.go("#run=h2")
    shown.panel()
    text = str(shown.page.get_by_role("dialog").text_content())
    assert f"the point of trial {HOSTILE[2]}" in text
    shown.page.keyboard.press("Escape")
    shown.page.get_by_role("region", name="under way").get_by_role("link").click()
    assert HOSTILE[1] in shown.panel()
    assert HOSTILE[0] in str(shown.page.get_by_role("dialog").text_content())
    assert shown.page.locator("img, [onerror], [onload]").count() == 0
    assert shown.page.evaluate("window.harmed") is None and shown.said == []
    shown.context.close()


def test_long_histories_are_thinned_to_their_last_epochs(here: Path) -> None:
    from dataclasses import replace

    trial = explained("finished")[0]
    epochs = tuple(
        replace(trial.epochs[0], epoch=n, against=None, val_acc=n / 1000) for n in range(1, 301)
    )
    data = trials_data([replace(trial, epochs=epochs)], "val_acc", {trial.number: ""})
    told = data["trials"][str(trial.number)]
    assert len(told["values"]) <= MOST_POINTS and told["epochs"][-1] == 300


def test_the_page_has_few_bytes_for_a_trial(report: Path) -> None:
    """What all have in common stands once."""
    data = read(report).data()["searches"]
    assert set(data) == set(STUDIES) | {"grid"}
    assert data["rungs"]["cuts"] and all("cuts" not in t for t in data["rungs"]["trials"].values())
