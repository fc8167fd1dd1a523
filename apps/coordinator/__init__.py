"""The coordinator: the WebSocket face of the engine, where workers report and get their runs.

Every web process has one dispatcher. It gathers what all of its workers report, settles it and
claims new work in one transaction, and sends the answers after the commit. Nothing here is truth:
a process that dies takes no run with it, since leases and generations live in PostgreSQL.
"""
