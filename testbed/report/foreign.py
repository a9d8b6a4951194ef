"""Somebody's measured rules in words: the bench that they got, and what was not touched."""

from collections.abc import Iterator
from typing import Any

from testbed.certify.foreign.measure import Probed


def of_rules(probed: Probed) -> Iterator[str]:
    """Where the rules were measured, and which of them matched no packet."""
    site = probed.site
    addresses = [*map(str, site.external), *map(str, site.routed)]
    yield (
        f"The bench: {site.wan} towards the internet"
        + (f" with {', '.join(addresses)}" if addresses else "")
        + f", {site.lan} towards the LAN"
        + (f" {site.inside}" if site.inside else "")
    )
    if probed.idle:
        yield f"Warning: {len(probed.idle)} of {probed.rules} rules never matched a packet:"
        yield from (f"  {rule.text}" for rule in probed.idle)


def rules_json(probed: Probed) -> dict[str, Any]:
    """The same for machines."""
    site = probed.site
    return {
        "bench": {
            "wan": site.wan,
            "lan": site.lan,
            "external": [*map(str, site.external), *map(str, site.routed)],
            "inside": str(site.inside) if site.inside else None,
        },
        "rules": probed.rules,
        "never_matched": [rule.text for rule in probed.idle],
    }
