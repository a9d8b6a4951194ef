"""The characters that drawings on a terminal are made of, and what stands for them in ASCII."""

from testbed.model.frozen import FrozenValue


class Glyphs(FrozenValue):
    """One character each, but for ``to``, so that a drawing has the same shape in both."""

    lifeline: str
    across: str  # an arrow that passes a node's line
    line: str
    right: str
    left: str
    stopped: str
    here: str
    decisive: str
    times: str
    to: str

    def words(self, text: str) -> str:
        """``text`` with nothing in it that a terminal obeys, or the stream cannot print.

        Packets and peers say some of what is shown.
        """
        text = "".join(c if c.isprintable() else "?" for c in text)
        if self is not ASCII:
            return text
        return text.translate(_PLAIN).encode("ascii", "replace").decode()


UNICODE = Glyphs("│", "┼", "─", "▶", "◀", "✗", "●", "◆", "×", "→")
ASCII = Glyphs("|", "+", "-", ">", "<", "X", "o", "*", "x", "->")

PLAIN = {
    **{"→": "->", "←": "<-", "↔": "<->", "…": "...", "–": "-", "—": "-", "×": "x", "≠": "!="},
    **{"≥": ">=", "≤": "<=", "±": "+-", "·": ".", "µ": "u", "✓": "ok", "✗": "X", "◆": "*"},
    **{"●": "o", "▶": ">", "◀": "<", "│": "|", "─": "-", "┼": "+", "━": "-", "╸": "-", "╺": "-"},
}  # what stands for a character that a stream cannot print
_PLAIN = str.maketrans(PLAIN)


def glyphs_for(encoding: str | None) -> Glyphs:
    """Those that a stream of this encoding can print."""
    return UNICODE if (encoding or "").lower().replace("-", "") == "utf8" else ASCII
