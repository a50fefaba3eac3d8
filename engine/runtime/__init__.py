"""The processes of a run: the worker, the process of a group of stages, and what a stage may touch."""
