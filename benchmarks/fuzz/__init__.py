"""Fuzzing of everything that reads from outside: a typed error or a quarantined row, in bounded time and memory.

``targets.py`` are the readers, ``mutations.py`` makes cases of seeds, ``giants.py`` are files that want all memory,
``run.py`` tries them. A case that once broke something lies in ``tests/corpus`` and is tried by the tests for ever.
"""
