"""Object code on disk: what comes back is what was put there, by this user, or nothing."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass.native import cache as own_cache
from backpass.native import llvm
from backpass.native.cache import Entry, ObjectCache, default_folder, open_cache
from backpass.native.llvm import Facts, key_of
from backpass.native.target import host, named

posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
KEY, OTHER = "ab" * 32, "cd" * 32
LOOKING = "20" * 32
"""The key of an entry that looks at all others."""


@pytest.fixture
def cache(tmp_path):
    return ObjectCache(tmp_path / "deep" / "cache")


def file_of(cache):
    [path] = cache.folder.iterdir()
    return path


def test_what_was_put_comes_back(cache):
    cache.put(KEY, b"code \0\xff", {"arena": 4096, "names": ["a"]})
    assert cache.get(KEY) == Entry(b"code \0\xff", {"arena": 4096, "names": ["a"]})


def test_nothing_is_there_before_and_under_another_key(cache):
    assert cache.get(KEY) is None
    cache.put(KEY, b"code", {})
    assert cache.get(OTHER) is None


def test_a_later_entry_replaces_an_earlier_one(cache):
    cache.put(KEY, b"first", {})
    cache.put(KEY, b"second", {})
    assert cache.get(KEY) == Entry(b"second", {})


def test_an_entry_under_the_name_of_another_key_is_absent(cache):
    cache.put(KEY, b"code", {})
    file_of(cache).rename(cache.folder / f"{OTHER}.object")
    assert cache.get(OTHER) is None


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_changed_byte_and_any_cut_makes_an_entry_absent(tmp_path_factory, data):
    cache = ObjectCache(tmp_path_factory.mktemp("cache"))
    cache.put(KEY, b"machine code", {"a": 1})
    path = file_of(cache)
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1), "place")
    changed = data.draw(
        st.sampled_from(
            [content[:place], content + b"x", content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]]
        )
    )
    path.write_bytes(changed)
    assert cache.get(KEY) is None
    cache.put(KEY, b"anew", {})
    assert cache.get(KEY) == Entry(b"anew", {})


@posix
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_an_entry_that_others_can_write_is_absent(cache, mode):
    cache.put(KEY, b"code", {})
    file_of(cache).chmod(mode)
    assert cache.get(KEY) is None


@posix
def test_a_folder_that_others_can_write_is_not_used(cache):
    cache.put(KEY, b"code", {})
    cache.folder.chmod(0o777)
    with pytest.warns(
        RuntimeWarning, match=r"others may write into .*cache \(mode 777, expected 700\): `chmod 700` it"
    ):
        assert cache.get(KEY) is None
    cache.put(OTHER, b"code", {})  # and is said once
    assert len(list(cache.folder.iterdir())) == 1
    cache.folder.chmod(0o700)
    assert cache.get(KEY) == Entry(b"code", {})


@posix
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_nothing_is_put_where_others_can_write(cache, mode):
    """Not even the first entry: the folder was there before, made by somebody careless."""
    cache.folder.mkdir(parents=True)
    cache.folder.chmod(mode)
    with pytest.warns(RuntimeWarning, match=f"mode {mode:03o}, expected 700"):
        cache.put(KEY, b"code", {})
    assert not list(cache.folder.iterdir())


@posix
def test_a_folder_that_others_could_look_into_becomes_private(cache):
    """What is kept there is for this user alone, also where the folder was made by hand."""
    cache.folder.mkdir(parents=True, mode=0o755)
    cache.folder.chmod(0o755)
    cache.put(KEY, b"code", {})
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


@posix
def test_a_link_in_place_of_the_folder_is_not_followed(cache, tmp_path):
    """Whoever may make the link decides what is read."""
    cache.put(KEY, b"code", {})
    cache.folder.rename(tmp_path / "moved")
    cache.folder.symlink_to(tmp_path / "moved")
    with pytest.warns(RuntimeWarning, match=r"cache is no folder: remove it, or name another place in BACKPASS_CACHE"):
        assert cache.get(KEY) is None
    cache.put(OTHER, b"code", {})
    assert len(list((tmp_path / "moved").iterdir())) == 1


@posix
def test_what_another_user_owns_is_not_used(cache, monkeypatch):
    cache.put(KEY, b"code", {})
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.warns(RuntimeWarning, match=rf"belongs to user {me}, not to this one \({me + 1}\): remove it"):
        assert cache.get(KEY) is None
    cache.put(OTHER, b"code", {})
    monkeypatch.setattr(os, "geteuid", lambda: me)
    assert cache.get(OTHER) is None


@posix
def test_a_link_or_a_pipe_in_place_of_an_entry_is_absent(cache, tmp_path):
    cache.put(KEY, b"code", {})
    path = file_of(cache)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    assert cache.get(KEY) is None
    path.unlink()
    os.mkfifo(path, 0o600)
    assert cache.get(KEY) is None


@posix
def test_folder_and_entries_are_for_this_user_alone(cache):
    cache.put(KEY, b"code", {})
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file_of(cache).stat().st_mode) == 0o600


def test_a_place_that_cannot_be_written_means_no_cache_and_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = ObjectCache(tmp_path / "file" / "cache")
    cache.put(KEY, b"code", {})
    assert cache.get(KEY) is None


def test_without_a_folder_nothing_is_kept():
    cache = ObjectCache(None)
    cache.put(KEY, b"code", {})
    assert cache.get(KEY) is None


def test_above_the_limit_the_oldest_used_goes_first(tmp_path):
    cache = ObjectCache(tmp_path, limit=2500)
    keys = [f"{i:064x}" for i in range(3)]
    for i, key in enumerate(keys[:2]):
        cache.put(key, bytes(1000), {})
        os.utime(tmp_path / f"{key}.object", (1000 + i, 1000 + i))
    assert cache.get(keys[0]) is not None  # now it is the one used last
    cache.put(keys[2], bytes(1000), {})
    assert [cache.get(key) is not None for key in keys] == [True, False, True]


def test_what_killed_writers_left_is_removed_by_a_later_entry_and_other_files_are_not(cache):
    cache.put(LOOKING, b"code", {})
    for name in ("left.1-1.part", "notes.txt"):
        (cache.folder / name).write_text("old")
        os.utime(cache.folder / name, (1000, 1000))
    cache.put(LOOKING, b"code", {})
    assert sorted(path.name for path in cache.folder.iterdir()) == [f"{LOOKING}.object", "notes.txt"]


def test_of_many_entries_some_look_at_all_others_and_none_grows_far_above_the_limit(tmp_path):
    cache = ObjectCache(tmp_path, limit=20_000)
    for i in range(400):
        cache.put(sha256(bytes([i % 256, i // 256])).hexdigest(), bytes(1000), {})
    assert 10 < len(list(tmp_path.iterdir())) < 150


def test_writers_and_readers_at_once_meet_whole_entries_only(tmp_path):
    """Threads of two processes put and get the same three keys; whatever is read is whole and right."""
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from backpass.native.cache import Entry, ObjectCache
cache = ObjectCache(Path(sys.argv[1]), limit=30_000)
def work(i):
    key = f"{i % 3:064x}"
    cache.put(key, bytes([i % 3]) * 9000, {"i": i % 3})
    found = cache.get(key)
    return found is None or found == Entry(bytes([i % 3]) * 9000, {"i": i % 3})
with ThreadPoolExecutor(4) as pool:
    sys.exit(not all(pool.map(work, range(200))))
"""
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(subprocess.run, [sys.executable, "-c", code, tmp_path], check=False) for _ in range(2)]
    assert [run.result().returncode for run in runs] == [0, 0]
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_the_environment_names_the_folder_or_turns_the_cache_off(monkeypatch, tmp_path):
    monkeypatch.setenv("BACKPASS_CACHE", str(tmp_path))
    assert open_cache().folder == tmp_path / "native-1"
    for off in ("", " ", "off"):
        monkeypatch.setenv("BACKPASS_CACHE", off)
        assert open_cache().folder is None


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"HOME": "/h/a"}, "/h/a/.cache/backpass/native-1"),
        ("linux", {"HOME": "/h/a", "XDG_CACHE_HOME": "/var/x"}, "/var/x/backpass/native-1"),
        ("linux", {"HOME": "/h/a", "XDG_CACHE_HOME": "relative"}, "/h/a/.cache/backpass/native-1"),
        ("darwin", {"HOME": "/U/a"}, "/U/a/Library/Caches/backpass/native-1"),
        ("win32", {"LOCALAPPDATA": "/c/local"}, "/c/local/backpass/native-1"),
    ],
)
def test_each_system_has_its_own_place_for_such_files(monkeypatch, platform, variables, folder):
    for name in ("BACKPASS_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert default_folder() == Path(folder)


def test_a_key_depends_on_text_target_sources_and_llvm(monkeypatch):
    keys = [key_of("a", host()), key_of("b", host()), key_of("a", named("sse2")), key_of("a", named("arm64"))]
    monkeypatch.setattr(llvm, "_sources", lambda: "other sources")
    keys.append(key_of("a", host()))
    monkeypatch.setattr(llvm, "facts", lambda: Facts("triple", [], [1, 0, 0]))
    keys.append(key_of("a", host()))
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 64 for key in keys)


