"""Contract of predicate types."""

import copy
from collections.abc import Callable, Mapping, Sequence

from signerd.attestation.dsse import is_media_type
from signerd.attestation.statement import PAYLOAD_TYPE, is_type_uri
from signerd.contracts.providers import PayloadType, PredicateType
from signerd_conformance.contracts.plugin import PluginContract, refused, settled

__all__ = ["PredicateContract"]

Document = dict[str, object]


class PredicateContract(PluginContract):
    """A subclass gives :meth:`documents`, and :meth:`broken` where ``{}`` is a document of its types."""

    hook = "signerd_predicates"

    def documents(self) -> Mapping[str, Document]:
        """Return a valid document for each type to be judged, by its URI or one of its names."""
        raise NotImplementedError

    def broken(self) -> Mapping[str, Document]:
        """Return an invalid document in the same way; empty ones unless this says otherwise."""
        return {name: {} for name in self.documents()}

    def types(self) -> Sequence[PredicateType]:
        """Return all that the plugin brings."""
        found = self.providers()
        assert found, "no predicate type"
        types = []
        for one in found:
            assert isinstance(one, PredicateType), f"{type(one).__name__} is no PredicateType"
            assert not isinstance(one, type), "a class where an instance must be"
            types.append(one)
        return types

    def type_of(self, name: str) -> PredicateType:
        """Return the type of that URI or name."""
        (found,) = (one for one in self.types() if name in (one.uri, *one.names))
        return found

    def test_every_type_has_a_uri_and_names_of_its_own(self) -> None:
        """Two types of one name would make the configured order decide what a caller meant."""
        names: list[object] = [name for one in self.types() for name in (one.uri, *one.names)]
        assert all(isinstance(name, str) and name for name in names)
        assert len(names) == len(set(names)), "a name twice"
        for one in self.types():
            # An alias is no URI; then one of its names is.
            assert any(is_type_uri(name) for name in (one.uri, *one.names)), f"{one.uri} has no absolute URI"

    def test_every_type_says_what_it_needs(self) -> None:
        """Flags are True or False: what is merely truthy may be a mistake."""
        for one in self.types():
            for flag in (one.needs_release, one.needs_policy, one.heavy):
                assert isinstance(flag, bool), f"{one.uri}: {flag!r} is no bool"

    def test_a_payload_type_is_a_media_type_of_its_own(self) -> None:
        """Of a type whose documents are signed bare: two under one payload type could not be told apart, and under the
        Statement's one would be taken for a Statement."""
        found: list[object] = [one.payload_type for one in self.types() if isinstance(one, PayloadType)]
        for name in found:
            assert isinstance(name, str), f"{name!r} is no text"
            assert is_media_type(name), f"{name!r} is no media type"
            assert name != PAYLOAD_TYPE, "a bare document is no Statement"
        assert len(found) == len(set(found)), "a payload type twice"

    def test_a_document_of_the_type_passes_and_is_left_as_it_was(self) -> None:
        """``check`` returns None: a bool would be taken for a decision."""
        for name, document in self.documents().items():
            before = copy.deepcopy(document)
            check: Callable[[Document], object] = self.type_of(name).check
            said = settled(check(document))
            assert said is None, f"{name}: check returned {said!r}"
            assert document == before, f"{name}: check changed the document"

    def test_a_document_that_is_not_of_the_type_is_refused(self) -> None:
        """``predicate.invalid``, with the place as a JSON pointer (RFC 6901)."""
        for name, document in self.broken().items():
            kind, given = self.type_of(name), document
            error = refused("predicate.invalid", kind.check, given)
            pointer = error.details.get("pointer")
            assert isinstance(pointer, str), f"{name}: the refusal says not where"
            assert pointer == "" or pointer.startswith("/"), f"{name}: {pointer!r} is no JSON pointer"

    def test_a_policy_is_two_texts_or_none(self) -> None:
        """Of a valid document."""
        for name, document in self.documents().items():
            said = settled(self.type_of(name).policy(document))
            if said is not None:
                assert isinstance(said, tuple), f"{name}: {said!r} is no pair"
                assert [type(text) for text in said] == [str, str], f"{name}: {said!r} is no pair of texts"
