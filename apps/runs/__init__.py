"""The engine: what happens to a run, from its trigger to its end.

    PENDING_VERSION ─┐              ┌────────── retry ──────────┐
    DELAYED ─────────┼─▶ QUEUED ─▶ DEQUEUED ─▶ EXECUTING ─▶ COMPLETED
                     │      ▲                   │   ▲
                     │      └──── resume ──── WAITING
                     └─▶ EXPIRED, CANCELED, FAILED, CRASHED, TIMED_OUT, SYSTEM_FAILURE

PostgreSQL is the only truth. What can start now is a row of the ready table, what executes has a
lease with a generation, what is due later has a timer; every change of status appends a RunEvent
in the same transaction. Locks are taken in one order everywhere: ready rows, waitpoints, runs by
id, leases, lanes by id, environments by id; claims and duties skip what is locked.
"""
