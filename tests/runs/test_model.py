"""The engine against a model of it: any order of what people, workers and clocks may do.

After each step the model says which runs may have moved and to where; every other run must stand as
it stood, every invariant must hold, and no limit may be exceeded. At the end of each story all that
was accepted is brought to an end, exactly once.
"""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.runs.model.clocks import Clocks
from tests.runs.model.workers import Workers

USUAL_STORIES = 10
STORIES = int(os.environ.get("HOLDFAST_TEST_STORIES", USUAL_STORIES))
STEPS = 40


class Engine(Workers, Clocks):
    """All who have a part in a story."""


@pytest.mark.calm("a story is one transaction, and none of it may fail")
@pytest.mark.timeout(3_600)
@pytest.mark.django_db(transaction=True)
def test_any_order_of_events_leaves_the_engine_sound():
    run_state_machine_as_test(
        Engine,
        settings=settings(
            max_examples=STORIES, stateful_step_count=STEPS, deadline=None, print_blob=True,
            derandomize=STORIES == USUAL_STORIES,  # a usual run tells the same stories each time
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
        ),
    )  # fmt: skip
    sys.stdout.write(f"{dict(Engine.told)}\n")  # pytest -rP shows how much has been told
