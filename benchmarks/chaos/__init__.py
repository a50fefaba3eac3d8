"""Fault injection: what the project promises when a disk fails or a process dies, tried at every call.

``faults.c`` is the seam, ``operations.py`` what is disturbed, ``trial.py`` one disturbance, ``run.py`` the page.
"""
