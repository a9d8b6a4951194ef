"""From an error to the fault that it is of a run."""

from testbed.errors import ContractError, PeerError, ServiceError, TestbedError
from testbed.model.fault import Broke, Crashed, Ending, Fault, PeerFailed, ServiceFailed, Worker


def fault_of(error: Exception, worker: Worker = Worker.CASE) -> Fault:
    """What an error of the harness, of a peer or of the system is; another is a crash."""
    match error:
        case PeerError():
            broke_contract = isinstance(error, ContractError)
            return PeerFailed(error.node, error.message, error.remedy, broke_contract)
        case ServiceError():
            ending = Ending(error.ending)
            return ServiceFailed(error.node or "", error.service, ending, error.why)
        case TestbedError():
            return Broke(error.phase, error.node, error.message, error.remedy)
        case OSError():
            return Broke(None, None, str(error))
    return Crashed(worker, f"{type(error).__name__}: {error}")
