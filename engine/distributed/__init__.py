"""One stage in several processes.

The child of a group of stages is torchrun with N processes (``torchrun``) on every machine, one per GPU: nccl between
GPUs, gloo on a CPU and for everything that is not a tensor.

- Rank 0 is the stage process: it alone opens the store, runs the stages' code and writes artifacts. The other ranks
  wait in ``ranks`` for its orders; they know no stage, no store and no plan.
- ``ranks.map_batches`` deals out whole batches and returns the results in the order of the batches. Batches are
  planned as for one process, so on a CPU results are bit-identical for any number of processes.
- ``ranks.run_in_step`` has all processes train in step. After every step rank 0 says whether to pause, so all stop at
  the same step; a checkpoint is complete when every process has written its part.
- The wait for an order has no practical limit (rank 0 may be busy); a collective of a training step times out after 30
  minutes, so a process that hangs ends the stage, which resumes from its checkpoint.
- An exception in one process ends all of them. ``torchrun`` reports which rank failed and why. A process that only
  noticed a lost connection waits to be ended, so that the cause is reported and not the symptom.
- torchrun closes inherited files and gives each rank a session of its own, so the ranks fetch the lock and the death
  pipe from their launcher over a socket (``engine.processes.death_pipe``).
- Processes meet in a TCPStore that listens on the loopback interface of the first machine (``rendezvous``); other
  machines reach it through the door (``engine.nodes``). Data goes through the interface that has a machine's address;
  on a single machine that is the loopback interface. Orders and answers are authenticated with a key that is new for
  every launch (``messages``); tensors of a training step are not. ``world`` describes the launch.
- Only the machine with the store has the project. Paths in orders are translated to those of the receiving machine, and
  files are fetched when first used (``shared_paths``). The RNG states of remote ranks reach the checkpoint by message.
- ``sharding`` reads and checks an accelerate config (FSDP, DeepSpeed) without torch; ``accelerate_env`` computes the
  environment that ``accelerate launch`` would set; ``gather_weights`` checks that accelerate does what was configured,
  and gathers the weights on rank 0, one by one. Nothing after training knows that the model was sharded.
"""
