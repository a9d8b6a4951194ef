"""What the tables of a world's file have in common."""

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

WRONG = "wrong"  # the type of the errors that these models find themselves


class Table(BaseModel):
    """A frozen table without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def wrong(message: str, *place: str) -> PydanticCustomError:
    """An error at the key ``place``, below the table that is validated."""
    return PydanticCustomError(WRONG, "{said}", {"said": message, "place": place})
