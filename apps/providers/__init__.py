"""Where workers run: pure adapters that know neither Django, nor Celery, nor our models.

A provider does four things: it starts a worker, asks it to stop, lists the ones it has, and, if
it can, freezes and thaws one. It decides nothing: the reconciler of `apps.runs` compares what
runs need with what is there and says what to do. Every call can be repeated: `start` with the same
instance twice is one worker, `stop` of one that is gone is nothing.
"""
