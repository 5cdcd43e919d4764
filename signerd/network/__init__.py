"""How whoever may use the network uses it. Needs the extra ``signerd[network]``."""
