"""Realtime: who watches runs is told what happens to them, by Server-Sent Events or a WebSocket.

Every web process has one hub. It reads the feed of the runs (`apps.runs.feed`) for all environments
that somebody watches here, in one statement, and fans out what it finds. A message carries ids and
a cursor, never content: whoever is told fetches what it may see. A cursor never misses a commit, so
a stream that broke goes on where it was; a reader that is too slow is told to look at everything
anew. Redis only says "look now".
"""
