"""PKCS#11 modules in this process, initialised for threads.

python-pkcs11 calls ``C_Initialize(NULL)``, by which the caller promises to use one thread only (PKCS#11 v2.40,
section 5.4); SoftHSM then drops its mutexes, and two threads crash it. Here CKF_OS_LOCKING_OK is passed.
Modules are loaded after the last fork: a worker is spawned, and a child that inherited an initialised module
could neither use nor repair it.
"""

import atexit
import ctypes
import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from pkcs11._pkcs11 import lib
from pkcs11.exceptions import PKCS11Error

from signerd.errors import SignerdError
from signerd_key_pkcs11.failures import fault, translated
from signerd_key_pkcs11.module_path import checked
from signerd_key_pkcs11.settings import ModuleFile

__all__ = ["Libraries", "LockingLibrary"]

_log = logging.getLogger(__name__)

REFRESH_S: Final = 1.0
"""Seconds: initialising a module may take a good part of one, and callers may ask for an absent token all the time."""

# pkcs11t.h
_CKF_OS_LOCKING_OK: Final = 0x2
_CKR_OK: Final = 0x0
_CKR_CRYPTOKI_ALREADY_INITIALIZED: Final = 0x191

_Function = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)


class _InitializeArgs(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS."""

    _fields_ = (
        ("CreateMutex", ctypes.c_void_p),
        ("DestroyMutex", ctypes.c_void_p),
        ("LockMutex", ctypes.c_void_p),
        ("UnlockMutex", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("pReserved", ctypes.c_void_p),
    )


class _Functions(ctypes.Structure):
    """The beginning of CK_FUNCTION_LIST."""

    _fields_ = (("version", ctypes.c_ubyte * 2), ("C_Initialize", _Function), ("C_Finalize", _Function))


class LockingLibrary(lib):
    """A module that may be called from several threads. Raises PKCS11Error where it cannot be loaded, and
    ``key.backend_fault`` with reason ``module_locking`` where it will not lock."""

    def initialize(self) -> None:
        """Call C_Initialize with CKF_OS_LOCKING_OK; python-pkcs11 does this when the module is loaded."""
        functions = _only_list(self.so)
        if functions is None:
            # p11-kit makes a list for each caller, so that the one seen here is not python-pkcs11's. It locks
            # whatever it is told, and initialises the modules behind it for threads.
            super().initialize()
            return
        args = _InitializeArgs(flags=_CKF_OS_LOCKING_OK)
        result = functions.C_Initialize(ctypes.addressof(args))
        if result not in (_CKR_OK, _CKR_CRYPTOKI_ALREADY_INITIALIZED):
            raise fault("module_locking", f"{self.so}: C_Initialize with OS locking returned {result:#x}")

    def finalize(self) -> None:
        """Call C_Finalize: some modules crash at the end of the process otherwise."""
        functions = _only_list(self.so)
        if functions is None:
            super().finalize()
        else:
            functions.C_Finalize(None)


def _only_list(path: str) -> _Functions | None:
    """Return the module's function list; None where each caller gets a list, and a state, of its own."""
    get = ctypes.CDLL(path).C_GetFunctionList
    get.restype = ctypes.c_ulong
    first, second = ctypes.c_void_p(), ctypes.c_void_p()
    for pointer in (first, second):
        if get(ctypes.byref(pointer)) != _CKR_OK or pointer.value is None:
            raise fault("module_failed", f"{path}: C_GetFunctionList gave nothing")
    if first.value != second.value:
        return None
    return ctypes.cast(first, ctypes.POINTER(_Functions)).contents


class Libraries:
    """The modules of the configuration, each loaded at its first use and kept."""

    def __init__(self, modules: Mapping[str, ModuleFile], environment: Mapping[str, str]) -> None:
        self._modules = modules
        self._environment = environment
        self._loaded: dict[str, LockingLibrary] = {}
        self._down: set[str] = set()
        self._begun: dict[str, float] = {}

    def get(self, name: str) -> LockingLibrary:
        """Return a module by its name in the configuration, which must be there.

        ``key.backend_fault`` as :func:`signerd_key_pkcs11.module_path.checked`, ``module_locking`` and
        ``module_failed``; ``key.backend_unavailable`` where what it leads to is away.
        """
        known = self._loaded.get(name)
        if known is None:
            path = checked(self._modules[name])
            os.environ.update(self._environment)
            try:
                known = self._loaded[name] = LockingLibrary(path)
            except PKCS11Error as exc:
                raise translated(exc, f"loading {path}") from exc
            self._begun[name] = time.monotonic()
            atexit.register(self._finalize, name)
        elif name in self._down:
            self._initialize(name)
        return known

    def restart(self, name: str) -> None:
        """Finalise a loaded module and initialise it again: a lost connection to a server needs that.

        All its sessions are void then. Raises as :meth:`get`, which tries again.
        """
        self._finalize(name)
        self._initialize(name)

    def refresh(self, spared: Collection[str]) -> bool:
        """Restart the loaded modules but the ``spared`` ones, each once a second at most; whether one was.

        Some list only the slots that were there when they were initialised.
        """
        due = [
            name for name, begun in self._begun.items() if name not in spared and time.monotonic() - begun >= REFRESH_S
        ]
        for name in due:
            try:
                self.restart(name)
            except SignerdError as exc:
                _log.warning("module %s: %s", name, exc)
        return bool(due)

    def each(self, name: str | None) -> Iterator[tuple[str, LockingLibrary]]:
        """Yield the named module, or all that can be used; the fault of the last one that cannot, if none can."""
        if name is not None:
            if name in self._modules:
                yield name, self.get(name)
            return
        broken: SignerdError | None = None
        usable = False
        for each in self._modules:
            try:
                found = self.get(each)
            except SignerdError as exc:
                _log.warning("module %s: %s", each, exc)
                broken = exc
            else:
                usable = True
                yield each, found
        if broken is not None and not usable:
            raise broken

    def _finalize(self, name: str) -> None:
        try:
            self._loaded[name].finalize()
        except PKCS11Error as exc:
            _log.info("module %s: C_Finalize: %s", name, type(exc).__name__)

    def _initialize(self, name: str) -> None:
        self._down.add(name)
        self._begun[name] = time.monotonic()
        try:
            self._loaded[name].initialize()
        except PKCS11Error as exc:
            raise translated(exc, f"initialising module {name} again") from exc
        self._down.discard(name)
