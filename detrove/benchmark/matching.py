"""`python -m detrove.benchmark.matching`: matching and losses of a training step, beside mmdet's DINO head on the same
tensors."""

import argparse
import time
from collections.abc import Sequence

import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.registry import init_default_scope
from torch import Tensor

from detrove.engine.config_check import load_config
from detrove.layers.query_branches import BranchQueries, QueryBranch
from detrove.layers.targets import BatchTargets, collate_targets
from detrove.losses import PredictionSet, set_losses

from .contestant import sum_losses
from .measure import measure
from .operators import OperatorContestant
from .report import as_table, environment
from .workload import Workload

OURS, PEER = 'dino/dino-4scale-mmdet_r50_8xb2-12e_coco.py', 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py'


class Predictions:
    """Random predictions of a DINO for a workload, with denoising queries where there are objects.

    Args:
        workload: size of the images, batch and objects.
        num_layers, num_queries: of the decoder; the encoder gives predictions for as many queries.
    """

    def __init__(self, workload: Workload, *, num_layers: int = 6, num_queries: int = 900):
        torch.manual_seed(0)
        self.model = load_config(OURS).model
        init_default_scope('mmdet')
        num_classes = self.model.bbox_head.num_classes
        self.samples = workload.detection_samples(num_classes)
        self.targets: BatchTargets = collate_targets(
            self.samples, [workload.size_hw] * workload.batch, num_classes, torch.device(workload.device))
        denoising = MODELS.build(self.model.denoising, default_args=dict(num_classes=num_classes, embed_dims=4))
        self.denoising: BranchQueries = denoising.to(workload.device)(self.targets)
        shape = (num_layers, workload.batch)
        sizes = [(*shape, num_queries), (*shape, self.denoising.branch.num_queries), (1, workload.batch, num_queries)]
        self.num_queries = num_queries
        self.logits = [torch.randn(*size, num_classes, device=workload.device) - 3 for size in sizes]
        self.boxes = [torch.randn(*size, 4, device=workload.device).sigmoid() for size in sizes]

    def contestants(self) -> list[OperatorContestant]:
        """mmdet's head, then detrove's losses: each a function of tensors in its own order, with the same values."""
        (main, noised, encoded), (main_boxes, noised_boxes, encoded_boxes) = self.logits, self.boxes
        peer = torch.cat([noised, main], 2), torch.cat([noised_boxes, main_boxes], 2), encoded[0], encoded_boxes[0]
        ours = torch.cat([main, noised], 2), torch.cat([main_boxes, noised_boxes], 2), encoded, encoded_boxes
        cases = (("mmdet's DINOHead", self._peer(), peer), ('detrove', self._ours(), ours))
        return [OperatorContestant(name, function, [x.clone().requires_grad_() for x in inputs])
                for name, function, inputs in cases]

    def _peer(self):
        model = load_config(PEER).model
        head = MODELS.build(dict(model.bbox_head, num_pred_layer=len(self.logits[0]) + 1, as_two_stage=True,
                                 train_cfg=model.train_cfg, test_cfg=model.test_cfg))
        branch = self.denoising.branch
        meta = dict(num_denoising_queries=branch.num_queries, num_denoising_groups=branch.num_groups)
        instances, metas = zip(*((sample.gt_instances, sample.metainfo) for sample in self.samples), strict=True)

        def losses(logits: Tensor, boxes: Tensor, encoder_logits: Tensor, encoder_boxes: Tensor) -> Tensor:
            return sum_losses(head.loss_by_feat(logits, boxes, encoder_logits, encoder_boxes, instances, metas, meta))

        return losses

    def _ours(self):
        matcher, criterion = TASK_UTILS.build(self.model.matcher), MODELS.build(self.model.criterion)
        noised, main = self.denoising.branch, QueryBranch('main', self.num_queries)
        sizes = [main.num_queries, noised.num_queries]
        num_objects = torch.tensor(float(self.targets.total), device=self.targets.labels.device)

        def losses(logits: Tensor, boxes: Tensor, encoder_logits: Tensor, encoder_boxes: Tensor) -> Tensor:
            (main_logits, noised_logits), (main_boxes, noised_boxes) = logits.split(sizes, 2), boxes.split(sizes, 2)
            sets = [PredictionSet(main, main_logits, main_boxes, None, 1),
                    PredictionSet(main, encoder_logits, encoder_boxes, None, 1, from_encoder=True),
                    PredictionSet(noised, noised_logits, noised_boxes, self.denoising.matched_gt, noised.num_groups)]
            return sum_losses(set_losses(sets, self.targets, num_objects, matcher, criterion))

        return losses


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table. A training step is here: matching and losses (forward), and their backward."""
    parser = argparse.ArgumentParser(prog='python -m detrove.benchmark.matching', description=__doc__)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--objects', type=int, default=20, help='in an image')
    parser.add_argument('--layers', type=int, default=6)
    parser.add_argument('--queries', type=int, default=900)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args(argv)
    # masks are not learned here: a small image is enough
    workload = Workload((64, 64), args.batch, args.objects, args.device)
    contestants = Predictions(workload, num_layers=args.layers, num_queries=args.queries).contestants()
    peer, ours = (float(x.function(*x.arguments)) for x in contestants)
    clock = time.process_time if workload.device_type == 'cpu' else time.perf_counter
    results = measure(contestants, rounds=args.rounds, predict=False, clock=clock)
    print(f'{args.batch} images with {args.objects} objects, {args.layers} layers and the encoder, {args.queries} '
          f'queries, denoising; the losses sum to {peer:.6f} and {ours:.6f}\n')
    print(as_table(results))
    print('\n' + ', '.join(f'{key} {value}' for key, value in environment(workload).items()))


if __name__ == '__main__':
    main()
