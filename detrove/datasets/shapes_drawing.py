"""Draws one image of the built-in shapes data set: textured shapes on a textured ground, occlusion, clutter.

What belongs to an object is decided with integer arithmetic on quantised angles and positions, so that masks
and boxes come out the same on every machine. Colours go through OpenCV's resizing and blurring and may differ
by a grey level.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

CLASSES = ('circle', 'square', 'triangle', 'star', 'ring', 'cross')
PALETTE = ((214, 39, 40), (31, 119, 180), (44, 160, 44), (255, 187, 20), (148, 103, 189), (23, 190, 207))

DISTRACTORS = ('bar', 'elbow', 'crescent')
TEXTURES = ('plain', 'stripes', 'checker', 'dots', 'gradient', 'grain')

SCALE = 1024  # fixed-point unit of sines and cosines


@dataclass(frozen=True, kw_only=True)
class ShapesSettings:
    """Everything that decides how many images are drawn and how hard they are. Lengths are in pixels.

    Defaults are chosen so that a detector of a few million parameters, trained from scratch on two CPU cores,
    learns the set in minutes without it being trivial: colour and texture say nothing about the class, two in
    five objects are small in COCO's sense, objects hide one another, and clutter shares their colours and
    textures.
    """

    seed: int = 20260
    num_train: int = 600
    num_val: int = 150
    sizes_hw: tuple[tuple[int, int], ...] = 4 * ((320, 320),) + ((256, 352), (340, 250))  # equally likely
    empty_fraction: float = 0.05  # of the images: clutter only
    num_objects: tuple[int, int] = (3, 9)
    diameter: tuple[int, int] = (20, 210)  # of the circumscribed circle, log-uniform
    num_distractors: tuple[int, int] = (3, 8)
    distractor_diameter: tuple[int, int] = (16, 110)
    min_visible: float = 0.5  # of an object's area, after occlusion and the image border
    min_visible_px: int = 60
    contrast: int = (
        48  # grey levels in some channel, at least, between an object's and the ground's mean colour
    )
    texture_contrast: int = 45  # grey levels between the two colours of a texture, at most
    noise: int = 14  # grey levels, half-width of the triangular pixel noise

    def __post_init__(self):
        if self.num_train < 1 or self.num_val < 1:
            raise ValueError(
                f'num_train and num_val must be at least 1, got {self.num_train} and {self.num_val}'
            )
        for name in ('num_objects', 'diameter', 'num_distractors', 'distractor_diameter'):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f'{name} must be (low, high) with 0 <= low <= high, got {(low, high)}')
        if not 0 <= self.contrast <= 100:  # beyond, a mid-grey ground leaves no colour to choose
            raise ValueError(f'contrast must be in [0, 100], got {self.contrast}')


@dataclass(frozen=True)
class Drawing:
    """One image. image_bgr (H, W, 3) uint8; labels: N indices into CLASSES; masks (N, H, W) bool, the visible
    parts, which are disjoint."""

    image_bgr: np.ndarray
    labels: list[int]
    masks: np.ndarray


def draw(settings: ShapesSettings, *, split_index: int, image_index: int) -> Drawing:
    """Draws image `image_index` of a split. Depends on nothing but its arguments."""
    rng = np.random.default_rng([settings.seed, split_index, image_index])
    height, width = settings.sizes_hw[rng.integers(len(settings.sizes_hw))]
    canvas = Canvas(background(rng, height, width), settings)

    num_objects = 0 if rng.random() < settings.empty_fraction else _integer(rng, settings.num_objects)
    num_distractors = _integer(rng, settings.num_distractors)
    kinds = [CLASSES[rng.integers(len(CLASSES))] for _ in range(num_objects)]
    kinds += [DISTRACTORS[rng.integers(len(DISTRACTORS))] for _ in range(num_distractors)]
    for position in np.argsort(rng.random(len(kinds)), kind='stable'):
        canvas.place(rng, kinds[position])
    return canvas.finish(rng)


class Canvas:
    """An image under construction that knows which object each pixel shows."""

    ATTEMPTS = 12  # places tried for one object before it is left out

    def __init__(self, image_bgr: np.ndarray, settings: ShapesSettings):
        self.image = image_bgr
        self.settings = settings
        self.owner = np.full(image_bgr.shape[:2], -1, np.int32)  # index into kinds, -1 where the ground shows
        self.kinds: list[str] = []
        self.areas: list[int] = []  # of the whole shape, hidden parts included

    def place(self, rng: np.random.Generator, kind: str) -> None:
        """Paints one shape or distractor where it leaves enough visible of everything painted before."""
        settings = self.settings
        is_object = kind in CLASSES
        height, width = self.owner.shape
        for _ in range(self.ATTEMPTS):
            radius = _log_uniform(rng, settings.diameter if is_object else settings.distractor_diameter) / 2
            center_xy = rng.random() * width, rng.random() * height
            shape = Shape(kind, center_xy, radius, rng.random() * 2 * math.pi)
            region, window = shape.overlap(height, width)
            inside = shape.inside[window]
            if is_object and self._too_little(np.count_nonzero(inside), shape.area):
                continue
            if self._hides_too_much(self.owner[region][inside]):
                continue
            self._paint(rng, shape, region, window)
            return

    def _too_little(self, visible: int, area: int) -> bool:
        return visible < max(self.settings.min_visible * area, self.settings.min_visible_px)

    def _hides_too_much(self, covered: np.ndarray) -> bool:
        hidden = np.bincount(covered + 1, minlength=len(self.kinds) + 1)[1:]
        for index in np.flatnonzero(hidden):
            visible = np.count_nonzero(self.owner == index) - hidden[index]
            if self.kinds[index] in CLASSES and self._too_little(visible, self.areas[index]):
                return True
        return False

    def _paint(self, rng, shape: 'Shape', region: tuple[slice, slice], window: tuple[slice, slice]) -> None:
        image, inside = self.image[region], shape.inside[window]
        color = _color_apart_from(rng, image.mean((0, 1)), self.settings.contrast)
        paint = texture(rng, shape.u[window], shape.v[window], color, self.settings.texture_contrast)
        alpha = cv2.GaussianBlur(inside.astype(np.float32), (3, 3), 0)[..., None]
        image[...] = np.rint(image * (1 - alpha) + paint * alpha).astype(np.uint8)
        self.owner[region][inside] = len(self.kinds)
        self.kinds.append(shape.kind)
        self.areas.append(shape.area)

    def finish(self, rng: np.random.Generator) -> Drawing:
        shown = [index for index, kind in enumerate(self.kinds) if kind in CLASSES]
        masks = np.zeros((len(shown), *self.owner.shape), bool)
        for mask, index in zip(masks, shown, strict=True):
            np.equal(self.owner, index, out=mask)
        half = self.settings.noise + 1
        noise = rng.integers(0, half, (2, *self.image.shape), np.int16)
        image = np.clip(self.image + noise[0] - noise[1], 0, 255).astype(np.uint8)
        return Drawing(image, [CLASSES.index(self.kinds[index]) for index in shown], masks)


class Shape:
    """A rotated shape rasterised at pixel centres.

    u, v: coordinates of every pixel of the shape's square window along the shape's axes, in 1 / SCALE pixel.
    inside: the window's pixels that the shape holds; area: how many.
    """

    def __init__(self, kind: str, center_xy: tuple[float, float], radius: float, angle: float):
        self.kind = kind
        reach = math.ceil(radius) + 1
        # Positions in half pixels, so that pixel centres are whole numbers.
        center_x, center_y = (round(2 * c) for c in center_xy)
        self.left, self.top = center_x // 2 - reach, center_y // 2 - reach
        x = 2 * np.arange(self.left, self.left + 2 * reach, dtype=np.int64) + 1 - center_x
        y = 2 * np.arange(self.top, self.top + 2 * reach, dtype=np.int64)[:, None] + 1 - center_y
        cosine, sine = round(math.cos(angle) * SCALE), round(math.sin(angle) * SCALE)
        self.u, self.v = (x * cosine + y * sine) // 2, (y * cosine - x * sine) // 2
        self.inside = INSIDE[kind](self.u, self.v, round(radius * SCALE))
        self.area = int(np.count_nonzero(self.inside))

    def overlap(self, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where the window lies in an image of that size: (rows, columns) of the image and of the window."""
        spans = [
            (start, max(start, 0), max(min(start + len(self.inside), end), 0))
            for start, end in ((self.top, height), (self.left, width))
        ]
        return (
            tuple(slice(first, last) for _, first, last in spans),
            tuple(slice(first - start, last - start) for start, first, last in spans),
        )


