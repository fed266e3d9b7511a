"""The one block of numbers through which Python and a native program speak: what stands where in it."""

from backpass.native.barrier import BARRIER_BYTES
from backpass.records import dataclass


@dataclass(frozen=True)
class Places:
    """Places of i64 numbers in the block. Pointers stand as numbers."""

    arena: int = 0
    order: int = 1  # u32: the rows of the data in the order in which an epoch takes them
    count: int = 2  # rows of the data
    batch: int = 3  # rows of a step
    seed: int = 4
    step: int = 5  # steps done before
    epoch: int = 6  # epochs done before
    epochs: int = 7  # to do now
    threads: int = 8
    shuffle: int = 9  # whether `order` is made anew for each epoch
    shuffle_scratch: int = 10
    weights: int = 11  # of the rows, in the type of the loss; 0 where all count the same
    records: int = 12  # f64[epochs, 3]: sum of losses times weights, sum of weights, seconds since the call
    private: int = 13  # the memory of thread 0; that of the next thread follows
    steps: int = 15  # f64: after each step the mean loss of the epoch so far; 0 where nobody asks
    clock: int = 14  # a function that returns the time in nanoseconds
    stop: int = 16  # written from outside: stop after this step
    first: int = 17  # rows of the first epoch that are done before
    last: int = 18  # stop after so many steps of this call; 0 where all epochs are to be done
    done: int = 24  # steps done in this call
    epochs_done: int = 25  # whole epochs done in this call
    reason: int = 26  # why it stopped before the end; see Reason
    running: int = 27  # f64: the sum of losses times weights in this epoch so far
    running_weight: int = 28  # f64
    status: int = 32  # FLAGS words, a step each in turn: what a kernel found wrong
    halt: int = 40  # FLAGS words, a step each in turn: that it is the last one
    barrier: int = 48  # BARRIER_BYTES
    data: int = 48 + BARRIER_BYTES // 8  # pointers to the rows of each input, then of each output


PLACES = Places()
FLAGS = 4
"""Steps that may be told apart, a power of two: while a thread still hears of a step, others may be two steps on."""


class Reason:
    """Why a program stopped."""

    ENDED = 0
    NUMBER = 1  # a whole number that names no row of a table
    VALUE = 2  # a value that is carried on became infinite or not a number
    LOSS = 3  # the loss did
    STOPPED = 4  # from outside, or after the steps that were asked for
    OUTSIDE = 5  # an address outside of all memory that it has, in a program that checks them
