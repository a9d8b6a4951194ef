"""The words around IGD's actions: search and announcement (SSDP), description, and SOAP."""

import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .settings import Settings

SSDP_PORT, GROUP = 1900, "239.255.255.250"
DESCRIPTION, CONTROL, ACTIONS = "/rootDesc.xml", "/ctl/IPConn", "/WANIPCn.xml"
_SCHEMA = "urn:schemas-upnp-org"
_ENVELOPE = (
    '<?xml version="1.0"?>\r\n'
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>{}</s:Body></s:Envelope>'
)
_FAULT = (
    "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
    '<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{0}</errorCode>'
    "<errorDescription>error {0}</errorDescription></UPnPError></detail></s:Fault>"
)


def targets(settings: Settings) -> Iterator[str]:
    """What the gateway is found by: a device of version 2 is one of version 1, too."""
    yield "upnp:rootdevice"
    yield f"uuid:{settings.uuid}"
    for version in range(1, settings.upnp_igd + 1):
        yield f"{_SCHEMA}:device:InternetGatewayDevice:{version}"
        yield f"{_SCHEMA}:service:WANIPConnection:{version}"


def found(settings: Settings, boot: int, datagram: bytes) -> Iterator[bytes]:
    """The answers to a search (UPnP Device Architecture 1.1, section 1.3)."""
    text = datagram.decode("latin-1")
    wanted = re.search(r"(?im)^ST:\s*(\S+)", text)
    if not text.startswith("M-SEARCH * HTTP/1.1") or wanted is None:
        return
    for target in targets(settings):
        if wanted[1] in (target, "ssdp:all"):
            words = {"ST": target, "EXT": ""} | _whereabouts(settings, boot, target)
            yield _message("HTTP/1.1 200 OK", words)


def alive(settings: Settings, boot: int) -> Iterator[bytes]:
    """The announcements of a start (section 1.2)."""
    for target in targets(settings):
        words = {"HOST": f"{GROUP}:{SSDP_PORT}", "NT": target, "NTS": "ssdp:alive"}
        yield _message("NOTIFY * HTTP/1.1", words | _whereabouts(settings, boot, target))


def _whereabouts(settings: Settings, boot: int, target: str) -> dict[str, str]:
    own = f"uuid:{settings.uuid}"
    return {
        "CACHE-CONTROL": "max-age=1800",
        "LOCATION": f"http://{settings.inside}:{settings.http_port}{DESCRIPTION}",
        "SERVER": "Linux UPnP/1.1 testbed/1",
        "USN": own if target == own else f"{own}::{target}",
        "BOOTID.UPNP.ORG": str(boot),
        "CONFIGID.UPNP.ORG": "1",
    }


def _message(start: str, words: Mapping[str, str]) -> bytes:
    lines = (start, *(f"{name}: {value}".rstrip() for name, value in words.items()), "", "")
    return "\r\n".join(lines).encode()


def description(settings: Settings) -> str:
    """The device: a gateway, in it a WAN device, in it a connection."""
    version = settings.upnp_igd
    services = {
        "WANConnectionDevice": _service(f"WANIPConnection:{version}", "WANIPConn1"),
        # Without it miniupnpc takes the device for no gateway.
        "WANDevice": _service("WANCommonInterfaceConfig:1", "WANCommonIFC1"),
        "InternetGatewayDevice": "",
    }
    body = ""
    for number, kind in enumerate(services):
        body = services[kind] + body
        device = (
            f"<device><deviceType>{_SCHEMA}:device:{kind}:{version}</deviceType>"
            f"<friendlyName>{kind} of the testbed</friendlyName>"
            f"<manufacturer>testbed</manufacturer>"
            f"<modelName>{kind}</modelName><UDN>uuid:{_part(settings.uuid, number)}</UDN>"
            f"{body}</device>"
        )
        body = f"<deviceList>{device}</deviceList>"
    return (
        f'<?xml version="1.0"?>\r\n<root xmlns="{_SCHEMA}:device-1-0"><specVersion><major>1</major>'
        f"<minor>1</minor></specVersion>{device}</root>"
    )


def _service(kind: str, name: str) -> str:
    return (
        f"<serviceList><service><serviceType>{_SCHEMA}:service:{kind}</serviceType>"
        f"<serviceId>urn:upnp-org:serviceId:{name}</serviceId><SCPDURL>{ACTIONS}</SCPDURL>"
        f"<controlURL>{CONTROL}</controlURL><eventSubURL></eventSubURL></service></serviceList>"
    )


def _part(uuid: str, number: int) -> str:
    """The root device has the uuid itself; each device in it one of its own."""
    return uuid if number == 2 else f"{uuid[:-1]}{(int(uuid[-1], 16) + number + 1) % 16:x}"


def actions() -> str:
    """The least that is a service description: clients know the actions by their standard."""
    return (
        f'<?xml version="1.0"?>\r\n<scpd xmlns="{_SCHEMA}:service-1-0"><specVersion>'
        "<major>1</major><minor>0</minor></specVersion><actionList/></scpd>"
    )


def called(header: str, body: bytes) -> tuple[str, str, dict[str, str]] | None:
    """Service, action and arguments of a SOAP request; None if it is none."""
    named = re.search(r"(?im)^SOAPAction:\s*\"?([^\"#\r\n]*)#(\w+)", header)
    if named is None:
        return None
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    for element in root.iter():
        if element.tag.rpartition("}")[2] == named[2]:
            words = {part.tag.rpartition("}")[2]: part.text or "" for part in element}
            return named[1], named[2], words
    return None


def answered(service: str, action: str, values: Mapping[str, str]) -> str:
    """The envelope of a success."""
    inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())
    tag = f"u:{action}Response"
    return _ENVELOPE.format(f'<{tag} xmlns:u="{escape(service)}">{inside}</{tag}>')


def failed(code: int) -> str:
    """The envelope of an error."""
    return _ENVELOPE.format(_FAULT.format(code))
