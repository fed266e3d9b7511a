"""A list of whole numbers that decides something, made small while that something still goes wrong."""

from collections.abc import Callable, Iterator, Sequence


def smallest(numbers: Sequence[int], fails: Callable[[list[int]], bool], *, tries: int = 300) -> list[int]:
    """A list that fails too, as short and of numbers as small as `tries` tries can find; `numbers` itself must fail.

    As hypothesis does it: whole blocks are left out, then set to 0, then numbers made smaller, until nothing helps.
    """
    best = list(numbers)
    seen = {tuple(best)}
    found = True
    while found:
        found = False
        for candidate in _simpler(best):
            if tuple(candidate) in seen:
                continue
            if not tries:
                return best
            seen.add(tuple(candidate))
            tries -= 1
            if fails(candidate):
                best, found = candidate, True
                break
    return best


def _simpler(numbers: list[int]) -> Iterator[list[int]]:
    """Lists that are simpler, the boldest first."""
    count = len(numbers)
    size = count
    while size:
        for start in range(count - size, -1, -size):
            yield numbers[:start] + numbers[start + size :]
        size //= 2
    for size in (8, 4, 2, 1):
        for start in range(0, count, size):
            block = numbers[start : start + size]
            if any(block):
                yield [*numbers[:start], *[0] * len(block), *numbers[start + size :]]
    for place, number in enumerate(numbers):
        for less in dict.fromkeys((1, 2, 3, number % 64, number // 2, number - 1)):
            if 0 <= less < number:
                yield [*numbers[:place], less, *numbers[place + 1 :]]
