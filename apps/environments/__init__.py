"""Environments: where a project's tasks run, with what keys and variables; and `Scope`.

Every project has production, staging and preview; each member gets a development environment of
their own when they first ask for it, and each preview branch is a child of preview that inherits
its key and its variables. Secret keys are kept as a digest for look-up and sealed for signing;
variables are sealed. Every credential resolves to a `Scope`: the first argument of every query
and operation about what lives in an environment. What is outside it is NotFound.
"""
