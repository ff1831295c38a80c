"""What a mutation is, and how it is applied."""

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


class NotApplicableError(Exception):
    """The code has moved on: the mutation's text does not stand in its file exactly once."""


@dataclass(frozen=True)
class Mutation:
    """A guarantee broken on purpose, and the test that has to notice.

    `old` stands exactly once in the file and becomes `new`; `test` is a node id of pytest. The test has to fail with
    `fails_with`: one that fails otherwise has noticed something else.
    """

    name: str
    guarantee: str
    file: str
    old: str
    new: str
    test: str
    fails_with: str = "AssertionError"

    def applied(self, source: str) -> str:
        """The file's text with the mutation. Raises NotApplicableError."""
        if (found := source.count(self.old)) != 1:
            raise NotApplicableError(f"{self.name}: its text stands {found} times in {self.file}, not once")
        return source.replace(self.old, self.new)

    def apply(self, project: Path) -> None:
        """Mutate the file in this copy of the project. Raises NotApplicableError."""
        path = project / self.file
        path.write_text(self.applied(path.read_text(encoding="utf-8")), encoding="utf-8")


def names_a_test(node_id: str, project: Path = REPOSITORY) -> bool:
    """Whether the node id (`path::function`, perhaps with parameters in brackets) is of a test function in its file."""
    path, _, function = node_id.partition("::")
    name = re.escape(function.partition("[")[0])
    source = (project / path).read_text(encoding="utf-8") if (project / path).is_file() else ""
    return re.search(rf"^(async )?def {name}\(", source, re.MULTILINE) is not None
