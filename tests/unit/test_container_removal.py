"""Removing a container: an engine that is busy is asked again, one that refuses is not."""

from http import HTTPStatus
from typing import Any, cast

import docker
import pytest
import requests

from testbed.lab.containers.crew import remove


class _Engine:
    """Answers each request to remove with the next status; `asked` counts them."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.waited = 0

    def remove_container(self, container: str, **words: Any) -> None:
        del container, words
        status = self.statuses.pop(0)
        if status >= HTTPStatus.BAD_REQUEST:
            answer = requests.Response()
            answer.status_code = status
            kind = (
                docker.errors.NotFound if status == HTTPStatus.NOT_FOUND else docker.errors.APIError
            )
            raise kind("refused", answer)

    def wait(self, container: str, **words: Any) -> None:
        del container, words
        self.waited += 1


def _removed(*statuses: int) -> _Engine:
    found = _Engine(*statuses)
    remove(cast("docker.APIClient", found), "one")
    return found


@pytest.mark.parametrize("statuses", [(204,), (404,), (500, 204), (500, 500, 500, 404)])
def test_a_busy_engine_is_asked_until_the_container_is_gone(statuses: tuple[int, ...]) -> None:
    found = _removed(*statuses)
    assert (found.statuses, found.waited) == ([], 0)


def test_a_removal_that_is_under_way_is_waited_for() -> None:
    assert _removed(500, 409).waited == 1


@pytest.mark.parametrize("statuses", [(500, 500, 500, 500), (400,)])
def test_an_engine_that_refuses_for_good_is_an_error(statuses: tuple[int, ...]) -> None:
    with pytest.raises(docker.errors.APIError):
        _removed(*statuses)
