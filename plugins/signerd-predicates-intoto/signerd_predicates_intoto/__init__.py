"""The public predicate types: CycloneDX, SPDX, OpenVEX, SLSA, the vetted in-toto types and cosign's own.

The predicate inside the payload is the document itself, never a wrapper around it; a check reads and never
changes.
"""
