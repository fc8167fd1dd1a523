"""Tags of the current run."""

from __future__ import annotations

from holdfast.context import require_run

MAX_TAGS = 10
MAX_LENGTH = 128


def check_tags(tags: tuple[str, ...]) -> None:
    """Check the form of tags.

    Raises:
        ValueError: A tag is empty or longer than 128 characters, or there are more than ten.
    """
    if len(tags) > MAX_TAGS:
        raise ValueError(f"a run may have at most {MAX_TAGS} tags, not {len(tags)}")
    for tag in tags:
        if not isinstance(tag, str) or not tag or len(tag) > MAX_LENGTH:
            raise ValueError(f"a tag is text of 1 to {MAX_LENGTH} characters, not {tag!r}")


class Tags:
    """The tags of the current run."""

    async def add(self, *tags: str) -> None:
        """Add tags; those that the run already has are ignored.

        Args:
            *tags: Text of 1 to 128 characters each, at most ten on a run.

        Raises:
            ValueError: A tag is not allowed.
            ApiError: The server refused them.
        """
        check_tags(tags)
        await require_run("tags").runtime.add_tags(list(tags))


tags = Tags()
