"""The commands of signerctl, a module each: ``run(arguments)`` does it and returns the exit code."""
