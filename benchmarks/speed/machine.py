"""What the machine is, as far as it matters to speed."""

import os
import platform
from pathlib import Path
from typing import Any

from speed.contenders import versions

FLAGS = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_tile")
FLAGS_ARM = ("asimd", "asimdfhm", "bf16", "sve", "sve2", "sme")


def machine() -> dict[str, Any]:
    """The processor, its caches, memory, how busy it is, and the versions of everything that takes part."""
    processor = _fields(Path("/proc/cpuinfo"))
    present = processor.get("flags", processor.get("Features", "")).split()
    return {
        "processor": processor.get("model name", platform.processor() or platform.machine()),
        "family, model, stepping": [processor.get(key, "") for key in ("cpu family", "model", "stepping")],
        "flags": [flag for flag in (*FLAGS, *FLAGS_ARM) if flag in present],
        "cores": cores(),
        "caches": _caches(),
        "memory": _fields(Path("/proc/meminfo")).get("MemTotal", "unknown"),
        "load before": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "python": platform.python_version(),
        "versions": versions(),
    }


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def summary(found: dict[str, Any]) -> str:
    """Two lines."""
    caches = ", ".join(f"{name} {size}" for name, size in found["caches"].items())
    libraries = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return (
        f"{found['processor']}, {found['cores']} cores ({' '.join(found['flags'])}); {caches or 'caches unknown'}; "
        f"memory {found['memory']}; {found['system']}\nPython {found['python']}, {libraries}"
    )


def _fields(path: Path) -> dict[str, str]:
    """The first value of each field of a file in /proc; none elsewhere."""
    if not path.is_file():
        return {}
    pairs = (line.partition(":") for line in reversed(path.read_text(encoding="utf-8").splitlines()))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _caches() -> dict[str, str]:
    """Of the first core: "L1 Data": "48K" and so on."""
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    read = [
        [(folder / part).read_text(encoding="utf-8").strip() for part in ("level", "type", "size")]
        for folder in folders
    ]
    return {f"L{level} {kind}": size for level, kind, size in read}
