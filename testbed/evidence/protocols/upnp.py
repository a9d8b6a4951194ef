"""UPnP IGD over HTTP: SOAP actions, their answers and errors (WANIPConnection:1, :2).

A message's head and body often come in two segments; each is read for itself.
"""

import re

from testbed.evidence.protocols import http
from testbed.model.journey import Label, PortLease

MAX_BODY = 8192  # bytes read of a SOAP body
_ENVELOPES = (b"<?xml", b"<s:Envelope", b"<SOAP-ENV:Envelope")
# A body's first element: the action, or a fault.  Each pattern is linear in its input.
_ACTION = re.compile(rb"Body\s{0,16}>\s{0,64}<(?:[\w-]{1,32}:)?(\w{1,64})")
_ARGUMENT = re.compile(rb"<(New\w{1,40})[^<>]{0,100}>([^<>]{0,100})</")
_ERROR = re.compile(rb"<errorCode>\s{0,8}(\d{1,4})\s{0,8}</errorCode>")
_DESCRIPTION = re.compile(rb"<errorDescription>([^<>]{0,100})</errorDescription>")
_ADDS = frozenset({"AddPortMapping", "AddAnyPortMapping"})
_SERVICE_ACTION = re.compile(r'#(\w{1,64})"?$')

_Fields = tuple[tuple[str, str], ...]


def read(data: bytes) -> Label | None:
    """A request, a response, or the SOAP body of one, at the head of a segment; else None."""
    if data.startswith(_ENVELOPES):
        text, fields = _soap(data)
        return Label("upnp", text or "XML", fields, _lease(fields))
    head = http.head(data)
    if head is None:
        return None
    text, fields = _soap(head.body)
    named = _SERVICE_ACTION.search(head.headers.get("soapaction", ""))
    if named:
        action = named[1]
        fields = (("action", action), *(f for f in fields if f[0] != "action"))
        text = f"{action} request{_arguments(fields)}"
    elif text:
        text = f"{_status(head.start)}: {text}" if "500" in head.start else text
    else:
        text = head.start.removesuffix(" HTTP/1.1").removesuffix(" HTTP/1.0")
        return Label("http", text, (("start line", head.start),))
    said = (("start line", head.start), *fields)
    return Label("upnp", text, said, _lease(fields))


def _lease(fields: _Fields) -> PortLease | None:
    """What AddPortMapping and AddAnyPortMapping of WANIPConnection ask for."""
    arguments = dict(reversed(fields))  # the first of each name counts
    external = arguments.get("NewExternalPort", "")
    seconds = arguments.get("NewLeaseDuration", "0")
    if arguments.get("action") not in _ADDS or not (external.isdecimal() and seconds.isdecimal()):
        return None
    return PortLease(int(external), int(seconds), given=False)


def _status(start: str) -> str:
    return start.partition(" ")[2]


def _soap(body: bytes) -> tuple[str, _Fields]:
    """What a SOAP body says; ("", ()) if it is none, or not there yet."""
    body = body[:MAX_BODY]
    error = _ERROR.search(body)
    if error:
        described = _DESCRIPTION.search(body)
        code = _plain(error[1])
        why = f"{code} {_plain(described[1])}" if described else code
        return f"UPnP error {why}", (("errorCode", code), ("error", why))
    action = _ACTION.search(body)
    if action is None:
        return "", ()
    name = _plain(action[1])
    arguments = ((_plain(key), _plain(value)) for key, value in _ARGUMENT.findall(body))
    fields = (("action", name), *arguments)
    if name.endswith("Response"):
        name = f"{name.removesuffix('Response')} response"
    else:
        name = f"{name} request"
    return f"{name}{_arguments(fields)}", fields


def _arguments(fields: _Fields) -> str:
    """A mapping in a few words: AddPortMapping's arguments (WANIPConnection:1, 2.4.16)."""
    said = dict(fields)
    outside = said.get("NewExternalPort") or said.get("NewReservedPort")
    inside = said.get("NewInternalClient")
    address = said.get("NewExternalIPAddress")
    if outside and inside:
        protocol, port = said.get("NewProtocol", "?"), said.get("NewInternalPort", "?")
        lease = said.get("NewLeaseDuration", "?")
        return f": {protocol} {outside} to {inside}:{port}, {lease} s"
    if outside or address:
        return f": {outside or address}"
    return ""


def _plain(text: bytes) -> str:
    return "".join(c if c.isprintable() else "?" for c in text.decode("utf-8", "replace"))
