"""Mains of the processes that do one thing for another: sign (:mod:`~signerd.worker.key`), read a large
document (:mod:`~signerd.worker.document`). Started by ``python -m``; nothing imports them.
"""
