"""Testing on tiles: the test set is cut as it is read, and what a model finds is merged before it is compared."""

import copy
from dataclasses import dataclass

from mmcv.transforms import Compose
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.model import BaseTTAModel
from mmengine.structures import BaseDataElement

from detrove.datasets.wrappers import innermost_settings

from .predict import is_step, predict_parts
from .tiles import Tile, make_tiles


@dataclass(frozen=True)
class CutImage:
    """The tiles of an image, and each of them as the pipeline packs it."""

    tiles: list[Tile]
    packed: list[dict]


@TRANSFORMS.register_module()
class CutTiles:
    """Cut an image into overlapping tiles and put each through the rest of a test pipeline.

    Args:
        tile, overlap: As for `make_tiles`.
        annotations: Steps that read annotations; they see the whole image.
        transforms: What follows, packing last; without those steps.

    The result has a `CutImage` as `inputs`; `data_samples` is that of the whole image, in its own pixels.
    """

    def __init__(self, tile: int, overlap: float, annotations: list[dict], transforms: list[dict]):
        make_tiles((1, 1), tile, overlap)  # complains
        self.tile, self.overlap = tile, overlap
        self.whole = Compose([*annotations, transforms[-1]])
        self.part = Compose(transforms)

    def __call__(self, results: dict) -> dict:
        pixels = results['img']
        tiles = make_tiles(pixels.shape[:2], self.tile, self.overlap)
        named = {key: results[key] for key in ('img_path', 'img_id') if key in results}
        packed = []
        for tile in tiles:
            part = pixels[tile.top:tile.bottom, tile.left:tile.right]
            packed.append(self.part(dict(named, img=part, img_shape=part.shape[:2], ori_shape=part.shape[:2])))
        whole = self.whole({**results, 'scale_factor': (1.0, 1.0)})
        return dict(inputs=CutImage(tiles, packed), data_samples=whole['data_samples'])


@MODELS.register_module()
class TiledModel(BaseTTAModel):
    """A detector that is tested on what `CutTiles` returns.

    Args:
        module: The detector or its config.
        batch_size: How many tiles it gets at once.
    """

    def __init__(self, module, batch_size: int = 1):
        super().__init__(module)
        self.batch_size = batch_size

    def test_step(self, data: dict) -> list[BaseDataElement]:
        """The samples of whole images with `pred_instances`, on the CPU."""
        samples = []
        for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
            sample.pred_instances = predict_parts(self.module, image.packed, image.tiles, sample.ori_shape,
                                                  batch_size=self.batch_size)
            samples.append(sample)
        return samples

    def merge_preds(self, data_samples_list):
        """Not called: tiles are merged in `test_step`."""
        raise NotImplementedError('TiledModel merges tiles in test_step')


def cut_test_set(cfg: Config, *, tile: int, overlap: float) -> None:
    """Change a config so that testing cuts images into tiles of `tile` pixels, whose `overlap` is at least this share.

    The batch size of the test set becomes that of tiles; images come one by one.

    Raises:
        ValueError: If the config is one of semantic segmentation, or its test pipeline does not begin by reading the
            image.
    """
    if cfg.get('default_scope') == 'mmseg':
        raise ValueError(f'{cfg.filename}: tiles are for detectors. Semantic segmentors have sliding windows of their '
                         'own: --cfg-options model.test_cfg.mode=slide with model.test_cfg.crop_size and '
                         'model.test_cfg.stride')
    make_tiles((1, 1), tile, overlap)  # complains
    dataset = innermost_settings(cfg.test_dataloader.dataset)
    steps = copy.deepcopy(list(dataset.pipeline))
    if not is_step(steps[0], 'LoadImage', ''):
        raise ValueError(f'{cfg.filename}: to cut images the test pipeline has to begin with LoadImageFromFile; its '
                         f'steps are {", ".join(step["type"] for step in steps)}')
    annotations = [step for step in steps if is_step(step, 'Load', 'Annotations')]
    rest = [step for step in steps[1:] if step not in annotations]
    dataset.pipeline = [steps[0], dict(type='CutTiles', tile=tile, overlap=overlap, annotations=annotations,
                                       transforms=rest)]
    cfg.model = dict(type='TiledModel', module=cfg.model, batch_size=cfg.test_dataloader.get('batch_size', 1))
    cfg.test_dataloader.batch_size = 1
