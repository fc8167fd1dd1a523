"""The REST face: the public wire contract, translated into calls of the domain and back.

A request passes, in this order:

    cors → authentication → permissions → a view → one operation or query → a serializer

What is refused on the way, by the face or by the domain, becomes one shape in `errors`:
``{"error": message, "code": …, "details": {…}}``. Nothing here decides what happens to a run.
"""
