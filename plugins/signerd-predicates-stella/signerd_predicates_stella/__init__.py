"""The stella predicate types: sbom, vex, report, promotion and replay.

They describe documents by digest and are small; each schema fixes the least that a document must say, and
allows more.
"""
