"""The backend, judged by the contract of signerd's conformance kit."""

import pytest
from signerd_conformance.contracts import KeyBackendContract

import {{ cookiecutter.__package }}.backend


class TestContract(KeyBackendContract):
    plugin = {{ cookiecutter.__package }}.backend
    scheme = "{{ cookiecutter.scheme }}"

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.directory = tmp_path
        self.backend().generate("{{ cookiecutter.scheme }}:first", "ES256")

    def settings(self):
        return {"directory": str(self.directory)}

    def keys(self):
        return ["{{ cookiecutter.scheme }}:first"]

    def free(self):
        return "{{ cookiecutter.scheme }}:new", "ES256"
