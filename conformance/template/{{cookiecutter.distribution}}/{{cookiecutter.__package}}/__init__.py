"""{{ cookiecutter.description }}. References are ``{{ cookiecutter.scheme }}:NAME``."""

__version__ = "0.1.0"
