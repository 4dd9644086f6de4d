"""Panoptic quality (Kirillov et al. 2019, section 4.1) from counts that are summed over images."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

VOID = 0  # id of pixels without segment
OFFSET = 256**3  # larger than any id: a pair of ids is id * OFFSET + id


@dataclass
class PQStatCat:
    """Of one category: matched segments and the sum of their IoUs, segments predicted wrongly, segments missed."""

    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __iadd__(self, other: 'PQStatCat') -> 'PQStatCat':
        self.iou += other.iou
        self.tp += other.tp
        self.fp += other.fp
        self.fn += other.fn
        return self

    def quality(self) -> dict[str, float]:
        """Panoptic, segmentation and recognition quality; 0 without any segment."""
        total = self.tp + 0.5 * self.fp + 0.5 * self.fn
        if not total:
            return dict(pq=0.0, sq=0.0, rq=0.0)
        return dict(pq=self.iou / total, sq=self.iou / self.tp if self.tp else 0.0, rq=self.tp / total)


class PQStat:
    """The counts of all categories."""

    def __init__(self):
        self.pq_per_cat = defaultdict(PQStatCat)

    def __getitem__(self, category: int) -> PQStatCat:
        return self.pq_per_cat[category]

    def __iadd__(self, other: 'PQStat') -> 'PQStat':
        for category, counts in other.pq_per_cat.items():
            self.pq_per_cat[category] += counts
        return self

    def pq_average(self, categories: Mapping[int, Mapping], isthing: bool | None) -> tuple[dict, dict]:
        """Mean over the categories that occur.

        Args:
            categories: id -> a mapping with `isthing`.
            isthing: only things, only stuff, or None for both.

        Returns:
            dict(pq, sq, rq, n), n categories counted, and the qualities of each category.
        """
        chosen = [label for label, info in categories.items() if isthing is None or bool(info['isthing']) == isthing]
        per_class = {label: self[label].quality() for label in chosen}
        present = [per_class[label] for label in chosen if self[label] != PQStatCat()]
        mean = {key: sum(one[key] for one in present) / max(1, len(present)) for key in ('pq', 'sq', 'rq')}
        return dict(mean, n=len(present)), per_class
