"""Run by every Python of a server on a CPU, through its PYTHONPATH: ask the kernel for the tiles of AMX.

vLLM's kernel of 4-bit weights with 16-bit activations uses them without asking, and where no other library has asked
before it dies of an illegal instruction. A host without AMX refuses, and vLLM takes another kernel.
"""

from __future__ import annotations

import ctypes
import platform

SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 158, 0x1023, 18  # linux, asm/prctl.h

if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
    ctypes.CDLL(None).syscall(SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
