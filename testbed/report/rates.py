"""How often repetitions ended how, where chance decides, beside what is predicted."""

from testbed.model.result import RateSeen

HEAD = ("pair", "measured", "predicted", "")


def words(seen: RateSeen) -> tuple[str, str, str, str]:
    """As a line under `HEAD`."""
    low, high = seen.least / seen.tries, seen.most / seen.tries
    measured = f"{seen.hits} of {seen.tries} {seen.outcome}"
    predicted = f"{seen.predicted:.2f} ({low:.2f} to {high:.2f})"
    return seen.group, measured, predicted, _verdict(seen)


def _verdict(seen: RateSeen) -> str:
    if not seen.sampled:
        return f"no rate, {seen.thrown} tries were thrown away on a busy machine"
    return "" if seen.agrees else "the rate disagrees"


def sentence(seen: RateSeen) -> str:
    """``punch-udp/a--b: 187 of 200 direct, predicted 0.93 (0.89 to 0.97)``."""
    group, measured, predicted, verdict = words(seen)
    said = f"{group}: {measured}, predicted {predicted}"
    return f"{said}: {verdict}" if verdict else said
