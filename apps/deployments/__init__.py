"""Versions, their tasks and queues, the deployments that ship them, and where workers run.

A *version* is an immutable build of a project's tasks in one environment. A *deployment* is the
act and record of shipping one. A *promotion* names the version that new runs get. A *pool* is a
named set of workers on one provider, an *instance* one worker that a provider was asked for, and
a *worker session* one worker process that is, or was, connected.
"""
