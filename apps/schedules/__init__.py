"""Schedules: what starts runs by itself, at which times.

A schedule belongs to one environment and names a task. Its *recurrence* (a cron in a time zone, an
interval, or one time) gives nominal times; window and jitter shift each to the time at which it is
due. A *tick* is what became of one nominal time, and at most one run comes of it: the tick's row
and the run are written in one transaction, and (schedule, nominal time) is the tick's key.

The engine's duty locks due schedules, skipping those that another engine has, decides what of the
past still counts, triggers, and moves each to its next time. Nothing else moves a schedule on.
"""
