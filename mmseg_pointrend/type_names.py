"""What configs call the types of their parts."""


def type_name(part: dict, default: str = "") -> str:
    """Name of the type of a part of a config.

    Args:
        part (dict): A config with a ``type``: a class, its name, or that with a scope before it.
        default (str): What the part is without a ``type``. Defaults to ''.

    Returns:
        str: 'ResNet' for ``ResNet``, 'ResNet' and 'mmseg.ResNet'.
    """
    kind = part.get("type", default)
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition(".")[2]
