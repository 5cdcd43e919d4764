"""Identity tokens: from a file, a variable, the CI system that runs this, or the request.

A token is a secret. It is never logged, and the text of no error holds any of it, nor what a peer has answered.
"""

import errno
import json
import os
import stat
from typing import Final
from urllib.parse import quote, urlsplit

from signerd.errors import Fault, Refusal
from signerd.network.exchange import Ask, Unanswered
from signerd.verification.oidc import LARGEST_TOKEN
from signerd_key_fulcio.settings import TokenSource

__all__ = ["Tokens"]

GITLAB_VARIABLE: Final = "SIGSTORE_ID_TOKEN"
"""The name under which GitLab's documentation and cosign look for it (id_tokens: in .gitlab-ci.yml)."""
_URL: Final = "ACTIONS_ID_TOKEN_REQUEST_URL"
_BEARER: Final = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
ANSWER_BYTES: Final = 2 * LARGEST_TOKEN
"""A token, and the JSON around it."""


class Tokens:
    """Reads tokens. ``mark`` changes whenever another token may be there, and costs next to nothing."""

    def __init__(self, ask: Ask, audience: str) -> None:
        self._ask = ask
        self._audience = audience

    def mark(self, source: TokenSource) -> object:
        """Return what tells one token of a source from the next without reading it."""
        if source.kind in ("file", "spiffe"):
            try:
                found = os.stat(source.place)
            except OSError:
                return None
            return found.st_ino, found.st_mtime_ns, found.st_size
        if source.kind == "github":
            return os.environ.get(_URL)  # the identity of a job is the same as long as it runs
        return os.environ.get(_variable(source))

    def read(self, source: TokenSource) -> str:
        """Return the token.

        ``key.forbidden``: ``token_missing``. ``key.backend_fault``: ``token_file`` (unreadable, others may write it,
        too long). ``key.backend_unavailable`` and ``key.backend_fault`` with reason ``ambient`` where the CI system
        does not give one.
        """
        if source.kind in ("file", "spiffe"):
            return _read_file(source.place)
        if source.kind == "github":
            return self._github()
        token = os.environ.get(_variable(source), "").strip()
        if not token:
            raise _missing(f"the variable {_variable(source)} is not set")
        return token

    def _github(self) -> str:
        """Ask GitHub for the job's token (GitHub's documentation, "OpenID Connect", requesting the JWT)."""
        url, bearer = os.environ.get(_URL, ""), os.environ.get(_BEARER, "")
        if not url or not bearer:
            raise _missing(f"{_URL} or {_BEARER} is not set: no job of GitHub's, or one without id-token: write")
        if urlsplit(url).scheme != "https" and urlsplit(url).hostname != "127.0.0.1":
            raise _ambient(f"{_URL} is no https URL")
        joined = f"{url}{'&' if '?' in url else '?'}audience={quote(self._audience, safe='')}"
        try:
            headers = (("Authorization", f"bearer {bearer}"), ("Accept", "application/json"))
            reply = self._ask("GET", joined, ANSWER_BYTES, None, headers)
        except Unanswered as exc:
            raise Fault(
                "key.backend_unavailable",
                "ambient",
                "the key's backend is not available",
                operator=f"no identity token from GitHub: {exc.reason}",
            ) from None
        if reply.status != 200:
            raise _ambient(f"GitHub answered {reply.status} in place of an identity token")
        try:
            value = json.loads(reply.body)["value"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise _ambient("GitHub's answer holds no identity token") from None
        if not isinstance(value, str):
            raise _ambient("GitHub's answer holds no identity token")
        return value


def _variable(source: TokenSource) -> str:
    return source.place or GITLAB_VARIABLE


def _read_file(path: str) -> str:
    try:
        # Not blocking: a FIFO in the file's place must not hold the worker up.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as exc:
        if exc.errno == errno.ENOENT:
            raise _missing(f"{path} does not exist") from None
        raise _file(f"{path} cannot be opened: {exc.strerror}") from exc
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _file(f"{path} is no regular file")
        if found.st_mode & stat.S_IWOTH:
            raise _file(f"{path}: whoever may write it decides in whose name is signed")
        with os.fdopen(os.dup(fd), "rb") as file:
            text = file.read(LARGEST_TOKEN + 1)
    except OSError as exc:
        raise _file(f"{path} cannot be read: {exc.strerror}") from exc
    finally:
        os.close(fd)
    if len(text) > LARGEST_TOKEN:
        raise _file(f"{path} is longer than {LARGEST_TOKEN} bytes")
    token = text.decode("ascii", "replace").strip()
    if not token:
        raise _missing(f"{path} is empty")
    return token


def _missing(operator: str) -> Refusal:
    return Refusal("key.forbidden", "token_missing", "there is no identity token to sign by", operator=operator)


def _file(operator: str) -> Fault:
    return Fault("key.backend_fault", "token_file", "a component of the signer failed", operator=operator)


def _ambient(operator: str) -> Fault:
    return Fault("key.backend_fault", "ambient", "a component of the signer failed", operator=operator)
