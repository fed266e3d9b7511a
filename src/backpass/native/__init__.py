"""Graphs as machine code: see `docs/architecture.md`, "Native programs". LLVM is imported when it is first needed."""

from backpass.native.compile import Job, training_job
from backpass.native.context import Reason
from backpass.native.program import Machine, NativeProgram
from backpass.native.quota import available_threads

__all__ = ["Job", "Machine", "NativeProgram", "Reason", "available_threads", "training_job"]
