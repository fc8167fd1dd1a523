"""What a provider can refuse or fail to do."""

from __future__ import annotations


class ProviderError(Exception):
    """The provider could not do it; a `permanent` one fails the same way when tried again."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        self.message = message
        self.permanent = permanent
        super().__init__(message)


class Unsupported(ProviderError):
    """This provider has no such capability."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


class ArchiveRefused(ProviderError):
    """An archive holds something that must not be unpacked."""

    def __init__(self, message: str) -> None:
        super().__init__(f"The archive is refused: {message}", permanent=True)


class BuildFailed(ProviderError):
    """The customer's project cannot be installed or imported; `output` is what the tools said."""

    def __init__(self, message: str, *, output: str = "", permanent: bool = True) -> None:
        self.output = output
        super().__init__(message, permanent=permanent)
