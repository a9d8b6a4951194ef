"""XML from a device on the LAN: elements and their text, without what makes XML dangerous.

A document type declaration is refused, and with it every entity; size and depth are
bounded.  Namespaces and attributes are dropped: devices get them wrong, and nothing in
IGD depends on them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from ..errors import ProtocolError

MAX_SIZE = 64 * 1024  # bytes; descriptions in the field have some 5 KiB
MAX_DEPTH = 24


@dataclass
class Element:
    """A name without its prefix, the text directly inside, and the children in order."""

    name: str
    children: list["Element"] = field(default_factory=list)
    text: str = ""

    def find(self, name: str) -> str:
        """The text of the first child of this name, without space around it; "" if none."""
        return next((child.text.strip() for child in self.children if child.name == name), "")

    def walk(self) -> Iterator["Element"]:
        """This element and all below it, in the document's order."""
        yield self
        for child in self.children:
            yield from child.walk()


class _Builder:
    def __init__(self) -> None:
        self.root = Element("")
        self._open = [self.root]

    def start(self, name: str, _: dict[str, str]) -> None:
        if len(self._open) > MAX_DEPTH:
            raise ProtocolError("xml", f"deeper than {MAX_DEPTH} elements")
        element = Element(name.rpartition(":")[2])
        self._open[-1].children.append(element)
        self._open.append(element)

    def end(self, _: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        self._open[-1].text += data


def _refuse(*_: object) -> NoReturn:
    raise ProtocolError("xml", "a document type declaration or an entity")


def parse(data: bytes) -> Element:
    """The document's root element.  Raises ProtocolError."""
    if len(data) > MAX_SIZE:
        raise ProtocolError("xml", f"{len(data)} bytes are more than {MAX_SIZE}")
    builder, parser = _Builder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.ExternalEntityRefHandler = _refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ProtocolError("xml", str(error)) from error  # ValueError: an encoding
    return builder.root.children[0]
