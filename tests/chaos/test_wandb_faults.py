"""The W&B servers of the faults: what a client meets."""

import random
import sys

import pytest

from chaos.study import Command, Study
from chaos.wandb_faults import ServerAnswers, server_stops

CLIENT = """
import itertools, os, urllib.request
for number in itertools.count():
    try:
        urllib.request.urlopen(os.environ["WANDB_BASE_URL"] + "/anything", timeout=1)
    except OSError as error:
        print(f"request {number}: {error}")
        break
"""


class Client(Study):
    """A study whose command sends requests until one fails."""

    def start(self, *command: str, **variables: str) -> Command:
        return Command([sys.executable, "-c", CLIENT], variables)


def test_a_server_answers_every_request_alike(tmp_path):
    _, (result,) = ServerAnswers(507, b"full")(Client(tmp_path), random.Random(0), 1.0)
    assert result.output == "request 0: HTTP Error 507: Insufficient Storage\n"


@pytest.mark.parametrize("way", ["closed", "silent"])
def test_a_server_stops_after_some_requests(tmp_path, way):
    faults = (server_stops(Client(tmp_path), random.Random(seed), 1.0) for seed in range(20))
    result = next(results[0] for detail, results in faults if detail.startswith(way))
    assert result.output and not result.output.startswith("request 0:")
    assert ("timed out" in result.output) == (way == "silent")
