"""NATs written by hand, right and wrong, and how to measure many of them at once."""

import json
from collections.abc import Callable, Mapping

from patience import repeated
from shared import reason

from testbed.certify.certificates import (
    DEADLINE,
    JOBS,
    Certificate,
    Verdict,
    certify,
    inconclusive,
)
from testbed.lab.forked import forked
from testbed.model.fault import Ended, Worker
from testbed.model.lab import Lab
from testbed.nat.load import find

Sabotage = Callable[[Lab], None]

INPUT_DROP = """
chain input { type filter hook input priority 0; policy accept
  iifname "wan" ct state new,invalid drop
}
"""
FORWARD_DROP = """
chain forwarding { type filter hook forward priority 0; policy drop
  ct state invalid drop
  iifname "lan" accept
  ct state established,related accept
  ct status dnat accept
}
"""
PINHOLES = """
map pinholes {
  type inet_proto . inet_service : ipv4_addr . inet_service
  flags dynamic,timeout; timeout 3s; size 65535;
}
chain inbound { type nat hook prerouting priority -100
  iifname "wan" dnat ip to meta l4proto . th dport map @pinholes
}
chain outbound { type nat hook postrouting priority 100
  oifname "wan" masquerade
}
"""
HAIRPIN = PINHOLES.replace('iifname "wan" dnat', "fib daddr type local dnat")
LEARN = (
    "meta l4proto { tcp, udp } update @pinholes "
    "{ meta l4proto . th sport : ct original ip saddr . ct original proto-src }"
)


def rules(*parts: str) -> Sabotage:
    """Everything that the profile has loaded is replaced by one table of ``parts``."""
    text = "\n".join(("flush ruleset", "table ip hand {", *parts, "}", ""))

    def load(lab: Lab) -> None:
        text_here = text.replace("{external}", str(lab.plan.address("nat-a")))
        lab.run("nat-a", ["nft", "-f", "-"], input=text_here.encode())
        times = {"udp_timeout": 2, "udp_timeout_stream": 3, "tcp_timeout_syn_sent": 2}
        times["tcp_timeout_established"] = 3
        for name, seconds in times.items():
            lab.run("nat-a", ["sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}={seconds}"])

    return load


def masquerade(how: str = "masquerade", interface: str = "wan") -> str:
    return (
        f'chain outbound {{ type nat hook postrouting priority 100; oifname "{interface}" {how}\n}}'
    )


def hairpin_source(how: str) -> str:
    """What becomes of the source of a hairpinned call; ``{external}`` is the WAN address."""
    return (
        "chain hairpin { type nat hook postrouting priority 99\n"
        f'iifname "lan" oifname "lan" ct status dnat {how}\n}}'
    )


def learning(priority: int, condition: str = "ct direction original") -> str:
    return (
        f"chain learning {{ type filter hook postrouting priority {priority}\n"
        f'oifname "wan" {condition} {LEARN}\n}}'
    )


def measured(cases: Mapping[str, tuple[str, Sabotage]]) -> dict[str, Certificate]:
    """name -> (profile, sabotage): what certification says of each, many at once."""
    found = _measured(cases, JOBS)
    busy = {name: cases[name] for name, one in found.items() if one.late}
    for name in busy:
        repeated(f"{name}: {reason(found[name])}")
    return found | _measured(busy, 4)


def _measured(cases: Mapping[str, tuple[str, Sabotage]], jobs: int) -> dict[str, Certificate]:
    names = list(cases)
    tasks = [_task(*cases[name]) for name in names]
    return {
        names[index]: _told(names[index], output, seconds)
        for index, output, seconds in forked(tasks, jobs, DEADLINE)
    }


def _told(name: str, output: bytes, seconds: float) -> Certificate:
    """What a worker gave; one that was not done in time was late, and others may have been."""
    if output:
        return Certificate.from_json(json.loads(output))
    ended = Ended(Worker.PROBER, seconds)
    return inconclusive(name, ended, seconds, late=seconds >= DEADLINE)


def _task(profile: str, sabotage: Sabotage) -> Callable[[int], bytes]:
    def run(slot: int) -> bytes:
        certificate = certify(find(profile), number=100 + slot, sabotage=sabotage)
        return json.dumps(certificate.to_json()).encode()

    return run


def row(certificate: Certificate, axis: str) -> str:
    """What was measured on ``axis``."""
    assert certificate.verdict is not Verdict.INCONCLUSIVE, certificate.fault
    return next(row.measured for row in certificate.rows if row.axis == axis)


def wrong(certificate: Certificate) -> set[str]:
    """The axes that were found not to agree."""
    assert certificate.verdict is not Verdict.INCONCLUSIVE, certificate.fault
    return {row.axis for row in certificate.rows if not row.agrees}
