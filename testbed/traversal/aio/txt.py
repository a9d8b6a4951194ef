"""TXT records for `/dnsaddr`, by dnspython: `NodeOptions(lookup_txt=lookup_txt)`."""

from dns import asyncresolver
from dns.exception import DNSException
from dns.rdtypes.ANY.TXT import TXT


async def lookup_txt(name: str, resolver: asyncresolver.Resolver | None = None) -> tuple[str, ...]:
    """The records of a name, asked of the system's servers or of a resolver of yours.

    Raises OSError where there is no answer; a name without records has none.
    """
    asked = resolver or asyncresolver.get_default_resolver()
    try:
        answer = await asked.resolve(name, "TXT", raise_on_no_answer=False)
    except DNSException as error:
        raise OSError(f"TXT records of {name}: {error}") from error
    records = (record for record in answer if isinstance(record, TXT))
    return tuple(b"".join(record.strings).decode("utf-8", "replace") for record in records)
