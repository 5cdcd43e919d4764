"""The front end: adapters to the operating system, and the composition root (:mod:`signerd.daemon.main`)."""
