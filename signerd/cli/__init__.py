"""``signerd …``: the operator's commands. Machine output on stdout, everything else on stderr."""
