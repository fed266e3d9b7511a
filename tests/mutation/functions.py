"""The functions of modules that are loaded, and putting mutated code into them."""

from __future__ import annotations

import functools
import gc
import types
from collections import defaultdict
from pathlib import Path


class Functions:
    """Those that stand in files of a folder, wherever in the process they are held."""

    def __init__(self, folder: Path) -> None:
        self.by_file: dict[str, list[types.FunctionType]] = defaultdict(list)
        self.caches = []
        for thing in gc.get_objects():
            if type(thing) is types.FunctionType and thing.__code__.co_filename.startswith(str(folder)):
                self.by_file[thing.__code__.co_filename].append(thing)
            if type(thing) is functools._lru_cache_wrapper:
                self.caches.append(thing)

    def exchange(self, file: Path, source: bytes, mutated: bytes) -> bool:
        """Give the functions of a file their code in `mutated`; false where that cannot be done, or changes none."""
        before, after = (_codes(compile(text, str(file), "exec", dont_inherit=True)) for text in (source, mutated))
        if [code.co_name for code in before] != [code.co_name for code in after]:
            return False
        changed = {old: new for old, new in zip(before, after, strict=True) if old != new and old.co_name != "<module>"}
        done = False
        for function in self.by_file[str(file)]:
            new = changed.get(function.__code__)
            if new is not None and new.co_freevars != function.__code__.co_freevars:
                return False
            if new is not None:
                function.__code__, done = new, True
        for cached in self.caches:
            cached.cache_clear()
        return done


def _codes(code: types.CodeType) -> list[types.CodeType]:
    """The code of a module and of all that is defined in it, in the order of the text."""
    inner = [each for const in code.co_consts if isinstance(const, types.CodeType) for each in _codes(const)]
    return [code, *inner]
