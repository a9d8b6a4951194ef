"""What became of one life, held against what was expected."""

from dataclasses import dataclass

from testbed.errors import Exit
from testbed.predict.life import Expected, Transport
from testbed.studies.life.run import Led

TOO_LATE = 0.2  # seconds; beyond it a difference may be the machine's
TOO_SLOW = 0.3  # seconds that a fault may take longer than planned


@dataclass(frozen=True)
class Row:
    """One life; ``led`` is None when ``error`` kept it from being led."""

    story: str
    transport: Transport
    expected: Expected
    led: Led | None
    error: str = ""

    @property
    def exit_code(self) -> Exit:
        if self.led is None:
            return Exit.INCONCLUSIVE
        if not self.led.findings:
            return Exit.AGREED
        busy = self.led.late > TOO_LATE or self.led.slow > TOO_SLOW
        return Exit.INCONCLUSIVE if busy else Exit.DIFFERS

    @property
    def notes(self) -> tuple[str, ...]:
        """Why the verdict is not that all agree."""
        if self.led is None:
            return (self.error,)
        if self.exit_code is Exit.INCONCLUSIVE:
            late = f"{max(self.led.late, self.led.slow):.1f} s late: this machine is too busy"
            return (*self.led.findings, late)
        return self.led.findings
