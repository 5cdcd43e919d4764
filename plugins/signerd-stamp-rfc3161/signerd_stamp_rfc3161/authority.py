"""A timestamp authority (RFC 3161 over HTTP), and what is demanded of its stamps before one is passed on."""

from datetime import UTC, datetime, timedelta
from typing import Final

import trio
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, decode_timestamp_response

from signerd.errors import Refusal
from signerd.network.exchange import Exchange
from signerd.verification.stamp import verify_stamp
from signerd_stamp_rfc3161.exchange import ask, unavailable
from signerd_stamp_rfc3161.settings import Settings

__all__ = ["TimestampAuthority"]

STAMP_BYTES: Final = 128 * 1024


class TimestampAuthority:
    """The provider."""

    kind = "stamp"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._exchange = Exchange(settings.ca)

    async def submit(self, payload_digest: bytes, signature: bytes, verifier: bytes) -> bytes:
        """Return the DER TimeStampResp over the bytes of ``signature``, which is all that the authority is told of.

        It was asked for with a nonce, is of now by our clock, and leads to the configured chain. Raises
        ``transparency.unavailable``: ``deadline``, ``unreachable``, ``stamp_refused``, ``stamp_answer``,
        ``stamp_proof``, ``stamp_time``, ``answer_too_large``.
        """
        del payload_digest, verifier
        settings = self._settings
        asked = TimestampRequestBuilder().data(signature).hash_algorithm(HashAlgorithm.SHA256).nonce(nonce=True)
        request = asked.cert_request(cert_request=True).build()
        with trio.move_on_after(settings.deadline_s):
            answer = await ask(self._exchange, "POST", settings.url, STAMP_BYTES, request.as_bytes())
            if answer.status not in {200, 201}:
                raise unavailable("stamp_refused", f"{settings.url}: status {answer.status}: {answer.body[:200]!r}")
            self._check(answer.body, signature, request.nonce)
            return answer.body
        raise unavailable("deadline", f"no stamp within {settings.deadline_s:g} s")

    def _check(self, response: bytes, signature: bytes, nonce: int | None) -> None:
        try:
            at = verify_stamp(response, signature, [self._settings.authority])
        except Refusal as refusal:
            raise unavailable("stamp_proof", f"{self._settings.url}: {refusal}") from refusal
        try:
            told = decode_timestamp_response(response).tst_info.nonce
        except ValueError as exc:
            raise unavailable("stamp_answer", f"{self._settings.url}: {exc}") from exc
        if told != nonce:
            raise unavailable("stamp_proof", f"{self._settings.url}: the answer to another question")
        if abs(at - datetime.now(UTC)) > timedelta(seconds=self._settings.clock_skew_s):
            raise unavailable("stamp_time", f"{self._settings.url}: stamped {at.isoformat()}")