def _half_planes(u, v, distance: int, count: int):
    """How many of `count` evenly turned half-planes {p . n <= distance} hold each point."""
    held = np.zeros(u.shape, np.int8)
    for k in range(count):
        angle = 2 * math.pi * k / count
        nu, nv = round(math.cos(angle) * SCALE), round(math.sin(angle) * SCALE)
        held += u * nu + v * nv <= distance * SCALE
    return held


def _disc(u, v, radius: int):
    return u * u + v * v <= radius * radius


def _box(u, v, half_u: int, half_v: int):
    return (np.abs(u) <= half_u) & (np.abs(v) <= half_v)


# r is the radius of the circumscribed circle; every shape stays within it. A pentagram is what at least four
# of the five half-planes through its edges hold.
INSIDE = {
    'circle': lambda u, v, r: _disc(u, v, r),
    'square': lambda u, v, r: _box(u, v, r * 7 // 10, r * 7 // 10),
    'triangle': lambda u, v, r: _half_planes(u, v, r // 2, 3) == 3,
    'star': lambda u, v, r: (_half_planes(u, v, r * 33 // 100, 5) >= 4) & _disc(u, v, r),
    'ring': lambda u, v, r: _disc(u, v, r) & ~_disc(u, v, r * 11 // 20),
    'cross': lambda u, v, r: _box(u, v, r * 19 // 20, r * 3 // 10) | _box(u, v, r * 3 // 10, r * 19 // 20),
    'bar': lambda u, v, r: _box(u, v, r * 19 // 20, r // 10 + SCALE),
    'elbow': lambda u, v, r: (
        _box(u, v + r // 2, r * 4 // 5, r // 8 + SCALE) | _box(u + r * 7 // 10, v, r // 8 + SCALE, r // 2)
    ),
    'crescent': lambda u, v, r: _disc(u, v, r) & ~_disc(u - r // 2, v, r),
}


def texture(rng, u: np.ndarray, v: np.ndarray, color: np.ndarray, contrast: int) -> np.ndarray:
    """A two-colour texture around `color` over points given in 1 / SCALE pixel, (H, W, 3) float32."""
    kind = TEXTURES[rng.integers(len(TEXTURES))]
    period = (4 + int(rng.integers(10))) * SCALE
    shift = (rng.random(3) * 2 - 1) * contrast / 2
    if kind == 'plain':
        amount = np.zeros(u.shape)
    elif kind == 'stripes':
        amount = (u // period) % 2 * 2.0 - 1
    elif kind == 'checker':
        amount = (u // period + v // period) % 2 * 2.0 - 1
    elif kind == 'dots':
        du, dv = u % period - period // 2, v % period - period // 2
        amount = (du * du + dv * dv <= (period // 3) ** 2) * 2.0 - 1
    elif kind == 'gradient':
        amount = u / max(int(np.abs(u).max(initial=0)), 1)
    else:
        amount = rng.random(u.shape) * 2 - 1
    return np.clip(color + amount[..., None] * shift, 0, 255).astype(np.float32)


def background(rng, height: int, width: int) -> np.ndarray:
    """Value noise of three octaves between two colours, or patches, in (H, W, 3) uint8."""
    first, second = rng.integers(30, 226, (2, 3)).astype(np.float32)
    amount = np.zeros((height, width), np.float32)
    interpolation = cv2.INTER_NEAREST if rng.random() < 0.25 else cv2.INTER_CUBIC
    for cells, weight in ((2 + int(rng.integers(4)), 0.5), (8 + int(rng.integers(9)), 0.3), (40, 0.2)):
        grid = rng.random((cells, cells)).astype(np.float32)
        amount += weight * cv2.resize(grid, (width, height), interpolation=interpolation)
    blend = amount[..., None]
    return np.clip(first * (1 - blend) + second * blend, 0, 255).astype(np.uint8)


def _color_apart_from(rng, ground: np.ndarray, contrast: int) -> np.ndarray:
    while True:
        color = rng.integers(10, 246, 3).astype(np.float64)
        if np.abs(color - ground).max() >= contrast:
            return color


def _integer(rng, low_high: tuple[int, int]) -> int:
    return int(rng.integers(low_high[0], low_high[1] + 1))


def _log_uniform(rng, low_high: tuple[float, float]) -> float:
    return math.exp(math.log(low_high[0]) + rng.random() * math.log(low_high[1] / low_high[0]))
