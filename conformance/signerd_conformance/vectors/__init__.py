"""Test vectors for authors in any language: one JSON file for each area, which says in itself what it is about."""
