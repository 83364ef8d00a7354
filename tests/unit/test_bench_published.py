"""What the benchmark publishes: figures and ratios of what was measured, in their places in the pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from benchmarks.peers.drawing import svg
from benchmarks.peers.plot import rate_plot
from benchmarks.peers.published import compared, extract, publish
from benchmarks.peers.results import Refresh, Report, Run, ratio
from benchmarks.peers.table import cold_rows, headline, not_measured
from benchmarks.splice import splice


def run(peer: str, rate: float, *, count: int = 10_000, number: int = 1, together: bool = False) -> Run:
    return Run(
        peer,
        count,
        number,
        0.5,
        count,
        seconds=count / rate,
        per_second=rate,
        cpu=50 / rate,
        memory=20_000_000 / rate,
        total=100_000_000,
        others=0.01,
        together=together,
    )


def report(*runs: Run) -> Report:
    settings = {peer: ["as it comes"] for peer in dict.fromkeys(one.peer for one in runs)}
    return Report("2 cores", 0.1, 0.9, 60.0, settings, {}, list(runs), [], {})


class TestPlaces:
    def test_what_stands_between_the_marks_is_replaced_and_nothing_else(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text("before\n\n<!-- table -->\n\nold\n\n<!-- /table -->\n\nafter\n")
        splice(page, "table", "new\n")
        splice(page, "table", "newer\n")
        assert page.read_text() == "before\n\n<!-- table -->\n\nnewer\n\n<!-- /table -->\n\nafter\n"

    @pytest.mark.parametrize(
        "text", ["", "<!-- table -->\n", "<!-- /table -->\n<!-- table -->\n", 2 * "<!-- table -->\n"]
    )
    def test_a_page_without_place_stays_as_it_is(self, tmp_path: Path, text: str) -> None:
        page = tmp_path / "page.md"
        page.write_text(text)
        with pytest.raises(ValueError, match="needs the lines"):
            splice(page, "table", "new")
        assert page.read_text() == text

    def test_the_pages_of_the_repository_have_their_places(self, tmp_path: Path) -> None:
        repository = Path(__file__).parents[2]
        (tmp_path / "benchmarks").mkdir()
        for page in ("README.md", "benchmarks/README.md"):
            (tmp_path / page).write_text((repository / page).read_text())
        publish(report(run("sipprofile", 1000), run("Kamailio uac", 500)), tmp_path)
        assert "Beside Kamailio uac with 10,000: 2 times its registrations" in (tmp_path / "README.md").read_text()
        assert "| 10,000 | sipprofile | 10.00 | 1,000 |" in (tmp_path / "benchmarks" / "README.md").read_text()
        splice(tmp_path / "benchmarks" / "README.md", "targets", "measured by benchmarks.targets")
        made = {path.name for path in (tmp_path / "benchmarks" / "published").iterdir()}
        plots = {f"{plot}.{kind}" for plot in ("memory", "registrations-per-second") for kind in ("png", "svg")}
        assert made == {"results.json", *plots}


class TestFigures:
    def test_a_ratio_is_taken_round_by_round(self) -> None:
        runs = [run("sipprofile", rate, number=number) for number, rate in enumerate((100, 10, 50), 1)]
        runs += [run("baresip", rate, number=number) for number, rate in enumerate((50, 10, 100), 1)]
        assert ratio(runs, "sipprofile", "baresip", 10_000) == 1.0

    def test_a_round_without_the_other_is_no_pair(self) -> None:
        runs = [run("sipprofile", 100), run("sipprofile", 1000, number=2), run("baresip", 50)]
        assert ratio(runs, "sipprofile", "baresip", 10_000) == 2.0

    def test_what_is_worse_is_said_as_it_is(self) -> None:
        [sentence] = compared(report(run("sipprofile", 1000), run("Kamailio uac", 4000)))
        assert sentence == (
            "Beside Kamailio uac with 10,000: 0.25 times its registrations a second, 4 times its memory, "
            "4 times its CPU time."
        )

    def test_large_ratios_are_numbers_too(self) -> None:
        [sentence] = compared(report(run("sipprofile", 12345), run("baresip", 10)))
        assert "1,234 times its registrations a second" in sentence

    def test_the_largest_number_that_both_got_is_compared(self) -> None:
        runs = [run("sipprofile", 1000, count=count) for count in (1_000, 10_000)]
        failed = Run("baresip", 10_000, 1, 0.5, 3_000, failure="not all in 30 s")
        [sentence] = compared(report(*runs, run("baresip", 500, count=1_000), failed))
        assert sentence.startswith("Beside baresip with 1,000: 2 times")
        assert "| 10,000 | baresip | not all registered |" in extract(
            report(*runs, run("baresip", 500, count=1_000), failed)
        )

    def test_what_ran_beside_others_is_no_cold_figure(self) -> None:
        found = report(run("sipprofile", 1000), run("sipprofile", 10, together=True))
        [row] = cold_rows(found)
        assert row[3] == "1,000"
        alone = report(run("sipprofile", 1000))
        assert svg(rate_plot(found)) == svg(rate_plot(alone))
        assert extract(found) == extract(alone)

    def test_refreshes_are_told_with_their_number(self) -> None:
        def refreshed(peer: str, cpu: float, count: int = 10_000) -> Run:
            refresh = Refresh(cpu, 1.0, 60.0, 0, 0, True)
            return replace(run(peer, 1000, count=count, together=True), refresh=refresh)

        found = report(refreshed("sipprofile", 0.03), refreshed("PJSIP", 0.1), refreshed("baresip", 0.2, 1_000))
        assert "1,000 refreshes take 0.030 s of CPU time with 10,000 (PJSIP 0.100)." in extract(found)

    def test_a_machine_that_was_not_quiet_is_told(self) -> None:
        assert "A quiet machine" in headline(report(run("sipprofile", 1000)))
        busy = Run("sipprofile", 10_000, 1, 4.0, 10_000, per_second=500.0, total=1, others=0.4)
        assert "in 1 of 2 runs" in headline(report(run("sipprofile", 1000), busy))
        assert "Other programs ran" in extract(report(run("sipprofile", 1000), busy))

    def test_nothing_is_said_of_what_was_not_measured(self) -> None:
        assert compared(report()) == []
        assert extract(report()).count("\n| ") == 0
        assert not_measured(report(run("sipprofile", 1000))) == []
