"""Where foreign code is let in: found, verified, loaded, called under guard, started and watched as a
process.

:mod:`~signerd.host.distribution` and :mod:`~signerd.host.load` decide what is imported at all,
:mod:`~signerd.host.guard` is the one boundary for its exceptions, :mod:`~signerd.host.spawn` starts a worker
and :mod:`~signerd.host.supervision` says when to start it again. Nothing here decides a request.
"""
