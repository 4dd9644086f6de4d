"""Reading pickles that hold nothing but arrays and what else their reader names."""

import pickle

#: What a pickled numpy array refers to, by the names of NumPy 1 and 2.
ARRAYS = frozenset({
    ('collections', 'OrderedDict'),
    ('numpy', 'dtype'),
    ('numpy', 'ndarray'),
    ('_codecs', 'encode'),
    *((f'numpy.{core}.multiarray', name) for core in ('core', '_core') for name in ('_reconstruct', 'scalar')),
})


class RestrictedUnpickler(pickle.Unpickler):
    """Finds the globals in `allowed` and no other, so that a file cannot run code of its choice.

    Raises:
        pickle.UnpicklingError: from `load`, naming the first other global that the file refers to.
    """

    allowed = ARRAYS

    def find_class(self, module: str, name: str):
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f'it has the global {module}.{name}, which data does not need')
        return super().find_class(module, name)
