"""Who: people, their personal tokens, and how the command line signs in for them.

A person is known by an e-mail address, whatever its case. A personal token (`tr_pat_…`) acts as
its person; only its digest is kept. The command line gets one by a code that a signed-in person
approves in the browser: created -> approved -> redeemed, once, within ten minutes.
"""
