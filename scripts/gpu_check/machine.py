"""What a report says of when and where it was made."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from typing import Any

from device import REPOSITORY

FIELDS = (
    *("name", "driver_version", "vbios_version", "pstate", "temperature.gpu", "power.limit"),
    *("clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem"),
    *("compute_mode", "mig.mode.current", "ecc.mode.current", "persistence_mode"),
)


def described() -> dict[str, Any]:
    """Return the date, the commit, and what nvidia-smi tells of each GPU, where they are known."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "nvidia-smi": smi(),
    }


def commit() -> str | None:
    """Return the commit that is checked out; with a plus if files differ from it."""
    found = output("git", "-C", str(REPOSITORY), "rev-parse", "HEAD")
    if not found:
        return None
    changed = output("git", "-C", str(REPOSITORY), "status", "--porcelain", "-uno")
    return found + ("+" if changed else "")


def smi() -> list[dict[str, str]]:
    """Return the fields of each GPU; none without nvidia-smi."""
    found = output("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader") or ""
    rows = (line.split(", ") for line in found.splitlines())
    return [dict(zip(FIELDS, row, strict=True)) for row in rows if len(row) == len(FIELDS)]


def output(*command: str) -> str | None:
    """Return what a command prints; None if it can't be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
