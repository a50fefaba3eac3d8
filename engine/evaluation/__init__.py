"""lm-eval's tasks, run in processes of their own.

``harness`` is a process below the stage's child, the leader of a process group of its own: the stage gives the scorer's
memory back, starts it, reads its reports from a pipe and saves each task as it ends (``run_tasks``). The replies to the
running task's requests lie in a file named by model, settings and task (``reply_cache``) until it is done. With several
processes ``team`` starts helpers with the same model and deals out the requests. It dies with the stage by a death
pipe. What a task raises is that task's failure; a task that takes the process down is named, and a new process does the
rest. ``task_index`` knows lm-eval's tasks from their files, so worker and doctor can refuse a name without loading it.
"""
