"""The hook of this plugin and the backend: which of the vendor's two ways a reference asks for.

``cryptopro:`` with the attributes of RFC 7512 (``cryptopro:token=…;object=…``) is a key of the PKCS#11 module, and
``cryptopro:container=NAME`` one that the command-line tool signs with. A reference says which, so nothing here ever
turns from one way to the other by itself, and to software keys least of all: that is a matter of ``fallback`` in the
configuration of the key, which receipt and record tell.
"""

import logging
import re
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from signerd.contracts import hookimpl
from signerd.contracts.providers import KeyBackend
from signerd.contracts.values import KeyDescription, SignatureResult
from signerd.errors import SignerdError
from signerd_key_cryptopro.containers import Containers
from signerd_key_cryptopro.settings import Settings, understand
from signerd_key_cryptopro.tool import Tool
from signerd_key_cryptopro.workspace import Workspace
from signerd_key_pkcs11.backend import Pkcs11Backend
from signerd_key_pkcs11.failures import not_found, unavailable

__all__ = ["CryptoProBackend", "signerd_key_backends"]

_log = logging.getLogger(__name__)

SCHEME: Final = "cryptopro:"
_CONTAINER: Final = re.compile(r"container=([A-Za-z0-9][A-Za-z0-9._-]{0,63})")


@hookimpl
def signerd_key_backends(settings: Mapping[str, object]) -> KeyBackend:
    """Introduce the backend; ValueError for settings that it does not understand."""
    return CryptoProBackend(understand(settings))


class CryptoProBackend:
    """Keys of CryptoPro CSP. Pairs are made with the vendor's own tools, which want a person beside them.

    Every error is a ``key.*`` code. A module or tool that is not installed, and a configuration that would make a PIN
    an argument (``pin_in_argument``), are ``key.backend_unavailable``.
    """

    capabilities: tuple[str, ...] = ("attest",)

    def __init__(self, settings: Settings) -> None:
        self._refused = settings.refused
        self._module = Pkcs11Backend(settings.module)
        self._containers: Containers | None = None
        if settings.refused is not None:
            _log.error("%s", settings.refused)
        if settings.tool is not None and settings.state is not None:
            workspace = Workspace(settings.state)
            workspace.sweep()
            tool = Tool(settings.tool, workspace, settings.environment)
            self._containers = Containers(settings.tool, tool, settings.state)

    def describe(self, key: str) -> KeyDescription:
        """Describe a key by either way; refuses as :meth:`signerd_key_pkcs11.backend.Pkcs11Backend.describe` and
        :meth:`signerd_key_cryptopro.containers.Containers.describe`."""
        containers, name = self._way(key)
        if containers is not None:
            return containers.describe(name)
        try:
            return replace(self._module.describe(name), capabilities=self.capabilities)
        except SignerdError as exc:
            raise _absent(exc) from exc

    def sign(self, key: str, message: bytes) -> SignatureResult:
        """Sign; a GOST signature is s || r in big-endian bytes. Refuses as :meth:`describe`."""
        containers, name = self._way(key)
        if containers is not None:
            return containers.sign(name, message)
        try:
            return self._module.sign(name, message)
        except SignerdError as exc:
            raise _absent(exc) from exc

    def _way(self, key: str) -> tuple[Containers | None, str]:
        """Return the containers and a name there, or None and a PKCS#11 URI."""
        if self._refused is not None:
            raise unavailable("pin_in_argument", self._refused)
        rest = key.removeprefix(SCHEME)
        if rest == key:
            raise not_found("reference", f"{key[:80]!r} is no {SCHEME} reference")
        container = _CONTAINER.fullmatch(rest)
        if container is None:
            return None, f"pkcs11:{rest}"
        if self._containers is None:
            raise not_found("no_such_container", "the configuration has no tool.containers")
        return self._containers, container[1]


def _absent(exc: SignerdError) -> SignerdError:
    """Return what an error of the module is here: one that is not installed is away, which a fallback may answer."""
    return unavailable(exc.reason, str(exc.args[0])) if exc.reason == "module_missing" else exc
