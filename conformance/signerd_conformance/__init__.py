"""The conformance kit of signerd: judges what others made by the rules that are published for it."""

__version__ = "0.1.0"
