"""Entitlements and plans from the configuration or a local file: no licence server, no proof."""
