from django.apps import AppConfig


class CompositionConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        from apps.core import duties, facts
        from config import observability
        from config.duties import FAST, LOOKS, SLOW
        from config.reactions import REACTIONS

        facts.install(REACTIONS)
        duties.install(fast=FAST, slow=SLOW, looks=LOOKS)
        observability.install()
