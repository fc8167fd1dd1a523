"""Organizations: their members and roles, invites, who may do what, and the audit log.

A member has one role: owner > admin > developer > viewer; `permissions.GRANTS` is the one table of
what each may do. An organization always has an owner. Every change that a person or a key causes
is recorded in the audit log, in the same transaction as the change.
"""
