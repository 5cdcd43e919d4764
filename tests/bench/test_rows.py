import pytest

from bench.load import Sample
from bench.measures import DEFAULT_ROWS, ROWS, purpose, selected
from bench.rows import Row, pair_rows, sample_row, table


def sample(rate: float, p99: float, failures: int = 0, requests: int = 10) -> Sample:
    return Sample(
        connections=8,
        requests=requests,
        answered=requests,
        failures=failures,
        seconds=2.0,
        rate=rate,
        p50_us=p99 / 2,
        p99_us=p99,
        p99_by_time_us=p99,
        max_us=p99 * 2,
    )


def test_each_figure_is_the_median_and_failures_add_up() -> None:
    row = sample_row("signerd-8", [sample(100, 30), sample(300, 10, failures=2), sample(200, 20, failures=1)])
    assert (row.rate, row.p99_us, row.p50_us, row.failures) == (200, 20, 10, 3)
    assert row.detail["max_us"] == 60


def test_the_rate_of_a_batch_is_in_signatures() -> None:
    assert sample_row("batch", [sample(10, 1)], signatures=64).rate == 640


def test_a_ratio_is_taken_within_each_pair() -> None:
    # The machine was slow during the second pair: the medians of rates would say 1.0, the pairs say 2.0.
    mine = [sample(200, 5), sample(100, 10), sample(200, 5)]
    theirs = [sample(100, 10), sample(50, 20), sample(200, 5)]
    row = pair_rows(sample_row("signerd-8", mine), mine, theirs)
    assert row.ratio == 2.0
    assert row.detail["p99_ratio"] == 0.5


def test_a_peer_that_answered_nothing_gives_no_ratio() -> None:
    mine, theirs = [sample(200, 5)], [sample(0, 0, failures=8, requests=0)]
    assert pair_rows(sample_row("signerd-8", mine), mine, theirs).ratio is None


def test_latencies_of_a_batch_are_not_compared_with_those_of_one_signature() -> None:
    mine, theirs = [sample(10, 500)], [sample(320, 5)]
    row = pair_rows(sample_row("batch", mine, signatures=64), mine, theirs, signatures=64)
    assert row.ratio == 2.0
    assert "p99_ratio" not in row.detail


def test_the_table_shows_what_does_not_apply_as_a_dash_and_each_process() -> None:
    processes = [{"role": "sealer", "pss_mib": 12.5}]
    text = table([Row(name="rest", connections=0, pss_mib=42.0, detail={"processes": processes})])
    assert "-" in text.splitlines()[1].split()
    assert "42.0" in text
    assert "  sealer: pss_mib 12.5" in text


def test_a_family_selects_its_rows_and_a_name_only_itself() -> None:
    assert selected([]) == list(DEFAULT_ROWS)
    assert selected(["signerd"]) == ["signerd-1", "signerd-8", "signerd-64"]
    assert selected(["signerd-8", "signerd"]) == ["signerd-8", "signerd-1", "signerd-64"]
    assert selected(["ssh-agent-64"]) == ["ssh-agent-64"]


def test_an_unknown_row_is_named() -> None:
    with pytest.raises(KeyError, match="signer-8"):
        selected(["signer-8"])


@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_row_says_what_it_measures(name: str) -> None:
    assert len(purpose(name)) > 10
