"""The story of one request: :mod:`signerd.pipeline.sign`, a module per stage, and their evidence."""
