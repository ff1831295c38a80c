"""Where a JSON tracker's reply has what: JMESPath expressions (jmespath.org), as a source is configured."""

from decimal import Decimal
from typing import Annotated, Any, Final

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from services.kernel.errors import SourceError

NODE_FIELDS: Final = (
    "identifier",
    "identifier_type",
    "status",
    "health_probed",
    "jobs_day",
    "active_model",
    "voting_weight",
    "tokens_per_sec",
    "display_name",
    "gpu_type",
    "region",
)
_NUMBERS: Final = ("jobs_day", "voting_weight", "tokens_per_sec")


class Expression:
    """A compiled JMESPath expression."""

    def __init__(self, text: str) -> None:
        self._text = text
        try:
            self._compiled = jmespath.compile(text)
        except JMESPathError as error:
            raise ValueError(f"{text!r} is no JMESPath expression: {str(error).splitlines()[0]}") from None

    def of(self, document: object) -> Any:
        """What it finds; None where there is nothing. Raises SourceError when it cannot be worked out."""
        try:
            return self._compiled.search(document)
        except JMESPathError as error:
            raise SourceError(f"{self._text}: {str(error).splitlines()[0]}") from None

    def __str__(self) -> str:
        return self._text

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        """Read it from a string."""
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(min_length=1, max_length=2000))


class Mapped(BaseModel):
    """What is asked for, and where the answer has what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, Field(pattern=r"^/[^\s#]*$")]
    """What follows a base URL; it may have a query."""
    nodes: Expression
    """The list of nodes."""
    observed_at: Expression | None = None
    """When the reply was made; left out: when it came. An answer that is no newer than the last one says nothing."""
    epoch: Expression | None = None
    height: Expression | None = None
    node: dict[str, Expression]
    """Each field of a reading, looked for within a node."""
    scale: dict[str, Annotated[Decimal, Field(gt=0)]] = {}
    """What a number is multiplied by, to bring it to our units."""
    zero_for_all_is_unknown: frozenset[str] = frozenset()
    """Counts that are 0 for every node at once are not known: so they stand right after an epoch's boundary."""

    @model_validator(mode="after")
    def _known_fields(self) -> "Mapped":
        for where, names, known in (
            ("node", self.node, NODE_FIELDS),
            ("scale", self.scale, _NUMBERS),
            ("zero_for_all_is_unknown", self.zero_for_all_is_unknown, _NUMBERS),
        ):
            if unknown := sorted(set(names) - set(known)):
                raise ValueError(f"{where}: {unknown[0]!r} is none of {', '.join(known)}")
        if "identifier" not in self.node:
            raise ValueError("node: say where the identifier is")
        return self

    @property
    def probes_health(self) -> bool:
        """Whether nodes' statuses rest on probes of their health."""
        return "health_probed" in self.node

    @property
    def reply(self) -> dict[str, Expression]:
        """The fields of the reply as a whole."""
        found = {"observed_at": self.observed_at, "epoch": self.epoch, "height": self.height}
        return {name: expression for name, expression in found.items() if expression is not None}
