from django.apps import AppConfig


class CompositionConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        from apps.core import facts
        from config import observability
        from config.reactions import REACTIONS

        facts.install(REACTIONS)
        observability.install()
