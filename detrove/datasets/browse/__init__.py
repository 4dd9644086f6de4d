"""Pictures of what training gets: images after augmentation beside their originals, and a page to look through them."""

from .page import write_page
from .samples import Picture, draw_samples

__all__ = ['Picture', 'draw_samples', 'write_page']
