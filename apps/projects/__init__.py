"""Projects: what an organization builds; each has its environments, tasks and runs.

The outside knows a project by its `ref` (`proj_…`), which never changes. A project is not removed
but archived: its keys stop working, its history stays.
"""
