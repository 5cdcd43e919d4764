from signerd_key_gost.failures import unavailable


def test_the_peer_is_not_told_what_the_operator_is() -> None:
    made = unavailable("engine_missing", "secret")
    assert made.code == "key.backend_unavailable"
    assert "secret" not in made.public
    assert "secret" in made.args[0]
