"""Does a NAT leave a client's port as it is?  testbed study my_study.py --all"""

from socket import AF_INET, SOCK_DGRAM

from testbed.model.presets import home_and_public
from testbed.studies.base import Study, judged, nat_cases

HELD, CHANGED = "kept", "changed"


def run(case, site):
    nats = {case.nat.name: case.nat}
    with site.lab(home_and_public(case.nat.name), nats, case.seed) as lab, site.recorded(lab):
        server, client = (lab.socket(node, AF_INET, SOCK_DGRAM) for node in ("server", "a"))
        with server, client:
            server.bind((str(lab.plan.address("server")), 443))
            server.settimeout(5)
            client.bind(("0.0.0.0", 4001))
            client.sendto(b"which port is mine?", server.getsockname())
            _, (_, port) = server.recvfrom(100)
    predicted = HELD if case.nat.behaviour.udp.allocation == "preserving" else CHANGED
    return judged("my-study", case, site.folder, HELD if port == 4001 else CHANGED, predicted)


STUDY = Study("my-study", run, cases=nat_cases("my-study"))
