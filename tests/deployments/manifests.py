"""Manifests as the SDK writes them."""


def manifest(*tasks, queues=(), **changes):
    fields = {
        "contentHash": "sha256:1",
        "sdkVersion": "0.1.0",
        "pythonVersion": "3.11.7",
        "tasks": [task(name) if isinstance(name, str) else name for name in tasks],
        "queues": list(queues),
    }
    return {**fields, **changes}


def task(name, **changes):
    fields = {
        "id": name,
        "filePath": f"tasks/{name}.py",
        "entryPoint": f"tasks.{name}:{name}",
        "queue": {"name": f"task/{name}"},
        "machine": {"preset": "small-1x"},
    }
    return {**fields, **changes}
