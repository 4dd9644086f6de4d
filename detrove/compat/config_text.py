"""Formats the text of a config once: mmengine asks for it on logging, dumping and with every checkpoint it saves."""

_KEPT = 8


def remember_pretty_text(config_module) -> None:
    """Let the just loaded ``mmengine.config.config`` keep its last texts; yapf takes a second or two for each."""
    config_class = config_module.Config
    make_text = config_class.pretty_text.fget
    texts: dict[tuple, str] = {}

    def pretty_text(config) -> str:
        words = (repr(config.to_dict()), getattr(config, '_format_python_code', True))
        if words not in texts:
            if len(texts) >= _KEPT:
                texts.pop(next(iter(texts)))
            texts[words] = make_text(config)
        return texts[words]

    config_class.pretty_text = property(pretty_text, doc=config_class.pretty_text.__doc__)
