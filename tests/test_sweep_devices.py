"""The same numbers on 1 and 8 devices, in 1 and 2 processes, killed and not: all compared byte for byte."""

from __future__ import annotations

import random
import socket

import pytest
import sweep_jobs as jobs

from dynlab.sweep import store


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of an uninterrupted run on one device."""
    folder = tmp_path_factory.mktemp("sweep") / "alone"
    jobs.finish(jobs.start(folder))
    return folder


def test_eight_devices_equal_one(alone, tmp_path):
    jobs.finish(jobs.start(tmp_path / "eight", devices=8))
    jobs.same(alone, tmp_path / "eight")
    text = (tmp_path / "eight" / store.LOG).read_text()
    assert '"devices": 8' in text


def test_two_processes_of_four_devices_equal_one(alone, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    both = [jobs.start(tmp_path / "two", devices=4, join=(address, 2, i)) for i in range(2)]
    for process in both:
        jobs.finish(process)
    assert len(jobs.stored(alone)) == 6
    jobs.same(alone, tmp_path / "two")
    text = (tmp_path / "two" / store.LOG).read_text()
    assert '"processes": 2' in text
    assert '"devices": 8' in text


def test_killed_and_started_again(tmp_path):
    """The short version; ``python tests/sweep_jobs.py FOLDER --kill 20`` is the full one."""
    found = jobs.kills(tmp_path / "killed", 3, random.Random(1))
    assert found["chunks"] == 40
