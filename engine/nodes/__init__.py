"""Several machines: the door, by which the others join the one that has the store.

The worker of a run on several machines listens at [launch] rendezvous (``door``). Another machine, or a stage's process
that fetches files, connects and shows that it knows a secret (``handshake``): the token for the first, the key of one
launch for the second. Nothing secret is sent. From then on every frame carries a code that only the two can make
(``channel``), so nobody on the way can change, repeat or invent one; reading them is not prevented.

A machine then says what is installed on it (``about``) and is refused where that differs, gets a number, and is asked
every few seconds whether it is still there. What is said is in ``messages``. Files of a round's checkpoint, and nothing
else, are handed out (``sending``) and fetched (``fetching``). The store by which a launch's processes meet is reached
through the door as well (``tunnel``).

No torch here, and no store: the worker and the command line use it.
"""
