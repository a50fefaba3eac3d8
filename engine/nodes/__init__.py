"""Several machines: the door, a server on the machine with the store that the others join.

The worker of a run on several machines listens at [launch] rendezvous (``door``). Another machine, or a stage's process
that fetches files, connects and proves that it knows a secret (``handshake``): the token to join, the key of one launch
to fetch. No secret is sent. From then on every frame carries a message authentication code (``channel``), so nobody in
between can change, replay or forge one; the content is not encrypted.

A machine then reports what is installed on it (``machine_versions``), is refused where that differs, gets a number, and
is pinged every few seconds. The messages are in ``messages``. Files of a round's checkpoint and of models inside the
project, and nothing else, are served (``sending``) and fetched (``fetching``). The rendezvous store of a launch is
reached through the door as well (``tunnel``).

Imports neither torch nor the store: the worker and the command line use it.
"""
