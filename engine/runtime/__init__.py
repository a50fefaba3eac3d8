"""The processes of a run: the worker, the stage process, and the context that a stage sees.

The worker notes what it waits for in bytes that ``worker.lock`` has already, as its database cannot be written then
(``launch.write_wait``). A child whose own files find no space ends with an exit code of its own, and the worker starts
it again when there is some. When a child ends, by whatever means, the worker ends what is left of its process group:
vLLM's engine is a process that would keep the GPU.

A group runs in a fork of the prepared process, which has the libraries imported (``prepared``, ``imports``), or in a
process of its own where a fork may not be (``child.may_fork``). Both are the same to everybody else.
"""
