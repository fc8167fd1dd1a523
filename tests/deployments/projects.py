"""Customers' projects, and deployments of them."""

import hashlib

from apps.deployments.models import Deployment
from apps.deployments.operations import building
from apps.deployments.operations.shipping import (
    create_deployment,
    finalize_deployment,
    receive_archive,
)
from tests.factories import NOW
from tests.providers.bundles import archive_of

PROJECT_FILE = '[project]\nref = "proj_x"\ndirs = ["tasks"]\n'
HELLO = """
from holdfast import task

@task
async def hello(name: str) -> str:
    return f"hello {name}"
"""


def project(**files):
    """A project of one task; names are modules of its folder `tasks`."""
    modules = {f"tasks/{name}.py": text for name, text in ({"hello": HELLO} | files).items()}
    return {"holdfast.toml": PROJECT_FILE, "tasks/__init__.py": "", **modules}


def uploaded(scope, files, *, now=NOW, **changes):
    """A deployment whose archive has arrived."""
    deployment = create_deployment(scope, now=now, **changes)
    return receive_archive(scope, deployment_id=deployment.id, chunks=[archive_of(files)], now=now)


def finalized(scope, files, *, promote=True, now=NOW, **changes):
    deployment = uploaded(scope, files, now=now, **changes)
    return finalize_deployment(scope, deployment_id=deployment.id, promote=promote, now=now)


def deployed(scope, files, *, promote=True, now=NOW, **changes):
    """A deployment as its job leaves it."""
    deployment = finalized(scope, files, promote=promote, now=now, **changes)
    building.index_deployment(deployment_id=deployment.id, clock=lambda: now)
    return Deployment.objects.select_related("version").get(pk=deployment.id)


def sha256_of(files):
    return hashlib.sha256(archive_of(files)).hexdigest()
