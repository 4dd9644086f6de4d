"""Runner, hooks, optimiser set-up and visualizer. Importing it registers them."""

from . import hooks, optim, runner, visualizer

__all__ = ['hooks', 'optim', 'runner', 'visualizer']
