"""What a check of data finds."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from functools import partial
from itertools import islice

MAX_EXAMPLES = 3


class Severity(str, Enum):
    """ERROR: training or evaluation would break or be wrong. WARNING: probably not meant. NOTE: good to know."""

    ERROR = 'error'
    WARNING = 'warning'
    NOTE = 'note'


@dataclass(frozen=True)
class Finding:
    """One thing that was found, however often.

    Attributes:
        kind: Name for programs, `group.what`, e.g. `coco.duplicate-image-id`.
        where: Key of the config that leads to the data, e.g. `train_dataloader.dataset.ann_file`.
        message: What was found, for people; complete without the other fields.
        count: How many images, annotations, files, ... it concerns.
        examples: Up to three of them.
        file: The file or folder on disk, where it is one.
        fix: The way out: a line of the config, or a command.
    """

    severity: Severity
    kind: str
    where: str
    message: str
    count: int = 1
    examples: tuple[str, ...] = ()
    file: str = ''
    fix: str = ''

    def as_dict(self) -> dict:
        return {**asdict(self), 'severity': self.severity.value, 'examples': list(self.examples)}


error = partial(Finding, Severity.ERROR)
warning = partial(Finding, Severity.WARNING)
note = partial(Finding, Severity.NOTE)


def examples_of(items: Iterable) -> tuple[str, ...]:
    """The first few of `items` as text."""
    return tuple(str(item) for item in islice(items, MAX_EXAMPLES))
