"""Philox 4x64 with 10 rounds in plain Python, from the paper: Salmon, Moraes, Dror and Shaw, "Parallel random numbers:
as easy as 1, 2, 3" (2011), section 3.3 and table 2. It is the specification for every executor."""

WORD = (1 << 64) - 1
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


def block(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """The four words of one counter, each word 64 bits, the lowest first."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(MULTIPLIERS[0] * c0, WORD + 1)
        high1, low1 = divmod(MULTIPLIERS[1] * c2, WORD + 1)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return c0, c1, c2, c3


def word(element: int, seed: int, step: int, stream: int) -> int:
    """The word of an element, by the rule in `backpass.ops.random`."""
    counter = (1 + element // 4, 0, step & WORD, 0)
    return block(counter, (seed & WORD, stream & WORD))[element % 4]
