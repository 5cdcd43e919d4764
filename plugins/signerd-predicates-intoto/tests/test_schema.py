"""Compiled schemas: lazy, offline, linear."""

import subprocess
import sys
import time

import pytest

from signerd.errors import Refusal
from signerd_predicates_intoto.schema import compile_schema, packaged_schema, schema_check

URI = "https://schemas.example.com/other.json"


def test_a_reference_outside_the_package_is_refused():
    with pytest.raises(ValueError, match="outside its package"):
        compile_schema({"$ref": URI})


def test_a_reference_is_resolved_by_the_given_function_alone():
    asked = []

    def referred(uri):
        asked.append(uri)
        return {"type": "string"}

    compiled = compile_schema({"$ref": URI}, referred)
    assert asked == [URI]
    assert compiled.is_valid("x")
    assert not compiled.is_valid(1)


@pytest.mark.parametrize("pattern", [r"^(?!_:).+$", r"(a)\1", r"(?<=a)b"])
def test_a_pattern_that_needs_backtracking_is_refused(pattern):
    with pytest.raises(ValueError, match="regex"):
        compile_schema({"pattern": pattern})


def test_a_pattern_that_backtracks_elsewhere_is_linear_here():
    compiled = compile_schema({"pattern": "^(a+)+$"})
    started = time.perf_counter()
    assert not compiled.is_valid("a" * 100_000 + "b")
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("name", ["spdx-2.2", "spdx-2.3", "openvex-0.2.0", "in-toto"])
def test_every_packaged_schema_compiles(name):
    schema = packaged_schema(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    compile_schema(schema)


def test_format_is_asserted():
    assert not compile_schema({"format": "date-time"}).is_valid("yesterday")


def test_a_check_against_one_definition():
    check = schema_check("custom predicate", "in-toto", "cosign-custom-v1")
    check({"Data": "x", "Timestamp": "now"})
    with pytest.raises(Refusal) as caught:
        check({"Data": "x"})
    assert (
        caught.value.public == "not a valid custom predicate: the property 'Timestamp' is missing, at its top"
    )


def test_nothing_slow_is_imported_before_the_first_document():
    program = (
        "import sys; from signerd_predicates_intoto.plugin import signerd_predicates; signerd_predicates({});"
        "print([m for m in ('jsonschema_rs', 'cyclonedx', 'spdx_python_model') if m in sys.modules])"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout.strip() == "[]"
