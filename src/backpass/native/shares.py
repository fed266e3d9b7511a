"""What each thread does of a kernel: networks, units of work, or panels of columns; for any number of threads.

Tables have a row for one thread, for two, and so on. What a thread does follows from the work alone, so it is the same
at every step, and finds in its near caches what it wrote there.
"""

from collections.abc import Sequence

from backpass.native.tiles import Panels


def owners_of(works: Sequence[float], threads: int) -> list[int]:
    """For each of some works the thread that does it: the largest first, each by the one that has least to do."""
    loads, owners = [0.0] * threads, [0] * len(works)
    for place in sorted(range(len(works)), key=lambda place: -works[place]):
        owners[place] = loads.index(min(loads))
        loads[owners[place]] += works[place]
    return owners


def largest_load(works: Sequence[float], threads: int) -> float:
    """What the thread with most to do of these works has."""
    loads = [0.0] * threads
    for owner, work in zip(owners_of(works, threads), works, strict=True):
        loads[owner] += work
    return max(loads)


def pieces_of(works: Sequence[float], units: Sequence[int], most: int) -> list[list[int]]:
    """For each of some works, cut into so many units, where those of each thread begin: equal work, in one piece each.

    For one thread, for two, and so on up to `most`, each in room for the most.
    """
    total = sum(works) or 1.0
    tables: list[list[int]] = [[] for _ in works]
    for threads in range(1, most + 1):
        before = 0.0
        for table, work, count in zip(tables, works, units, strict=True):
            shares = [(total * thread / threads - before) / (work or 1.0) for thread in range(threads + 1)]
            bounds = [min(count, max(0, round(share * count))) for share in shares]
            bounds[0], bounds[-1] = 0, count
            table.extend([*bounds, *[count] * (most - threads)])
            before += work
    return tables


def columns_of(panels: Panels, most: int) -> list[int]:
    """Where the panels of each thread begin: as many vectors each as can be. As a table of `pieces_of`."""
    vectors = (panels.count - 1) * panels.vectors + panels.last
    table: list[int] = []
    for threads in range(1, most + 1):
        bounds = [round(vectors * thread / threads / panels.vectors) for thread in range(threads)]
        table += [*bounds, *[panels.count] * (most + 1 - threads)]
    return table
