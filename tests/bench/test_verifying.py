from bench.verifying import measure_verifying


def test_every_kind_of_bundle_is_measured_and_verifies() -> None:
    rows = measure_verifying(rounds=1)
    assert [row.name for row in rows] == [
        "bare P-256 verification",
        "key",
        "key, log entry",
        "certificate, SCT, log entry, stamp",
    ]
    assert rows[0].ratio == 1
    assert all(row.a_minute > 0 for row in rows)
