"""Switch a model to its inference form before it is tested."""

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper


class FuseHook(Hook):
    """Call the model's `fuse_for_inference()` once its weights are loaded.

    Raises:
        ValueError: On creation of the runner's hooks, if the model has no such method.
    """

    def before_run(self, runner) -> None:
        self.model = runner.model
        while is_model_wrapper(self.model) or isinstance(self.model, BaseTTAModel):
            self.model = self.model.module
        if not hasattr(self.model, 'fuse_for_inference'):
            raise ValueError(
                f'--fuse: {type(self.model).__name__} has no inference form (no method fuse_for_inference). '
                'Test without --fuse.'
            )

    def before_test(self, runner) -> None:
        self.model.fuse_for_inference()
