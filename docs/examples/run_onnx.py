"""Runs a detector written by `detrove export --format onnx` with onnxruntime, Pillow and numpy alone.

python run_onnx.py FILE.onnx IMAGE [THRESHOLD]
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image


def resized(pixels, width, height):
    """Bilinear samples between the nearest four pixels, as in training; Image.resize would smooth first."""
    for axis, size in enumerate((height, width)):
        last = pixels.shape[axis] - 1
        place = np.clip((np.arange(size) + 0.5) * (last + 1) / size - 0.5, 0, last)
        before = place.astype(int)
        share = (place - before).reshape([-1, 1, 1] if axis == 0 else [1, -1, 1])
        pixels = pixels.take(before, axis) * (1 - share) + pixels.take(np.minimum(before + 1, last), axis) * share
    return pixels.round().astype(np.uint8)


def network_size(image, info):
    """Width and height that the file takes this image in."""
    if info['size_hw']:  # one size
        return info['size_hw'][::-1]
    if not info['resize_scale']:  # any size: the file resizes
        return image.size
    long_side, short_side = info['resize_scale']
    factor = min(long_side / max(image.size), short_side / min(image.size))
    return [max(1, round(side * factor / 32)) * 32 for side in image.size]


def detect(session, image):
    info = json.loads(session.get_modelmeta().custom_metadata_map['detrove'])
    width, height = network_size(image, info)
    pixels = resized(np.asarray(image), width, height)[None]  # (1, height, width, 3) uint8 RGB
    boxes, scores, labels = (out[0] for out in session.run(None, {info['input']: pixels}))
    scale = np.array([image.width / width, image.height / height] * 2)
    return boxes * scale, scores, [info['classes'][label] if info['classes'] else label for label in labels]


if __name__ == '__main__':
    session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
    threshold = float(sys.argv[3]) if len(sys.argv) > 3 else 0.5
    for box, score, name in zip(*detect(session, Image.open(sys.argv[2]).convert('RGB')), strict=True):
        if score >= threshold:
            print(name, f'{score:.3f}', *(f'{side:.1f}' for side in box))
