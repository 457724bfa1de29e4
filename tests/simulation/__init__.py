"""Bothways in one process with everything around it simulated: clock, queue, Redis, Postgres, both vendors, workers.

What decides is the product's own code: the core (fold, match, merge, plan, windows), what a batch does with a record
(`Batch` with its reader, twins, pusher and settler), the drainer and the result task. Only what talks to a server is
told again in memory: `bus` for Redis and its scripts, `postgres` for the tables and their SQL, `runs` for a run.
Each call of a server is a step, at which a worker may be killed or frozen, or another one be let go first; so a
history of faults is a list of choices, and the same choices give the same history.
"""
