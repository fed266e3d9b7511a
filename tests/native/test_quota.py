"""How many threads: the processors allowed, or fewer where a quota says so."""

import os
from math import inf

import pytest

from backpass.native.quota import available_threads, processors, quota


def system(root, files):
    """Linux's files, as `quota` reads them, under `root`."""
    for path, content in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    return root


def test_there_is_at_least_one_thread_and_never_more_than_processors():
    assert 1 <= available_threads() <= processors()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or processors() < 2, reason="needs two processors, and Linux")
def test_where_a_process_is_bound_to_one_processor_later_there_is_one_thread():
    before = os.sched_getaffinity(0)
    assert available_threads() >= 1
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_threads() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert quota(tmp_path) == inf


@pytest.mark.parametrize(("content", "limit"), [("200000 100000", 2.0), ("150000 100000", 1.5), ("max 100000", inf)])
def test_version_2_gives_time_and_period_in_one_file(tmp_path, content, limit):
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": content + "\n"}
    assert quota(system(tmp_path, files)) == limit


def test_the_least_of_all_groups_up_to_the_root_counts(tmp_path):
    files = {
        "proc/self/cgroup": "0::/kube/pod/box\n",
        "sys/fs/cgroup/kube/pod/box/cpu.max": "max 100000\n",
        "sys/fs/cgroup/kube/pod/cpu.max": "300000 100000\n",
        "sys/fs/cgroup/kube/cpu.max": "800000 100000\n",
    }
    assert quota(system(tmp_path, files)) == 3.0


@pytest.mark.parametrize("listed", ["4:cpu,cpuacct:/docker/1f", "4:cpu:/docker/1f"])
def test_version_1_gives_them_in_two_files(tmp_path, listed):
    """Within the container the folder of the group's name is often not there, and the root is the group itself."""
    files = {
        "proc/self/cgroup": f"9:memory:/docker/1f\n{listed}\n0::/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    assert quota(system(tmp_path, files)) == 2.5


def test_version_1_writes_minus_one_for_no_limit(tmp_path):
    files = {
        "proc/self/cgroup": "4:cpu:/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    assert quota(system(tmp_path, files)) == inf


@pytest.mark.parametrize("content", ["", "max", "100000", "a b", "100000 0", "1 2 3", "-5 100000", "\xff"])
def test_a_file_of_nonsense_sets_no_limit(tmp_path, content):
    files = {"proc/self/cgroup": "0::/\nnonsense\n", "sys/fs/cgroup/cpu.max": content}
    assert quota(system(tmp_path, files)) == inf


def test_a_name_that_points_upwards_stays_inside(tmp_path):
    """A process outside its namespace's root sees "/../other" as its group."""
    files = {
        "proc/self/cgroup": "0::/../other\n",
        "sys/fs/cgroup/cpu.max": "100000 100000\n",
        "sys/other/cpu.max": "1 1",
    }
    assert quota(system(tmp_path, files)) == 1.0