def test_a_key_is_the_same_in_another_process():
    imports = "from backpass.native import llvm, target"
    code = f"{imports}; print(llvm.key_of('a', target.named('sse2')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == key_of("a", named("sse2"))


@pytest.mark.parametrize("metadata", [b"{", b"\xff", b"[]", b"null", b'"text"', b"3"])
def test_an_entry_with_metadata_of_another_kind_is_absent(cache, metadata):
    """Its checksum may be right all the same: another writer may have written it."""
    cache.put(KEY, b"code", {})
    digest = sha256(metadata + b"code").digest()
    header = own_cache._HEADER.pack(own_cache._MAGIC, bytes.fromhex(KEY), digest, len(metadata), 4)
    file_of(cache).write_bytes(header + metadata + b"code")
    assert cache.get(KEY) is None


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"triple": "x", "flags": "avx", "version": [1]},
        {"triple": "x", "flags": [1], "version": [1]},
        {"triple": "x", "flags": [], "version": []},
        {"triple": "x", "flags": [], "version": [True]},
        {"triple": 1, "flags": [], "version": [1]},
    ],
)
def test_what_llvm_is_not_known_to_have_said_is_asked_again(monkeypatch, tmp_path, said):
    monkeypatch.setenv("BACKPASS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(llvm, "_circumstances", lambda: KEY)
    open_cache().put(KEY, b"", said)
    found = llvm.facts.__wrapped__()
    assert found.triple == host().triple
    assert open_cache().get(KEY).metadata["triple"] == found.triple
