"""yapf's grammar file has its name only when it is whole."""

import os
import pickle
from types import SimpleNamespace

from yapf_third_party._ylib2to3.pgen2 import grammar

from detrove.compat.grammar_cache import write_whole


def test_the_file_is_whole_when_it_gets_its_name(tmp_path, monkeypatch):
    sizes = []
    rename = os.replace
    monkeypatch.setattr(os, 'replace', lambda old, new: sizes.append(os.path.getsize(old)) or rename(old, new))
    module = SimpleNamespace(Grammar=type('Grammar', (grammar.Grammar,), {}))
    write_whole(module)
    kept = module.Grammar()
    kept.symbol2number = {str(number): number for number in range(1000)}
    kept.dump(tmp_path / 'grammar.pickle')
    assert [path.name for path in tmp_path.iterdir()] == ['grammar.pickle']
    assert sizes == [(tmp_path / 'grammar.pickle').stat().st_size]
    read = grammar.Grammar()
    read.load(tmp_path / 'grammar.pickle')
    assert read.symbol2number == kept.symbol2number
    assert pickle.loads((tmp_path / 'grammar.pickle').read_bytes()) == vars(kept)


def test_yapf_got_it():
    assert grammar.Grammar.dump.__module__ == 'detrove.compat.grammar_cache'
