"""Random numbers inside generated code, bit for bit those of `backpass.ops.random`, where the generator is described.

A product of two words needs 64 bits, so a vector of words is held as two of half as many 64-bit lanes: the words of
even lanes and those of odd lanes, each in the lower half of its lane. What stands in the upper half is never looked at.
"""

from collections.abc import Sequence

from backpass.native.ir import F32, F64, I1, I8, I32, I64, PTR, VOID, Builder, Module, Type, Value, define
from backpass.ops.random import BLOCKS, GROUP, MULTIPLIERS, ROUNDS, SECOND, WEYL, Key, threshold
from backpass.records import dataclass

_WORD = (1 << 32) - 1


@dataclass(frozen=True)
class RoundKey:
    """One word of the key in one round, in an i64, and spread over a vector of them."""

    narrow: Value
    wide: Value


@dataclass(frozen=True)
class Source:
    """A stream of one seed and step, made ready by `source` outside of the loops that draw from it.

    Attributes:
        step: its lower half counts; i64.
        stream: i64.
        keys: those of each round.
        lanes: words of a vector that is drawn: 2, 4, 8 or 16.
    """

    step: Value
    stream: Value
    keys: list[tuple[RoundKey, RoundKey]]
    lanes: int


def source(b: Builder, seed: Value, step: Value, stream: Value, lanes: int) -> Source:
    """The numbers of `stream` for a seed and step, all i64, to be drawn in vectors of `lanes` words."""
    key = seed, b.shift_right(b.bit_xor(seed, step), 32)
    return Source(step, stream, _round_keys(b, key, lanes // 2), lanes)


def group(b: Builder, source: Source, number: Value, row: Value, *, second: bool = False) -> list[Value]:
    """The 64 words, or second words, of columns 64 number, 64 number + 1, ... in this row: vectors of i32."""
    lanes = source.lanes
    row = b.add(row, SECOND) if second else row
    blocks = []
    for start in range(0, BLOCKS, lanes):
        first = b.splat(b.add(b.mul(number, BLOCKS), start), lanes // 2)
        halves = [
            _rounds(
                b,
                (b.add(first, b.constants(range(odd, lanes, 2), I64)), row, source.step, source.stream),
                source.keys,
            )
            for odd in (0, 1)
        ]
        blocks.append([_joined(b, pair) for pair in zip(*halves, strict=True)])
    return [block[place] for place in range(4) for block in blocks]


def element_words(b: Builder, source: Source, row: Value, column: Value, *, second: bool = False) -> Value:
    """The word, or second word, of any one element in each lane, where whole groups do not lie along the vectors.

    Row and column are i64 or vectors of `source.lanes` of them. The result is an i32 or a vector.
    """
    row = b.add(row, b.constant(SECOND, row.type)) if second else row
    place = b.rem(column, GROUP)
    block = b.add(b.mul(b.div(column, GROUP), BLOCKS), b.rem(place, BLOCKS))
    lanes = max(row.type.lanes, column.type.lanes)
    blocks = []
    for odd in range(2 if lanes else 1):
        c0, c1 = (b.shuffle(x, None, range(odd, lanes, 2)) if x.type.lanes else x for x in (block, row))
        blocks.append(_rounds(b, (c0, c1, source.step, source.stream), source.keys))
    words = [_joined(b, halves) for halves in zip(*blocks, strict=True)]
    found, number = words[0], b.splat(b.convert(b.div(place, BLOCKS), I32), lanes)
    for other in range(1, len(words)):
        found = b.select(b.compare("eq", number, other), words[other], found)
    return found


def bernoulli(b: Builder, words: Sequence[Value], probability: float, type_: Type) -> list[Value]:
    """1 with the given probability, otherwise 0, for the words of a group: vectors of `type_`."""
    one, zero = b.constant(1, type_), b.constant(0, type_)
    return [b.select(kept, one, zero) for kept in chosen(b, words, probability, type_.lanes)]


def chosen(b: Builder, words: Sequence[Value], probability: float, lanes: int) -> list[Value]:
    """Where `bernoulli` is 1: vectors of `lanes` i1."""
    limit = threshold(probability)
    if limit > _WORD:
        return [b.constant(True, I1.vector(lanes)) for _ in _pieces(b, words, lanes)]
    return [b.below(word, limit) for word in _pieces(b, words, lanes)]


def uniform(b: Builder, words: Sequence[Value], seconds: Sequence[Value], type_: Type) -> list[Value]:
    """Numbers in [0, 1) for the words of a group: vectors of `type_`. Only of doubles are second words needed."""
    words = _pieces(b, words, type_.lanes)
    if type_.element == F32:
        return [b.mul(b.convert(b.shift_right(word, 8), F32), 2.0**-24) for word in words]
    return [
        b.add(_scaled(b, word, 2.0**-32), _scaled(b, b.shift_right(second, 11), 2.0**-53))
        for word, second in zip(words, _pieces(b, seconds, type_.lanes), strict=True)
    ]


def philox(b: Builder, counter: Sequence[Value], key: Sequence[Value]) -> list[Value]:
    """The blocks of many counters: four words from four and a key of two. Words are i32 or vectors of them."""
    lanes = max(word.type.lanes for word in (*counter, *key))
    parts = 2 if lanes and lanes % 2 == 0 else 1
    blocks = []
    for odd in range(parts):
        *numbers, k0, k1 = (_half(b, word, odd) for word in (*counter, *key))
        blocks.append(_rounds(b, numbers, _round_keys(b, (k0, k1), lanes // parts)))
    return [_joined(b, halves) for halves in zip(*blocks, strict=True)]


def _round_keys(b: Builder, key: tuple[Value, Value], lanes: int) -> list[tuple[RoundKey, RoundKey]]:
    def grown(place: int, times: int) -> RoundKey:
        narrow = b.add(key[place], times * WEYL[place])
        return RoundKey(narrow, b.splat(narrow, lanes))

    return [(grown(0, i), grown(1, i)) for i in range(ROUNDS)]


def _rounds(b: Builder, counter: Sequence[Value], keys: list[tuple[RoundKey, RoundKey]]) -> list[Value]:
    """Philox in lanes of 64 bits. What is the same in all lanes may be a scalar, and stays one as long as it can."""
    words = list(counter)
    for pair in keys:
        words = _round(b, words, pair)
    return words


def _round(b: Builder, counter: Sequence[Value], keys: tuple[RoundKey, RoundKey]) -> list[Value]:
    c0, c1, c2, c3 = counter
    product0, product1 = _product(b, c0, MULTIPLIERS[0]), _product(b, c2, MULTIPLIERS[1])
    return [
        _mixed(b, b.shift_right(product1, 32), c1, keys[0]),
        product1,
        _mixed(b, b.shift_right(product0, 32), c3, keys[1]),
        product0,
    ]


def _product(b: Builder, word: Value, multiplier: int) -> Value:
    """Of the lower half: that the upper one is cleared first tells LLVM that one short product does."""
    return b.mul(b.bit_and(word, _WORD), multiplier)


def _mixed(b: Builder, a: Value, c: Value, key: RoundKey) -> Value:
    """a XOR c XOR the key; scalars are joined before they are spread over a vector."""
    parts = a, c, key.wide if a.type.lanes and c.type.lanes else key.narrow
    mixed, *rest = sorted(parts, key=lambda part: part.type.lanes)
    for part in rest:
        mixed = b.bit_xor(b.splat(mixed, part.type.lanes), part)
    return mixed


def _half(b: Builder, word: Value, odd: int) -> Value:
    """The words of even or odd lanes; all of them where their number is odd."""
    lanes = word.type.lanes
    if not lanes or lanes % 2:
        return b.extend_unsigned(word, I64)
    pairs = b.bits(word, I64.vector(lanes // 2))
    return b.shift_right(pairs, 32) if odd else pairs


def _joined(b: Builder, halves: Sequence[Value]) -> Value:
    """A vector of words out of those of even and of odd lanes."""
    if len(halves) == 1:
        return b.convert(halves[0], I32)
    lanes = 2 * halves[0].type.lanes
    even, odd = (b.bits(half, I32.vector(lanes)) for half in halves)
    return b.shuffle(even, odd, [lane // 2 * 2 + lanes * (lane % 2) for lane in range(lanes)])


def _pieces(b: Builder, words: Sequence[Value], lanes: int) -> list[Value]:
    """The same words in vectors of so many lanes; 0 lanes leaves scalars."""
    if not lanes:
        return list(words)
    return [
        word if lanes == word.type.lanes else b.shuffle(word, None, range(start, start + lanes))
        for word in words
        for start in range(0, word.type.lanes, lanes)
    ]


def _scaled(b: Builder, words: Value, factor: float) -> Value:
    """Unsigned words times `factor`, in double precision."""
    return b.mul(b.convert_unsigned(words, F64), factor)


# Shuffling. The words are spread evenly, so their first bits all but settle the order: two counting sorts by some bits
# more than their number needs, and then neighbours are exchanged where that was not enough. More rows than fit the
# caches near the processor are first cut into parts, by few bits at a time: it fetches no more streams ahead.

CUT_BITS = 6
WHOLE_BITS = 14
"""Fewer rows than 2^14 are not cut."""
SPARE_BITS = 4
"""At most one pair of rows in 2^4 is left to be exchanged."""
MOST_PLACES = 1 << (WHOLE_BITS + SPARE_BITS + 1) // 2
_MARGIN = 64
"""Bytes before an array of pairs, of which the last 8 hold a pair that is below all others."""


def shuffle_scratch_bytes(count: int) -> int:
    """Bytes of memory that the function of `emit_shuffle` needs beside the result, aligned to 64."""
    return 2 * (_MARGIN + 8 * GROUP * -(-count // GROUP))


def emit_shuffle(module: Module, name: str, lanes: int) -> None:
    """`void name(ptr order, i64 count, i64 seed, i64 epoch, ptr scratch)`: the rows of an epoch in random order.

    `order`, i32[count], becomes `permutation(Key.of(seed, epoch).fold("shuffle"), count)`. `scratch` is aligned to 64
    bytes. `lanes` are those of a vector of i32.
    """
    _emit_pairs(module, f"{name}.pairs", lanes)
    _emit_spread(module, f"{name}.spread", lanes)
    _emit_finish(module, f"{name}.finish", f"{name}.spread")
    _emit_sort(module, f"{name}.sort", f"{name}.spread", f"{name}.finish")
    b, (order, count, seed, epoch, scratch) = define(
        module, name, [("order", PTR), ("count", I64), ("seed", I64), ("epoch", I64), ("scratch", PTR)]
    )
    pairs = b.offset(scratch, _MARGIN, I8)
    size = b.add(b.mul(b.div(b.add(count, GROUP - 1), GROUP), 8 * GROUP), _MARGIN)
    other = b.offset(pairs, size, I8)
    pairs, other = (b.owns(array, size, "pairs of words and rows", before=_MARGIN) for array in (pairs, other))
    b.call(f"{name}.pairs", VOID, pairs, count, seed, epoch)
    for array in (pairs, other):
        b.store(b.i64(0), array, -1)
    bits = b.sub(64, b.intrinsic("ctlz", I64, count, b.constant(False, I1)))
    b.call(f"{name}.sort", VOID, pairs, other, order, count, b.i64(64), bits)
    b.ret()


def _emit_pairs(module: Module, name: str, lanes: int) -> None:
    """The word of each row, and below it the row: i64, by whole groups."""
    b, (pairs, count, seed, epoch) = define(
        module, name, [("pairs", PTR), ("count", I64), ("seed", I64), ("epoch", I64)]
    )
    half = lanes // 2
    stream = b.i64(Key.of(0).fold("shuffle").stream)
    key = seed, b.shift_right(b.bit_xor(seed, epoch), 32)
    same = [b.splat(word, half) for word in (b.i64(0), epoch, stream, *key)]
    with b.loop(0, b.div(b.add(count, GROUP - 1), GROUP)) as loop, b.loop(0, BLOCKS, lanes) as part:
        start = b.add(b.mul(loop.index, GROUP), part.index)
        first = b.splat(b.add(b.mul(loop.index, BLOCKS), part.index), half)
        evens, odds = (b.add(first, b.constants(range(odd, lanes, 2), I64)) for odd in (0, 1))
        # The rounds are a loop here: an epoch takes them once, and many times as much code would have to be compiled.
        with b.loop(0, ROUNDS, carried=[evens, *same[:3], odds, *same]) as rounds:
            *words, k0, k1 = rounds.carried
            keys = RoundKey(key[0], k0), RoundKey(key[1], k1)
            both = [_round(b, words[:4], keys), _round(b, words[4:], keys)]
            rounds.next = [*both[0], *both[1], *(b.add(k, weyl) for k, weyl in zip((k0, k1), WEYL, strict=True))]
        pairs_of_halves = zip(rounds.results[:4], rounds.results[4:8], strict=True)
        for place, halves in enumerate(pairs_of_halves):
            for piece, word in enumerate(_pieces(b, [_joined(b, halves)], half)):
                at = b.add(start, place * BLOCKS + piece * half)
                rows = b.add(b.splat(at, half), b.lane_numbers(half))
                b.store(b.bit_or(b.shift_left(b.extend_unsigned(word, I64), 32), rows), pairs, at)
    b.ret()


def _emit_spread(module: Module, name: str, lanes: int) -> None:
    """A counting sort of pairs by `places`, a power of 2, of the bits from `shift` on; `ends` are where places end."""
    arguments = [("pairs", PTR), ("to", PTR), ("count", I64), ("ends", PTR), ("shift", I64), ("places", I64)]
    b, (pairs, to, count, ends, shift, places) = define(module, name, arguments)
    last = b.sub(places, 1)

    def place_of(pair: Value) -> Value:
        return b.bit_and(b.shift_right(pair, shift), last)

    with b.loop(0, places, lanes) as loop:
        b.store(b.constant(0, I32.vector(lanes)), ends, loop.index)
    with b.loop(0, count) as loop:
        place = place_of(b.load(I64, pairs, loop.index))
        b.store(b.add(b.load(I32, ends, place), 1), ends, place)
    with b.loop(0, places, carried=[b.constant(0, I32)]) as loop:
        held = b.load(I32, ends, loop.index)
        b.store(loop.carried[0], ends, loop.index)
        loop.next = [b.add(loop.carried[0], held)]
    with b.loop(0, count) as loop:
        pair = b.load(I64, pairs, loop.index)
        place = place_of(pair)
        at = b.load(I32, ends, place)
        b.store(pair, to, b.extend_unsigned(at, I64))
        b.store(b.add(at, 1), ends, place)
    b.ret()


def _emit_sort(module: Module, name: str, spread: str, finish: str) -> None:
    """Sorts pairs whose bits from `top` on are all the same, `bits` being the length of their expected number."""
    b, (pairs, other, order, count, top, bits) = define(
        module, name, [("pairs", PTR), ("other", PTR), ("order", PTR), ("count", I64), ("top", I64), ("bits", I64)]
    )
    ends = b.reserve(I32, 1 << CUT_BITS)
    with b.when(b.compare("le", bits, WHOLE_BITS)):
        b.call(finish, VOID, pairs, other, order, count, top, bits)
    with b.when(b.compare("gt", bits, WHOLE_BITS)):
        top, bits = b.sub(top, CUT_BITS), b.sub(bits, CUT_BITS)
        b.call(spread, VOID, pairs, other, count, ends, top, b.i64(1 << CUT_BITS))
        with b.loop(0, 1 << CUT_BITS, carried=[b.i64(0)]) as loop:
            (begin,) = loop.carried
            end = b.extend_unsigned(b.load(I32, ends, loop.index), I64)
            # `pairs` is free now. All parts use its beginning, which so stays in the cache.
            part = b.offset(other, begin, I64), pairs, b.offset(order, begin, I32)
            b.call(name, VOID, *part, b.sub(end, begin), top, bits)
            loop.next = [end]
    b.ret()


def _emit_finish(module: Module, name: str, spread: str) -> None:
    """Sorts pairs for good, and writes the rows of them. Before the array stands no larger pair."""
    b, (pairs, other, order, count, top, bits) = define(
        module, name, [("pairs", PTR), ("other", PTR), ("order", PTR), ("count", I64), ("top", I64), ("bits", I64)]
    )
    ends = b.reserve(I32, MOST_PLACES)
    digit = b.shift_right(b.add(bits, SPARE_BITS + 1), 1)
    places = b.shift_left(1, digit)
    b.call(spread, VOID, pairs, other, count, ends, b.sub(b.sub(top, digit), digit), places)
    b.call(spread, VOID, other, pairs, count, ends, b.sub(top, digit), places)
    with b.loop(0, count, carried=[b.i64(0)]) as loop:
        (largest,) = loop.carried
        pair = b.load(I64, pairs, loop.index)
        b.store(b.convert(pair, I32), order, loop.index)
        late = b.below(pair, largest)
        with b.when(late), b.repeat([loop.index]) as back:
            (at,) = back.carried
            before = b.load(I64, pairs, b.sub(at, 1))
            larger = b.below(pair, before)
            here = b.select(larger, before, pair)
            b.store(here, pairs, at)
            b.store(b.convert(here, I32), order, at)
            back.next = [larger, b.sub(at, 1)]
        loop.next = [b.select(late, largest, pair)]
    b.ret()
