"""The story of one request: :mod:`signerd.pipeline.sign`, one module per stage, and the evidence that they hand on."""
