"""Versions of facts: a fact that was written once can be read for ever, with one function for each step to a newer
version.

Every type of fact has its own version. The tag names a version beyond the first: `closed` is version 1 of its type, and
`closed@2` would be version 2. The rules:

- A field that is added with a default changes no version: older readers skip it, newer ones use the default for older
  facts.
- A new type changes no version of the batch: older readers set such facts aside, for a replay after their upgrade.
- A field that is removed, or changes its meaning, makes a new version of its type and a newer `EVENTS_VERSION`, as a
  reader that left such facts out would fold nonsense: older readers wait until they are upgraded.
- The struct of an old version stays in this module for ever, with a function that lifts it to the next version. Only
  the newest version is written, and folds see only that.
- An unknown type, or version of a type, does not affect the rest of its message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, NamedTuple, TypeVar, Union, get_args

from msgspec import DecodeError, Raw, Struct, json

from proto.events import Event, SessionEvent

E = TypeVar("E")

_TAG: Final = re.compile(r"(?P<name>[a-z_]+)(?:@(?P<version>[1-9][0-9]{0,3}))?")


class Step(NamedTuple):
    """An old version of a type, and the function that makes the next version of such a fact. It raises nothing."""

    old: type[Event]
    lifted: Callable[[Any], Event]


class UnknownType(Exception):
    """A fact of a type, or of a version of a type, that is not known here: it is left out. `tag` is the fact's tag."""

    def __init__(self, tag: str) -> None:
        super().__init__(f"{tag!r} is no type that is known here")
        self.tag = tag


class _Tagged(Struct):
    type: str


_decode_tagged = json.Decoder(_Tagged).decode


def tag_of(kind: type[Event]) -> str:
    """The `type` of a fact of this struct."""
    return str(kind.__struct_config__.tag)


def versioned(tag: str) -> tuple[str, int]:
    """The name of a type and its version. Raises ValueError for an invalid tag."""
    found = _TAG.fullmatch(tag)
    version = int(found["version"] or 1) if found else 0
    if found is None or (found["version"] and version == 1):
        raise ValueError(f"expected a tag such as closed or closed@2, got {tag!r}")
    return found["name"], version


class Upcasting(Generic[E]):
    """Reads facts of every version that ever existed, as the newest version of their type.

    `newest` are the structs of the newest versions, `steps` lift all older ones. Raises ValueError unless each type has
    all versions up to its newest, each once.
    """

    def __init__(self, newest: Iterable[type[Event]], steps: Iterable[Step]) -> None:
        self._lifted: dict[type[Event], Callable[[Any], Event]] = {}
        kinds = list(newest)
        for step in steps:
            kinds.append(step.old)
            self._lifted[step.old] = step.lifted
        self.tags: Final = frozenset(map(tag_of, kinds))
        versions: dict[str, list[int]] = {}
        for kind in kinds:
            name, version = versioned(tag_of(kind))
            versions.setdefault(name, []).append(version)
        for name, known in versions.items():
            if sorted(known) != list(range(1, len(known) + 1)):
                raise ValueError(f"expected every version of {name} once, from 1 on, got {sorted(known)}")
        self._newest: Final = {name: max(known) for name, known in versions.items()}
        self._decode: Callable[[bytes | Raw], Any] = json.Decoder(Union[tuple(kinds)]).decode  # noqa: UP007

    def read(self, data: bytes | Raw) -> E:
        """The fact in `data`, lifted to the newest version of its type.

        Raises `UnknownType`, and DecodeError for a fact that does not match its type.
        """
        try:
            fact = self._decode(data)
        except (DecodeError, UnicodeDecodeError, RecursionError) as error:
            tag = _tag_in(data)
            if tag is not None and tag not in self.tags:
                raise UnknownType(tag) from None
            raise DecodeError(str(error)) from None
        while (lifted := self._lifted.get(type(fact))) is not None:
            fact = lifted(fact)
        return fact  # type: ignore[no-any-return]  # the newest version, which is an E

    def version_of(self, name: str) -> int:
        """The newest version of the type of this name. Raises KeyError if there is no such type."""
        return self._newest[name]


def _tag_in(data: bytes | Raw) -> str | None:
    try:
        return _decode_tagged(data).type
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None


OLD_VERSIONS: Final[tuple[Step, ...]] = ()
"""The older versions of today's types. All are at version 1 so far."""

FACTS: Final = Upcasting[SessionEvent](get_args(SessionEvent), OLD_VERSIONS)
"""Reads the facts of the session log."""
