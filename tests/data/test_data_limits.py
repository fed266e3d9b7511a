"""How much memory is free: the machine's, or less where a container says so. Linux's files are made up."""

import pytest

from backpass.data.limits import amount, free_memory

MIB = 1 << 20


def system(root, files):
    """Linux's files, as `free_memory` reads them, under `root`."""
    for path, content in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    return root


MACHINE = {"proc/meminfo": "MemTotal:       8388608 kB\nMemAvailable:    4194304 kB\nSwapFree:              0 kB\n"}


def limited(folder, most, used, *, cached=0):
    """The files of a group of version 2."""
    return {
        f"{folder}/memory.max": f"{most}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cached}\nactive_file 0\nshmem 7\n",
    }


def test_something_is_free_here():
    """On the machine that runs this test, whatever it is."""
    free = free_memory()
    assert free is None or free > MIB


def test_nothing_is_known_where_there_are_no_files(tmp_path):
    """A system without Linux's files sets no limit, rather than one of 0."""
    assert free_memory(tmp_path) is None


def test_without_a_group_it_is_what_the_machine_has_to_give_and_its_swap(tmp_path):
    """MemAvailable counts what caches would give back; MemFree does not."""
    files = {"proc/meminfo": "MemFree: 1 kB\nMemAvailable: 3072 kB\nSwapFree: 1024 kB\n"}
    assert free_memory(system(tmp_path, files)) == 4 * MIB


def test_a_limit_of_version_2_counts_less_what_is_in_use(tmp_path):
    """Memory of files counts as free: the system takes it back before it ends anybody."""
    files = MACHINE | {"proc/self/cgroup": "0::/\n"}
    files |= limited("sys/fs/cgroup", 100 * MIB, 60 * MIB, cached=20 * MIB)
    assert free_memory(system(tmp_path, files)) == 60 * MIB


def test_the_least_of_all_groups_up_to_the_root_counts(tmp_path):
    """A pod's limit holds for each container in it."""
    files = MACHINE | {"proc/self/cgroup": "0::/pod/box\n"}
    files |= limited("sys/fs/cgroup/pod/box", "max", 60 * MIB) | limited("sys/fs/cgroup/pod", 90 * MIB, 60 * MIB)
    assert free_memory(system(tmp_path, files)) == 30 * MIB


def test_a_group_that_is_full_leaves_nothing(tmp_path):
    """More in use than the limit, as may be for a moment, is no negative number."""
    files = MACHINE | {"proc/self/cgroup": "0::/\n"} | limited("sys/fs/cgroup", 10 * MIB, 60 * MIB)
    assert free_memory(system(tmp_path, files)) == 0


@pytest.mark.parametrize("listed", ["4:memory:/docker/1f", "4:cpu,memory:/docker/1f"])
def test_version_1_has_files_of_other_names(tmp_path, listed):
    """Within the container the folder of the group's name is often not there, and the root is the group itself."""
    files = MACHINE | {
        "proc/self/cgroup": f"9:cpu:/docker/1f\n{listed}\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{50 * MIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{30 * MIB}\n",
        "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {5 * MIB}\ntotal_active_file 0\n",
    }
    assert free_memory(system(tmp_path, files)) == 25 * MIB


def test_version_1_writes_a_number_beyond_all_memory_for_no_limit(tmp_path):
    """Then the machine's own memory counts."""
    files = MACHINE | {
        "proc/self/cgroup": "4:memory:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n",
    }
    assert free_memory(system(tmp_path, files)) == 4 << 30


@pytest.mark.parametrize("content", ["", "max", "a", "-5", "1 2", "\xff", "1.5"])
@pytest.mark.parametrize("file", ["memory.max", "memory.current", "memory.stat"])
def test_a_file_of_nonsense_sets_no_limit(tmp_path, file, content):
    """What cannot be read is not held against anyone, and never an error."""
    files = MACHINE | {"proc/self/cgroup": "0::/\nnonsense\n"} | limited("sys/fs/cgroup", 10 << 40, 1)
    files[f"sys/fs/cgroup/{file}"] = content
    assert free_memory(system(tmp_path, files)) == 4 << 30


def test_a_name_that_points_upwards_stays_inside(tmp_path):
    """A process outside its namespace's root sees "/../other" as its group."""
    files = MACHINE | {"proc/self/cgroup": "0::/../other\n"} | limited("sys/other", MIB, 0)
    assert free_memory(system(tmp_path, files | limited("sys/fs/cgroup", 2 * MIB, 0))) == 2 * MIB


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1024, "1.0 KiB"), (9.6 * 2**30, "9.6 GiB"), (31.2 * 2**30, "31 GiB")],
)
def test_amounts_are_shown_as_people_say_them(count, shown):
    assert amount(count) == shown
