"""Two services, three workers, a real PostgreSQL and a simulated provider, while processes die, stop and return.

`history` is what outsiders saw of such a run, `checker` what must hold of it: both know nothing of how it was
made. `schedule` says what will happen, `cluster` runs the processes, `callers` are the clients, `run` joins them.
What Kafka adds to each is in `kafka_history`, `kafka_rules`, `kafka_schedule`, `brokers`, `record_callers` and
`kafka_run`.
`mutants` are worker processes that lack one part each: a run with one must fail.
"""
