"""What can keep a store from running, said in one sentence that a person can act on."""


class StoreError(Exception):
    """A store cannot start or go on; the message is one clear sentence."""
