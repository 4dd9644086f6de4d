"""The text of a config is formatted once, and anew when the config changed."""

import yapf.yapflib.yapf_api
from mmengine.config import Config


def test_formatted_once_for_equal_configs(monkeypatch):
    calls = []
    format_code = yapf.yapflib.yapf_api.FormatCode
    monkeypatch.setattr(yapf.yapflib.yapf_api, 'FormatCode', lambda *a, **k: calls.append(a) or format_code(*a, **k))
    config = Config(dict(model=dict(type='OnlyHere', layers=[1, 2]), name='a text of this test alone'))
    text = config.pretty_text
    assert 'OnlyHere' in text and config.pretty_text == text and Config(config.to_dict()).pretty_text == text
    assert len(calls) == 1
    config.model.layers = [1, 3]
    assert config.pretty_text != text
    assert len(calls) == 2
    scope = {}
    exec(config.pretty_text, scope)  # still Python
    assert scope['model'] == dict(type='OnlyHere', layers=[1, 3])
