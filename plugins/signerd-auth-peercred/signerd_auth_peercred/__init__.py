"""Authenticates callers by what the kernel says of their socket (SO_PEERCRED): no token, no secret."""
