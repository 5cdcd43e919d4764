from signerd_key_gost.failures import fault, not_found, unavailable


def test_the_peer_is_not_told_what_the_operator_is() -> None:
    for made, code in (
        (fault("file_mode", "secret"), "key.backend_fault"),
        (not_found("no_such_key", "secret"), "key.not_found"),
        (unavailable("engine_missing", "secret"), "key.backend_unavailable"),
    ):
        assert made.code == code
        assert "secret" not in made.public
        assert "secret" in made.args[0]
