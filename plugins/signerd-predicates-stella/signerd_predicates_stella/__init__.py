"""The stella predicate types: sbom, vex, report and promotion.

They describe documents by digest and are small; each schema fixes the least that a document must say, and
allows more.
"""
