"""One stage in several processes.

The child of a group of stages is torchrun with N processes (``torchrun``) on every machine, one per GPU: nccl between
GPUs, gloo on a CPU and for everything that is not a tensor.

- Rank 0 is the child that it always was: it alone opens the store, runs the stages' code and writes artifacts. The
  others sit in ``ranks`` and do what it hands them; they know no stage, no store and no plan.
- ``ranks.map_batches`` deals out whole batches and returns the results in the order of the batches. Batches are
  planned as for one process, so results have the same bits for any number of processes on a CPU.
- ``ranks.run_in_step`` has all processes train in step. After every step rank 0 says whether to pause, so all stop at
  the same step; a checkpoint is complete when every process has written its part.
- Orders wait forever (rank 0 may be busy); a collective of a training step waits for 30 minutes, so a process that
  hangs ends the stage, which resumes from its checkpoint.
- What one process raises ends all. ``torchrun`` says which rank failed and why. A process that only noticed a lost
  connection waits to be ended, so that the cause is named and not the symptom.
- torchrun closes inherited files and gives each rank a session of its own, so the ranks fetch the lock and the death
  pipe from their launcher over a socket (``engine.processes.death_pipe``).
- Processes meet in a TCPStore that listens on the loopback interface of the first machine (``rendezvous``); other
  machines reach it through the door (``engine.nodes``). Data goes through the interface that has a machine's address,
  the loopback interface's on a single one. Orders and answers are signed with a key that is new for every launch
  (``messages``); tensors of a training step are not. ``world`` says where and with whom.
- Only the machine with the store has the project. Paths in orders become those of the machine where they arrive, and
  files are fetched when they are opened (``places``). A checkpoint gets the RNG states of ranks elsewhere by message.
- ``sharding`` reads an accelerate config (FSDP, DeepSpeed) and refuses without torch; ``accelerate_env`` makes the
  environment that ``accelerate launch`` would make; ``gather_weights`` compares what accelerate does with what was
  asked for, and puts the weights together in rank 0, one by one. Nothing after training knows that it was split.
"""
